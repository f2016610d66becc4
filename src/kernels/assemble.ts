// Programs through ptxas, the assembler of the CUDA toolkit: what a chip's registers and stack have to say about them.
// A kernel runs without it (the driver assembles); it is for tests and for people who write kernels.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errors } from '../base/errors.ts';
import { has } from '../ptx/builder.ts';
import { print } from '../ptx/print.ts';
import { instructions, type Program, type Target } from '../ptx/program.ts';
import { fits } from '../ptx/verify.ts';

/** The chips that programs are assembled for; sm_90 has nothing that sm_90a lacks. */
export const architectures: readonly Target[] = ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_120'];

/** Those of them that have every instruction of `program`, and the shared memory it needs. */
export function architecturesOf(program: Program): readonly Target[] {
  return architectures.filter((arch) => has(arch, program.target) && fits(program, arch) === null);
}

/** What ptxas made of one program. */
export interface Assembly {
  readonly registers: number;
  /** Stores and loads of registers that did not fit. */
  readonly spillBytes: number;
  readonly stackBytes: number;
  /** Warnings, and remarks that promise a loss of speed (serialized wgmma, an ignored setmaxnreg). */
  readonly warnings: readonly string[];
  readonly log: string;
}

/** The architectures that the ptxas on PATH knows; null when there is none. */
export async function ptxasArchitectures(): Promise<readonly Target[] | null> {
  const { code, log } = await ptxas(['--help']);
  return code === 0 ? architectures.filter((arch) => log.includes(`'${arch}'`)) : null;
}

/** Errors: `ptxas-missing`, `ptxas-refused`. */
export async function assemble(program: Program, arch: Target, signal?: AbortSignal): Promise<Assembly> {
  const [only] = await assembleAll([program], arch, signal);
  return only!;
}

/**
 * Several programs, of different names, with one start of ptxas, which costs as much as a few small programs; the results are in their order.
 * Errors: `ptxas-missing`; `ptxas-refused` for all of them when it takes one of them not.
 */
export async function assembleAll(
  programs: readonly Program[],
  arch: Target,
  signal?: AbortSignal,
): Promise<readonly Assembly[]> {
  const folder = await mkdtemp(join(tmpdir(), 'marlin-ptxas-'));
  try {
    const file = join(folder, 'kernel.ptx');
    await writeFile(file, moduleOf(programs.map((program) => print(program, { arch }))));
    const { code, log } = await ptxas([`-arch=${arch}`, '-v', file, '-o', join(folder, 'kernel.cubin')], signal);
    const names = programs.map(({ name }) => name);
    if (code === 'ENOENT') throw errors.ptxasMissing();
    if (code !== 0) throw errors.ptxasRefused(names, arch, log.replaceAll(file, 'kernel.ptx'));
    return names.map((name) => readLog(log, name));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The exit code, or the name of what kept it from running, and all it said. Errors: the reason of `signal`. */
function ptxas(
  parameters: readonly string[],
  signal?: AbortSignal,
): Promise<{ readonly code: number | string; readonly log: string }> {
  return new Promise((resolve, reject) => {
    // The signal is asked afterwards as well: a child that it ended reports no more than that.
    const options = { encoding: 'utf8', maxBuffer: 2 ** 26, ...(signal === undefined ? {} : { signal }) } as const;
    execFile('ptxas', parameters, options, (error, stdout, stderr) => {
      if (signal?.aborted === true) reject(signal.reason);
      else resolve({ code: error === null ? 0 : (error.code ?? error.signal ?? -1), log: stderr + stdout });
    });
  });
}

const HEADER = /^\.(version|target|address_size|extern) .*\n/gm;

/** One module with the entries of several: the newest version among them, and shared memory as aligned as the strictest needs it. */
export function moduleOf(texts: readonly string[]): string {
  if (texts.length === 1) return texts[0]!;
  const lines = (start: string): string[] =>
    texts.flatMap((text) => text.split('\n').filter((line) => line.startsWith(start)));
  const number = (line: string): number => Number(/[\d.]*\d/.exec(line.slice(1))?.[0] ?? 0);
  const highest = (start: string): string[] =>
    lines(start)
      .toSorted((a, b) => number(b) - number(a))
      .slice(0, 1);
  return [
    ...highest('.version'),
    ...lines('.target').slice(0, 1),
    '.address_size 64',
    ...highest('.extern'),
    ...texts.map((text) => text.replace(HEADER, '')),
  ].join('\n');
}

/** A frame that ptxas makes for sm_120 wherever a box comes to shared::cluster; shared::cta, which needs none, is only in PTX 8.6. */
const FRAME_OF_BOXES = 8;

/** Bytes of stack that are ptxas's own affair. */
export const frameOf = ({ body }: Program, arch: Target): number =>
  arch === 'sm_120' && [...instructions(body)].some(({ op }) => op.name.startsWith('cp.async.bulk.tensor.2d.shared'))
    ? FRAME_OF_BOXES
    : 0;

const SPEED_LOST = /warning|C7510|serializ|Performance Loss/i;

/** What the log of `ptxas -v` says about the entry `name`. */
export function readLog(log: string, name: string): Assembly {
  const sections = log.split(/(?=^ptxas info\s*: Compiling entry function)/m);
  const mine = sections.find((section) => section.includes(`entry function '${name}'`)) ?? '';
  const sum = (pattern: RegExp): number =>
    [...mine.matchAll(pattern)].reduce((total, [, bytes]) => total + Number(bytes), 0);
  return {
    registers: sum(/Used (\d+) registers/g),
    spillBytes: sum(/(\d+) bytes spill (?:stores|loads)/g),
    stackBytes: sum(/(\d+) bytes stack frame/g),
    // A remark names its function, or stands before all of them.
    warnings: log
      .split('\n')
      .filter((line) => SPEED_LOST.test(line) && (line.includes(`'${name}'`) || !/function '\w+'/.test(line))),
    log: mine === '' ? log : mine,
  };
}
