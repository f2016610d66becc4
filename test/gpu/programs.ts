// Whole programs on the GPU and on the simulator: loops, branches, shuffles, shared memory, tensor cores; and products of several tiles.
import { Random } from '../../src/base/random.ts';
import { relativeError } from '../../src/base/stats.ts';
import { dense16 } from '../../src/kernels/dense16/kernel.ts';
import { dense16Reference } from '../../src/kernels/dense16/reference.ts';
import { sparse16 } from '../../src/kernels/sparse16/kernel.ts';
import { pack, randomSparse } from '../../src/kernels/sparse16/pack.ts';
import { sparse16Reference } from '../../src/kernels/sparse16/reference.ts';
import type { ParamSpec, Program } from '../../src/ptx/program.ts';
import { pipelinedSum, tileProduct, vectorAdd, warpSum } from '../../src/sim/programs.fixture.ts';
import { type Args, simulate } from '../../src/sim/simulate.ts';
import { runOnDevice } from './run-program.ts';
import { type Trial, within } from './trial.ts';

/** Equal on both, or within `bound`. `args` makes the same arguments each time, around the output it is given. */
function both<S extends ParamSpec>(
  name: string,
  program: Program<S>,
  grid: readonly [number],
  length: number,
  args: (out: Float32Array) => Args<S>,
  bound = 0,
): Trial {
  return {
    name,
    run: (device) => {
      const [simulated, real] = [new Float32Array(length), new Float32Array(length)];
      simulate(program, { grid, args: args(simulated) });
      runOnDevice(device, program, grid, args(real));
      return within(relativeError(real, simulated), bound, 'relative difference');
    },
  };
}

const floats = (length: number, seed: number): Float32Array => new Random(seed).fillNormal(new Float32Array(length));
const halves = (length: number, seed: number): Float16Array => {
  const random = new Random(seed);
  return Float16Array.from({ length }, () => random.normal());
};

const N = 100_001;
const shape = { m: 256, n: 384, k: 640 };
const grid = [shape.m / 128, shape.n / 128] as const;
/** f16 output rounds by up to 2^-11. */
const BOUND = 5e-4;

/** Against float64. */
const denseProduct: Trial = {
  name: 'dense f16 product',
  run: (device) => {
    const [A, B] = [halves(shape.m * shape.k, 3), halves(shape.n * shape.k, 4)];
    const C = new Float16Array(shape.m * shape.n).fill(Number.NaN);
    runOnDevice(device, dense16(shape), grid, { A, B, C });
    return within(relativeError(C, dense16Reference(A, B, shape)), BOUND);
  },
};

/** The same; a place or a lane of the metadata that the chip reads otherwise would be off by far more. */
const sparseProduct = (stages: 3 | 4): Trial => ({
  name: `2:4 sparse f16 product, ${stages} stages`,
  run: (device) => {
    const A = randomSparse(new Random(4), shape);
    const B = halves(shape.n * shape.k, 5);
    const C = new Float16Array(shape.m * shape.n).fill(Number.NaN);
    runOnDevice(device, sparse16(shape, { stages }), grid, { ...pack(A, shape), B, C });
    return within(relativeError(C, sparse16Reference(A, B, shape)), BOUND);
  },
});

export const programTrials: readonly Trial[] = [
  denseProduct,
  sparseProduct(3),
  sparseProduct(4),
  both('vector add', vectorAdd, [Math.ceil(N / 256)], N, (c) => ({ a: floats(N, 1), b: floats(N, 2), c, n: N })),
  both('sum of a warp', warpSum, [1], 2, (y) => ({ x: floats(3200, 1), y, n: 3200 })),
  both('asynchronous copies in two stages', pipelinedSum(40), [1], 128, (y) => ({ x: floats(40 * 128, 1), y })),
  // The order in which a tensor core adds is not documented: a few roundings of f32 are allowed.
  both(
    'tile product on tensor cores',
    tileProduct(),
    [1],
    128,
    (C) => ({ A: halves(1024, 1), B: halves(512, 2), C }),
    1e-6,
  ),
];
