// The dense product of one shape by several contenders: buffers that rotate past the L2 cache, graphs of several launches, samples taken in turn so
// that all see the same clocks, each result checked.
import { median } from '../../src/base/stats.ts';
import type { Device, DeviceBuffer, DeviceFacts, DeviceGraph } from '../../src/device/device.ts';
import type { Shape } from '../../src/kernels/dense16/kernel.ts';
import { prune } from '../../src/kernels/sparse16/pack.ts';
import { normals, sampledError } from './data.ts';
import type { Contender, Operands, Weights } from './variants.ts';

export interface ProductResult {
  readonly name: string;
  readonly weights: Weights;
  readonly shape: Shape;
  /** Of one product, the median and the least over the samples. */
  readonly microseconds: number;
  readonly leastMicroseconds: number;
  readonly teraflops: number;
  /** How many times as fast as the first contender; null for a wrong result. */
  readonly speedup: number | null;
  /** Norm-wise relative error over sampled outputs, the worst of all buffers; NaN where something was not written. */
  readonly error: number;
  readonly ok: boolean;
}

export interface ProductOptions {
  readonly samples?: number;
  /** Floating-point operations of a graph, at least: 1e12 take milliseconds, beside which the start of a graph is nothing. */
  readonly graphFlops?: number;
  readonly seed?: number;
}

/** An f16 result is rounded by up to 2^-11. */
const LARGEST_ERROR = 1e-3;
const MOST_SETS = 32;
const LEAST_LAUNCHES = 4;
const WARM_UP = 3;

/** How many sets of A, B and C it takes so that none is in the L2 cache when its turn comes again, as far as half of the memory has room. */
export function setCount({ l2Bytes, memoryBytes }: DeviceFacts, { m, n, k }: Shape): number {
  const bytes = 2 * (m * k + n * k + m * n);
  const room = Math.floor(memoryBytes / 2 / bytes);
  return Math.max(1, Math.min(Math.ceil((2 * l2Bytes) / bytes) + 1, room, MOST_SETS));
}

/** Measures the contenders, of which the first is what the others are compared with. Errors: those of the device. */
export function measureProduct(
  device: Device,
  shape: Shape,
  weights: Weights,
  contenders: readonly Contender[],
  { samples = 15, graphFlops = 1e12, seed = 1 }: ProductOptions = {},
): ProductResult[] {
  const { m, n, k } = shape;
  using owned = new DisposableStack();
  const upload = (label: string, data: ArrayBufferView): DeviceBuffer => {
    const buffer = owned.use(device.allocate(data.byteLength, label));
    buffer.write(data);
    return buffer;
  };
  const dense = normals(m * k, seed);
  const hostA = weights === '2:4' ? prune(dense, { m, k }) : dense;
  const hostB = normals(n * k, seed + 1);
  const poison = new Uint16Array(m * n).fill(0xffff);
  const sets = Array.from({ length: setCount(device.facts, shape) }, (): Operands => {
    const [A, B, C] = [upload('A', hostA), upload('B', hostB), upload('C', poison)];
    return { shape, A, B, C, hostA, upload };
  });
  const flops = 2 * m * n * k;
  const rounds = Math.ceil(Math.max(LEAST_LAUNCHES, graphFlops / flops) / sets.length);

  const result = new Float16Array(m * n);
  const prepared = contenders.map((contender) => {
    for (const { C } of sets) C.write(poison);
    const launches = sets.map((set) => contender.bind(set));
    // Once outside of a graph: cuBLAS loads its kernels at their first use.
    for (const bound of launches) bound.launch();
    const errors = sets.map(({ C }) => {
      C.read(result);
      return sampledError(hostA, hostB, result, shape, seed);
    });
    const graph: DeviceGraph = owned.use(
      device.graph(() => {
        for (let round = 0; round < rounds; round++) for (const bound of launches) bound.launch();
      }),
    );
    // Math.max of a NaN is NaN, which is what is wanted here.
    return { name: contender.name, graph, error: Math.max(...errors), times: new Array<number>() };
  });

  for (let sample = -WARM_UP; sample < samples; sample++) {
    for (const { graph, times } of prepared) {
      const each = device.time(() => graph.launch()) / (rounds * sets.length);
      if (sample >= 0) times.push(each);
    }
  }
  const baseline = median(prepared[0]?.times ?? []);
  return prepared.map(({ name, times, error }) => {
    const microseconds = median(times);
    const ok = error <= LARGEST_ERROR;
    return {
      name,
      weights,
      shape,
      microseconds,
      leastMicroseconds: Math.min(...times),
      teraflops: flops / microseconds / 1e6,
      speedup: ok ? baseline / microseconds : null,
      error,
      ok,
    };
  });
}
