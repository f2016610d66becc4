// Measures the candidates of a product on the device it is for. Knows neither kernels nor where results are kept (tuned.ts).
import { Random } from '../../base/random.ts';
import { median } from '../../base/stats.ts';
import type { BoundLaunch, Device, DeviceBuffer } from '../../device/device.ts';
import { type Candidate, tilingText, type WeightShape } from './family.ts';
import type { MarlinKernels, MarlinProduct } from './op.ts';
import { bucketOf, type TunedRow, type TunedTable } from './tuned.ts';

export interface TuneOptions {
  /** Candidates that are expected to take longer than this times the cheapest are left out, */
  readonly within?: number;
  /** and so are those behind so many cheaper ones of the same kernel. */
  readonly most?: number;
  readonly samples?: number;
  readonly launches?: number;
}

/**
 * The best candidate for each number of tokens, measured. `products`: copies of one matrix, as many as it takes that they rotate past the L2 cache.
 * Errors: those of the device.
 */
export function tune(
  kernels: MarlinKernels,
  products: readonly MarlinProduct[],
  tokenCounts: readonly number[],
  { within = 1.5, most = 6, samples = 5, launches = 30 }: TuneOptions = {},
): TunedTable {
  const { device } = kernels;
  const { weights } = products[0]!;
  using owned = new DisposableStack();
  const epilogue = { output: weights.type, bias: false } as const;
  const buckets = [...new Set(tokenCounts.map(bucketOf))];
  const allocate = (label: string, columns: number): DeviceBuffer => {
    const buffer = owned.use(device.allocate(2 * Math.max(...buckets) * columns, label));
    buffer.write(randomHalves(buffer.bytes / 2));
    return buffer;
  };
  const [x, y] = [allocate('x', weights.k), allocate('y', weights.n)];
  const rows = buckets.map((tokens): TunedRow => {
    const { chosen, rejected } = kernels.plan({ ...weights, m: tokens });
    const measured = worthATry([chosen, ...rejected], within, most).map((candidate) => {
      const bound = products.map((product) => product.bind({ x, y, tokens, epilogue, candidate }));
      return { candidate, microseconds: microsecondsOf(device, bound, launches, samples) };
    });
    const best = measured.reduce((least, one) => (one.microseconds < least.microseconds ? one : least));
    return rowOf(weights, tokens, best);
  });
  return { gpu: device.name, rows };
}

/** +-1 .. 2 in f16, and some numbers or other in bf16: a GPU that multiplies zeros needs less power, and is faster where power limits it. */
function randomHalves(count: number): Uint16Array {
  const random = new Random(1);
  return Uint16Array.from({ length: count }, () => (random.integer(0x10000) & 0x83ff) | 0x3c00);
}

function worthATry(candidates: readonly Candidate[], within: number, most: number): readonly Candidate[] {
  const cheapest = Math.min(...candidates.map(({ cost }) => cost));
  const close = candidates.filter(({ cost }) => cost <= within * cheapest);
  const byKernel = Map.groupBy(close, ({ kernel }) => kernel);
  return [...byKernel.values()].flatMap((ofOne) => ofOne.toSorted((a, b) => a.cost - b.cost).slice(0, most));
}

/** Median time of one launch, in graphs of at least `launches`. */
export function microsecondsOf(
  device: Device,
  bound: readonly BoundLaunch[],
  launches: number,
  samples: number,
): number {
  const rounds = Math.ceil(launches / bound.length);
  for (const one of bound) one.launch();
  using graph = device.graph(() => {
    for (let round = 0; round < rounds; round++) for (const one of bound) one.launch();
  });
  device.time(() => graph.launch());
  const times = Array.from({ length: samples }, () => device.time(() => graph.launch()));
  return median(times) / (rounds * bound.length);
}

function rowOf(
  { n, k, scheme: { group, zeroPoints }, type }: WeightShape,
  tokens: number,
  { candidate, microseconds }: { readonly candidate: Candidate; readonly microseconds: number },
): TunedRow {
  const { kernel, tiling } = candidate;
  return { n, k, group, zeroPoints, type, tokens, kernel, tiling: tilingText(tiling), microseconds };
}
