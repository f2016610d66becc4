// Measures the candidates of a product on the device it is for. Knows neither kernels nor where results are kept (tuned.ts).
import { median } from '../../base/stats.ts';
import type { BoundLaunch, Device, DeviceBuffer } from '../../device/device.ts';
import type { Candidate } from './family.ts';
import { tilingText } from './family.ts';
import type { MarlinKernels } from './op.ts';
import { packedBytes } from './layout.ts';
import type { PackedMatrix } from './pack.ts';
import { bucketOf, type TunedRow, type TunedTable } from './tuned.ts';

export interface TuneOptions {
  /** Candidates that are expected to take longer than this times the cheapest are left out. */
  readonly within?: number;
  readonly samples?: number;
  readonly launches?: number;
}

/** The best candidate for each number of tokens, measured with copies of the weights that rotate past the L2 cache. Errors: those of the device. */
export function tune(
  kernels: MarlinKernels,
  matrix: PackedMatrix,
  tokenCounts: readonly number[],
  { within = 3, samples = 7, launches = 50 }: TuneOptions = {},
): TunedTable {
  const { device } = kernels;
  using owned = new DisposableStack();
  const copies = 1 + Math.ceil((2 * device.facts.l2Bytes) / packedBytes(matrix, matrix.scheme));
  const products = Array.from({ length: Math.min(copies, launches) }, () => owned.use(kernels.load('tuned', matrix)));
  const epilogue = { output: matrix.type, bias: false } as const;
  const buckets = [...new Set(tokenCounts.map(bucketOf))];
  const most = Math.max(...buckets);
  const allocate = (label: string, columns: number): DeviceBuffer => {
    const buffer = owned.use(device.allocate(2 * most * columns, label));
    buffer.write(new Uint8Array(buffer.bytes));
    return buffer;
  };
  const [x, y] = [allocate('x', matrix.k), allocate('y', matrix.n)];
  const rows = buckets.map((tokens): TunedRow => {
    const { chosen, rejected } = kernels.plan({ ...matrix, m: tokens });
    const candidates = [chosen, ...rejected];
    const limit = within * Math.min(...candidates.map(({ cost }) => cost));
    const measured = candidates
      .filter(({ cost }) => cost <= limit)
      .map((candidate) => {
        const bound = products.map((product) => product.bind({ x, y, tokens, epilogue, candidate }));
        return { candidate, microseconds: microsecondsOf(device, bound, launches, samples) };
      });
    return rowOf(
      matrix,
      tokens,
      measured.reduce((best, one) => (one.microseconds < best.microseconds ? one : best)),
    );
  });
  return { gpu: device.name, rows };
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
  { n, k, scheme: { group, zeroPoints }, type }: PackedMatrix,
  tokens: number,
  { candidate, microseconds }: { readonly candidate: Candidate; readonly microseconds: number },
): TunedRow {
  const { kernel, tiling } = candidate;
  return { n, k, group, zeroPoints, type, tokens, kernel, tiling: tilingText(tiling), microseconds };
}
