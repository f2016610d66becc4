// marlin kernel simulate: a kernel's examples on the simulator with random data: findings, counters, error against the reference.
import type { Command } from 'commander';
import { type Check, type Entry, type Example, simulateExample } from '../../kernels/entry.ts';
import { describe } from '../../sim/findings.ts';
import type { Simulation } from '../../sim/simulate.ts';
import { integer } from '../flags.ts';
import { breathe } from '../interrupt.ts';
import { type Output, withProgress } from '../output.ts';
import type { Verb } from '../verb.ts';
import { findEntry, findExamples, findingJson, isRight, scientific } from './pick.ts';

interface SimulateFlags {
  readonly seed: number;
  readonly seeds: number;
  readonly example?: string;
}

async function run(
  entries: readonly Entry[],
  name: string,
  flags: SimulateFlags,
  output: Output,
  signal: AbortSignal,
): Promise<unknown> {
  const examples = findExamples(findEntry(entries, name), flags.example);
  const all = examples.flatMap((example) =>
    Array.from({ length: flags.seeds }, (_, i) => ({ example, seed: flags.seed + i })),
  );
  const runs = await withProgress(output, 'Simulating', 'runs', async (report) => {
    const done: Run[] = [];
    for (const { example, seed } of all) {
      await breathe(signal);
      report(done.length, all.length, `${example.name}, seed ${seed}`);
      done.push({ example, seed, ...simulateExample(example, seed) });
    }
    report(all.length, all.length);
    return done;
  });
  for (const one of runs) output.text(textOf(one));
  return { ok: runs.every(isGood), kernel: name, runs: runs.map(json) };
}

interface Run extends Simulation, Check {
  readonly example: Example;
  readonly seed: number;
}

function isGood(run: Run): boolean {
  return isRight(run) && run.findings.length === 0;
}

function textOf(run: Run): string {
  const { example, seed, findings, counters, error, bound } = run;
  const list = flat(counters);
  const width = Math.max(0, ...list.map(([name]) => name.length));
  return [
    `${isGood(run) ? '✔' : '✖'} ${example.name}, seed ${seed}: error ${scientific(error)} (at most ${scientific(bound)}), ${findings.length} findings\n`,
    ...findings.map((finding) => `    ${describe(finding)}\n`),
    ...list.map(([name, count]) => `    ${name.padEnd(width)}  ${count.toLocaleString('en').padStart(12)}\n`),
  ].join('');
}

function json(run: Run): unknown {
  const { example, seed, findings, counters, error, bound } = run;
  const { name, program, grid } = example;
  return {
    ok: isGood(run),
    example: name,
    program: program.name,
    grid,
    seed,
    error,
    bound,
    findings: findings.map(findingJson),
    counters: nested(counters),
  };
}

/** Counters of any depth, inner ones as 'outer.inner'. */
export function flat(counters: unknown, prefix = ''): readonly (readonly [name: string, count: number])[] {
  if (typeof counters === 'number') return [[prefix, counters]];
  return pairs(counters).flatMap(([name, value]) => flat(value, prefix === '' ? name : `${prefix}.${name}`));
}

/** The same as JSON can hold it, which knows no maps. */
function nested(counters: unknown): unknown {
  return typeof counters === 'object' && counters !== null
    ? Object.fromEntries(pairs(counters).map(([name, value]) => [name, nested(value)]))
    : counters;
}

function pairs(value: unknown): readonly (readonly [name: string, value: unknown])[] {
  if (value instanceof Map) return [...value].map(([name, inner]: [unknown, unknown]) => [String(name), inner]);
  return typeof value === 'object' && value !== null ? Object.entries(value) : [];
}

export function simulateVerb(entries: readonly Entry[]): Verb {
  return {
    name: 'simulate',
    examples: ['marlin kernel simulate vector-add', 'marlin kernel simulate dense16 --seed 7 --seeds 2 --json'],
    define: (command: Command, action) =>
      command
        .description('run a kernel on the simulator: findings, counters, error against its reference')
        .argument('<name>', 'a name from "marlin kernel list"')
        .option('--seed <n>', 'draws the data and the order of warps', integer('--seed', 0), 1)
        .option('--seeds <count>', 'how many seeds to try, from --seed on', integer('--seeds', 1, 10_000), 1)
        .option('--example <name>', 'only this shape (default: all of its examples)')
        .action((name: string, flags: SimulateFlags) =>
          action((output, signal) => run(entries, name, flags, output, signal)),
        ),
  };
}
