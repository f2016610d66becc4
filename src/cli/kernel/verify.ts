// marlin kernel verify: every program through ptxas for every architecture, every example through the simulator over several seeds.
import type { Command } from 'commander';
import { MarlinError } from '../../base/errors.ts';
import { architectures, architecturesOf, assemble, frameOf, ptxasArchitectures } from '../../kernels/assemble.ts';
import { type Entry, type Example, simulateExample } from '../../kernels/entry.ts';
import type { Program, Target } from '../../ptx/program.ts';
import { describe, type Finding } from '../../sim/findings.ts';
import { integer } from '../flags.ts';
import { breathe } from '../interrupt.ts';
import { type Output, type Report, withProgress } from '../output.ts';
import { table } from '../table.ts';
import type { Verb } from '../verb.ts';
import { findEntry, findingJson, isRight, scientific } from './pick.ts';

interface VerifyFlags {
  readonly all?: true;
  readonly seeds: number;
}

interface Subject {
  readonly kernel: string;
  readonly example: Example;
}

/** A program for one architecture; `refused` is what ptxas said when it did not take it. */
interface Assembled {
  readonly arch: Target;
  readonly registers: number;
  readonly spillBytes: number;
  /** Of the program's doing. */
  readonly stackBytes: number;
  readonly warnings: readonly string[];
  readonly refused: string | null;
}

interface Simulated {
  readonly seed: number;
  readonly findings: readonly Finding[];
  readonly error: number;
  readonly bound: number;
}

interface Verified extends Subject {
  /** Null without ptxas. */
  readonly assemblies: readonly Assembled[] | null;
  readonly runs: readonly Simulated[];
}

async function run(
  entries: readonly Entry[],
  names: readonly string[],
  flags: VerifyFlags,
  output: Output,
  signal: AbortSignal,
): Promise<unknown> {
  const started = performance.now();
  const chosen = flags.all === true || names.length === 0 ? entries : names.map((name) => findEntry(entries, name));
  const subjects = chosen.flatMap((entry) => entry.examples().map((example) => ({ kernel: entry.name, example })));
  const known = await ptxasArchitectures();
  if (known === null) output.note('ptxas is not on PATH: programs are simulated, but not assembled.');
  const unknown = architectures.filter((arch) => known?.includes(arch) === false);
  if (unknown.length > 0) output.note(`This ptxas does not know ${unknown.join(', ')}, which is left out.`);
  const verified = await withProgress(output, 'Verifying', 'steps', (report) =>
    verify(subjects, flags.seeds, known, report, signal),
  );
  const problems = [...new Set(verified.flatMap(problemsOf))];
  const summary = { ok: problems.length === 0, ...summaryOf(verified), seconds: secondsSince(started) };
  output.text(`${tableOf(verified)}\n`);
  for (const problem of problems) output.text(`✖ ${problem}\n`);
  output.text(`${summary.ok ? '✔' : '✖'} ${sentence(summary, flags.seeds)}\n`);
  return { ...summary, seeds: flags.seeds, problems, details: verified.map(detail) };
}

async function verify(
  subjects: readonly Subject[],
  seeds: number,
  known: readonly Target[] | null,
  report: Report,
  signal: AbortSignal,
): Promise<readonly Verified[]> {
  /** Examples may share a program: it is assembled once. */
  const assembled = new Map<Program, readonly Assembled[] | null>();
  const verified: Verified[] = [];
  const total = subjects.length * (seeds + 1);
  let done = 0;
  for (const { kernel, example } of subjects) {
    const { program } = example;
    const label = `${kernel} ${example.name}`;
    report(done++, total, label);
    const assemblies = assembled.get(program) ?? (await assembleFor(program, known, signal));
    assembled.set(program, assemblies);
    const runs: Simulated[] = [];
    for (let seed = 1; seed <= seeds; seed++) {
      await breathe(signal);
      report(done++, total, label);
      const { findings, error, bound } = simulateExample(example, seed);
      runs.push({ seed, findings, error, bound });
    }
    verified.push({ kernel, example, assemblies, runs });
  }
  report(total, total);
  return verified;
}

async function assembleFor(
  program: Program,
  known: readonly Target[] | null,
  signal: AbortSignal,
): Promise<readonly Assembled[] | null> {
  if (known === null) return null;
  const archs = architecturesOf(program).filter((arch) => known.includes(arch));
  return await Promise.all(
    archs.map(async (arch): Promise<Assembled> => {
      try {
        const { registers, spillBytes, stackBytes, warnings } = await assemble(program, arch, signal);
        return {
          arch,
          registers,
          spillBytes,
          stackBytes: stackBytes - frameOf(program, arch),
          warnings,
          refused: null,
        };
      } catch (error) {
        if (!(error instanceof MarlinError)) throw error;
        return { arch, registers: 0, spillBytes: 0, stackBytes: 0, warnings: [], refused: error.message };
      }
    }),
  );
}

interface Summary {
  readonly programs: number;
  /** Programs that ptxas took for all of their architectures; null without ptxas. */
  readonly assembled: number | null;
  /** What was assembled for. */
  readonly archs: readonly Target[];
  /** Assemblies with spills or a stack frame. */
  readonly spills: number;
  /** Over all examples and seeds. */
  readonly findings: number;
}

function summaryOf(verified: readonly Verified[]): Summary {
  const byProgram = new Map(verified.map(({ example, assemblies }) => [example.program, assemblies]));
  const lists = [...byProgram.values()].filter((list) => list !== null);
  const all = lists.flat();
  return {
    programs: byProgram.size,
    assembled: lists.length < byProgram.size ? null : lists.filter(isTaken).length,
    archs: [...new Set(all.map(({ arch }) => arch))].toSorted(byNumber),
    spills: all.filter(isSpilling).length,
    findings: verified.flatMap(({ runs }) => runs.flatMap(({ findings }) => findings)).length,
  };
}

function byNumber(a: Target, b: Target): number {
  return Number.parseInt(a.slice(3)) - Number.parseInt(b.slice(3));
}

function isTaken(list: readonly Assembled[]): boolean {
  return list.length > 0 && list.every(({ refused }) => refused === null);
}

function isSpilling({ spillBytes, stackBytes }: Assembled): boolean {
  return spillBytes > 0 || stackBytes > 0;
}

/** What is wrong with one example, a sentence each; what is wrong with its program reads the same for all examples of that. */
function problemsOf({ kernel, example, assemblies, runs }: Verified): readonly string[] {
  const ofAssembly = (one: Assembled): readonly string[] => [
    ...(one.refused === null ? [] : [one.refused]),
    ...(isSpilling(one) ? [`${one.spillBytes} bytes of spills, ${one.stackBytes} bytes of stack`] : []),
    ...one.warnings,
  ];
  const ofRun = (one: Simulated): readonly string[] => [
    ...one.findings.map(describe),
    ...(isRight(one) ? [] : [`error ${scientific(one.error)} is above ${scientific(one.bound)}`]),
  ];
  return [
    ...(assemblies ?? []).flatMap((one) =>
      ofAssembly(one).map((what) => `${kernel} (${example.program.name}) for ${one.arch}: ${what}`),
    ),
    ...runs.flatMap((one) => ofRun(one).map((what) => `${kernel} ${example.name}, seed ${one.seed}: ${what}`)),
  ];
}

function detail({ kernel, example, assemblies, runs }: Verified): unknown {
  return {
    kernel,
    example: example.name,
    program: example.program.name,
    assemblies,
    runs: runs.map((one) => ({ ...one, findings: one.findings.map(findingJson) })),
  };
}

function tableOf(verified: readonly Verified[]): string {
  return table(
    ['kernel', 'example', 'architectures', 'registers', 'findings', 'worst error', 'bound'],
    verified.map(({ kernel, example, assemblies, runs }) => [
      kernel,
      example.name,
      assemblies === null ? '-' : assemblies.length,
      assemblies === null ? '-' : Math.max(0, ...assemblies.map(({ registers }) => registers)),
      runs.reduce((sum, { findings }) => sum + findings.length, 0),
      scientific(Math.max(...runs.map(({ error }) => error))),
      scientific(runs[0]!.bound),
    ]),
  );
}

function sentence({ programs, assembled, archs, spills, findings }: Summary, seeds: number): string {
  const taken =
    assembled === null ? 'not assembled' : `${assembled} assembled for ${archs.join(', ')}, ${spills} with spills`;
  return `${programs} programs: ${taken}; ${findings} findings over ${seeds} seeds`;
}

function secondsSince(started: number): number {
  return Number(((performance.now() - started) / 1000).toFixed(2));
}

export function verifyVerb(entries: readonly Entry[]): Verb {
  return {
    name: 'verify',
    // What runs in CI tells a failed check from a command that could not be run.
    failureCode: 1,
    examples: ['marlin kernel verify vector-add', 'marlin kernel verify --all --seeds 3 --json'],
    define: (command: Command, action) =>
      command
        .description(
          'assemble kernels for every architecture and simulate their examples; exit code 1 if anything is wrong',
        )
        .argument('[names...]', 'names from "marlin kernel list" (default: all)')
        .option('--all', 'every kernel')
        .option('--seeds <count>', 'how many seeds to simulate each example with', integer('--seeds', 1, 10_000), 3)
        .action((names: readonly string[], flags: VerifyFlags) =>
          action((output, signal) => run(entries, names, flags, output, signal)),
        ),
  };
}
