// marlin kernel plan: which kernel the 4-bit product of a shape gets on a GPU, and why not the others. Needs no GPU.
import type { Command } from 'commander';
import type { DeviceFacts } from '../../device/device.ts';
import { SimulatedDevice } from '../../device/simulated.ts';
import { architectures } from '../../kernels/assemble.ts';
import { type Candidate, tilingText } from '../../kernels/marlin/family.ts';
import type { Scheme } from '../../kernels/marlin/layout.ts';
import { type Plan, planMarlin } from '../../kernels/marlin/plan.ts';
import type { HalfType } from '../../kernels/marlin/pack.ts';
import { measuredBy, tunedTables } from '../../kernels/marlin/tuned.ts';
import type { Target } from '../../ptx/program.ts';
import { integer, word } from '../flags.ts';
import type { Output } from '../output.ts';
import { table } from '../table.ts';
import type { Verb } from '../verb.ts';

interface PlanFlags {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly group: Scheme['group'];
  readonly zeroPoints?: true;
  readonly dtype: HalfType;
  readonly arch: Target;
  readonly multiprocessors: number;
  readonly tuned?: string;
  readonly why?: true;
}

const GROUPS: Readonly<Record<'32' | '64' | '128', Scheme['group']>> = { 32: 32, 64: 64, 128: 128 };

/** A parser of --group. */
export function groupSize(value: string): Scheme['group'] {
  return GROUPS[word('--group', ['32', '64', '128'])(value)];
}

/** Shared memory of a CTA by architecture: the "Technical Specifications per Compute Capability" of the CUDA C++ Programming Guide. */
function sharedBytesOf(arch: Target): number {
  if (arch.startsWith('sm_90')) return 227 * 1024;
  return arch === 'sm_80' ? 163 * 1024 : 99 * 1024;
}

function run(flags: PlanFlags, output: Output): unknown {
  const { m, n, k, arch, multiprocessors, dtype: type, tuned } = flags;
  const facts: DeviceFacts = {
    ...new SimulatedDevice().facts,
    arch,
    multiprocessors,
    sharedBytesPerBlock: sharedBytesOf(arch),
  };
  const problem = { m, n, k, type, scheme: { group: flags.group, zeroPoints: flags.zeroPoints === true } };
  const measured = tuned === undefined ? {} : { measured: measuredBy(tunedTables(tuned)) };
  const { chosen, by, rejected, impossible, excluded } = planMarlin(problem, facts, measured);
  output.text(
    `${chosen.kernel} (${tilingText(chosen.tiling)}), ${ctas(chosen)} CTAs, about ${microseconds(chosen)} us by ${by}\n`,
  );
  if (flags.why === true) output.text(`\n${reasons({ rejected, impossible, excluded })}`);
  return {
    problem,
    by,
    chosen: json(chosen),
    rejected: rejected.map((one) => ({ ...json(one), reason: one.reason })),
    impossible,
    excluded,
  };
}

function reasons({ rejected, impossible, excluded }: Pick<Plan, 'rejected' | 'impossible' | 'excluded'>): string {
  if (rejected.length + impossible.length + excluded.length === 0) return 'There is no other candidate.\n';
  return table(
    ['kernel', 'tiling', 'CTAs', 'us', 'why not'],
    [
      ...rejected.map((one) => [one.kernel, tilingText(one.tiling), ctas(one), microseconds(one), one.reason]),
      ...impossible.map(({ kernel, tiling, reason }) => [kernel, tilingText(tiling), '-', '-', reason]),
      ...excluded.map(({ family, reason }) => [family, '-', '-', '-', reason]),
    ],
  );
}

const ctas = ({ grid: [x, y = 1, z = 1] }: Candidate): number => x * y * z;
const microseconds = ({ cost }: Candidate): string => cost.toFixed(1);

function json({ kernel, tiling, grid, cost, workspaceBytes }: Candidate): object {
  return { kernel, tiling, grid, cost, workspaceBytes };
}

const size = (flag: string): ((value: string) => number) => integer(flag, 1, 2 ** 31 - 1);

export const planVerb: Verb = {
  name: 'plan',
  examples: [
    'marlin kernel plan --m 16 --n 4096 --k 4096 --why',
    'marlin kernel plan --m 1 --n 28672 --k 4096 --arch sm_80 --multiprocessors 108 --json',
  ],
  define: (command: Command, action) =>
    command
      .description('say which kernel the 4-bit product of a shape gets, and why')
      .requiredOption('--m <tokens>', 'tokens', size('--m'))
      .requiredOption('--n <channels>', 'output channels', size('--n'))
      .requiredOption('--k <channels>', 'input channels', size('--k'))
      .option('--group <weights>', 'weights that share a scale: 32, 64 or 128', groupSize, 128)
      .option('--zero-points', 'groups have zero points')
      .option('--dtype <type>', 'f16 or bf16', word<HalfType>('--dtype', ['f16', 'bf16']), 'f16')
      .option('--arch <arch>', architectures.join(', '), word('--arch', architectures), 'sm_90a')
      .option('--multiprocessors <count>', 'of the GPU', integer('--multiprocessors', 1, 10_000), 132)
      .option('--tuned <gpu>', 'use what was measured on this model, such as "NVIDIA H200"')
      .option('--why', 'list the candidates that were rejected, with the reason')
      .action((flags: PlanFlags) => action((output) => run(flags, output))),
};
