// Whole programs on the GPU and on the simulator: loops, branches, shuffles, shared memory, tensor cores.
import type { Device } from '../../src/device/device.ts';
import { Random } from '../../src/base/random.ts';
import { dense16 } from '../../src/kernels/dense16/kernel.ts';
import { dense16Reference } from '../../src/kernels/dense16/reference.ts';
import { sparse16 } from '../../src/kernels/sparse16/kernel.ts';
import { pack, randomSparse } from '../../src/kernels/sparse16/pack.ts';
import { sparse16Reference } from '../../src/kernels/sparse16/reference.ts';
import { relativeError } from '../../src/base/stats.ts';
import { pipelinedSum, tileProduct, vectorAdd, warpSum } from '../../src/sim/programs.fixture.ts';
import { simulate } from '../../src/sim/simulate.ts';
import type { Comparison } from './lane.ts';
import { runOnDevice } from './run-program.ts';

export function comparePrograms(device: Device): Comparison[] {
  const random = new Random(9);
  const n = 100_001;
  const [a, b] = [random.fillNormal(new Float32Array(n)), random.fillNormal(new Float32Array(n))];
  const compare = (
    name: string,
    run: (out: Float32Array, gpu: boolean) => void,
    length: number,
    bound: number,
  ): Comparison => {
    const [simulated, real] = [new Float32Array(length), new Float32Array(length)];
    run(simulated, false);
    run(real, true);
    const error = relativeError(real, simulated);
    return { name, ok: error <= bound, detail: `relative difference ${error.toExponential(1)} (at most ${bound})` };
  };
  const [A, B] = [
    Float16Array.from({ length: 1024 }, () => random.normal()),
    Float16Array.from({ length: 512 }, () => random.normal()),
  ];
  return [
    denseProduct(device),
    ...([3, 4] as const).map((stages) => sparseProduct(device, stages)),
    compare(
      'vector add',
      (c, gpu) => {
        const [grid, args] = [[Math.ceil(n / 256)] as const, { a, b, c, n }];
        if (gpu) runOnDevice(device, vectorAdd, grid, args);
        else simulate(vectorAdd, { grid, args });
      },
      n,
      0,
    ),
    compare(
      'sum of a warp',
      (y, gpu) => {
        const args = { x: a, y, n: 3200 };
        if (gpu) runOnDevice(device, warpSum, [1], args);
        else simulate(warpSum, { grid: [1], args });
      },
      2,
      0,
    ),
    compare(
      'asynchronous copies in two stages',
      (y, gpu) => {
        const args = { x: a, y };
        if (gpu) runOnDevice(device, pipelinedSum(40), [1], args);
        else simulate(pipelinedSum(40), { grid: [1], args });
      },
      128,
      0,
    ),
    // The order in which a tensor core adds is not documented: a few roundings of f32 are allowed.
    compare(
      'tile product on tensor cores',
      (C, gpu) => {
        const args = { A, B, C };
        if (gpu) runOnDevice(device, tileProduct(), [1], args);
        else simulate(tileProduct(), { grid: [1], args });
      },
      128,
      1e-6,
    ),
  ];
}

/** Against float64: f16 output rounds by up to 2^-11. */
function denseProduct(device: Device): Comparison {
  const random = new Random(3);
  const shape = { m: 256, n: 384, k: 640 };
  const A = Float16Array.from({ length: shape.m * shape.k }, () => random.normal());
  const B = Float16Array.from({ length: shape.n * shape.k }, () => random.normal());
  const C = new Float16Array(shape.m * shape.n).fill(Number.NaN);
  runOnDevice(device, dense16(shape), [shape.m / 128, shape.n / 128], { A, B, C });
  const error = relativeError(C, dense16Reference(A, B, shape));
  return {
    name: 'dense f16 product',
    ok: error < 5e-4,
    detail: `relative error ${error.toExponential(1)} (below 5e-4)`,
  };
}

/** Against float64, as the dense one; a place or a lane of the metadata that the chip reads otherwise would be off by far more. */
function sparseProduct(device: Device, stages: 3 | 4): Comparison {
  const random = new Random(4);
  const shape = { m: 256, n: 384, k: 640 };
  const A = randomSparse(random, shape);
  const B = Float16Array.from({ length: shape.n * shape.k }, () => random.normal());
  const C = new Float16Array(shape.m * shape.n).fill(Number.NaN);
  const args = { ...pack(A, shape), B, C };
  runOnDevice(device, sparse16(shape, { stages }), [shape.m / 128, shape.n / 128], args);
  const error = relativeError(C, sparse16Reference(A, B, shape));
  return {
    name: `2:4 sparse f16 product, ${stages} stages`,
    ok: error < 5e-4,
    detail: `relative error ${error.toExponential(1)} (below 5e-4)`,
  };
}
