// The steps towards the 4-bit product, each timed on one layer: what each of them is worth. Knows no command line.
import { Random } from '../../src/base/random.ts';
import { normalBlock, fillRepeated, repeatedWeights, stripBlock } from '../../src/bench/data.ts';
import { copiesOf } from '../../src/bench/gemm.ts';
import type { BoundLaunch, Device } from '../../src/device/device.ts';
import { asynchronous } from '../../src/kernels/marlin/levels/asynchronous.ts';
import { naive } from '../../src/kernels/marlin/levels/naive.ts';
import { type LevelParams, SCHEME, TOKENS } from '../../src/kernels/marlin/levels/operands.ts';
import { tensorCores } from '../../src/kernels/marlin/levels/tensor-cores.ts';
import { type MatrixSize, packedBytes, STRIP_ROWS } from '../../src/kernels/marlin/layout.ts';
import { MarlinKernels } from '../../src/kernels/marlin/op.ts';
import { microsecondsOf } from '../../src/kernels/marlin/tune.ts';
import type { Program } from '../../src/ptx/program.ts';

export interface StepResult {
  readonly name: string;
  readonly microseconds: number;
  /** Of packed weights, a second. */
  readonly bytesPerSecond: number;
}

export interface StepOptions {
  /** Copies of the weights that take turns; default: as many as it takes to get past the L2 cache. */
  readonly copies?: number;
  readonly samples?: number;
  readonly launches?: number;
  /** Without the step that meets bank conflicts, which the simulator refuses. Default false. */
  readonly conflictFree?: boolean;
}

const CONFLICTS = '3 asynchronous';

const levels: readonly (readonly [name: string, program: (size: MatrixSize) => Program<LevelParams>])[] = [
  ['1 naive', naive],
  ['2 tensor cores', tensorCores],
  [CONFLICTS, (size) => asynchronous(size, { swizzle: false, raw: false })],
  ['4 swizzled', (size) => asynchronous(size, { swizzle: true, raw: false })],
  ['5 raw codes', (size) => asynchronous(size, { swizzle: true, raw: true })],
];
/** Kernels of the plan, by their best candidate. */
const kernels: readonly (readonly [name: string, kernel: string])[] = [
  ["6 stripes: the paper's kernel", 'ampere'],
  ['7 Hopper: stream', 'stream'],
  ['7 Hopper: tile', 'tile'],
];

/** Eight tokens, f16, groups of 128. Errors: RangeError unless strips fill the matrix; those of the device. */
export function measureSteps(
  device: Device,
  size: MatrixSize,
  { copies = copiesOf(packedBytes(size, SCHEME)), samples = 7, launches = 50, conflictFree = false }: StepOptions = {},
): readonly StepResult[] {
  using owned = new DisposableStack();
  const weights = { ...size, scheme: SCHEME, type: 'f16' } as const;
  const buffers = repeatedWeights(device, weights, stripBlock(new Random(1), weights), copies, owned);
  const x = owned.use(device.allocate(2 * TOKENS * size.k, 'x'));
  fillRepeated(device, x, normalBlock(new Random(2), 'f16'));
  const y = owned.use(device.allocate(4 * TOKENS * size.n, 'y'));
  const resultOf = (name: string, bound: readonly BoundLaunch[]): StepResult => {
    const microseconds = microsecondsOf(device, bound, launches, samples);
    return { name, microseconds, bytesPerSecond: packedBytes(size, SCHEME) / (microseconds / 1e6) };
  };

  const tried = levels.filter(([name]) => !(conflictFree && name === CONFLICTS));
  const steps = tried.map(([name, program]) => {
    using loaded = device.load(program(size));
    const grid = [size.n / STRIP_ROWS] as const;
    return resultOf(
      name,
      buffers.map(({ strips, factors }) => loaded.bind(grid, { x, strips, factors, y })),
    );
  });
  const marlin = owned.use(new MarlinKernels(device));
  const products = buffers.map((one) => marlin.over('a layer', weights, one));
  const { chosen, rejected } = marlin.plan({ ...weights, m: TOKENS });
  const planned = kernels.flatMap(([name, kernel]) => {
    const candidate = [chosen, ...rejected].find((one) => one.kernel === kernel);
    if (candidate === undefined) return [];
    const call = { x, y, tokens: TOKENS, epilogue: { output: 'f32', bias: false }, candidate } as const;
    return [
      resultOf(
        name,
        products.map((product) => product.bind(call)),
      ),
    ];
  });
  return [...steps, ...planned];
}
