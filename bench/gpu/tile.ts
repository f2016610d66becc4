// One 4-bit matrix by a list of tilings, for several numbers of tokens: weights that rotate past the L2 cache, graphs of several launches, samples
// taken in turn, sampled results checked.
import { relativeError, median } from '../../src/base/stats.ts';
import type { BoundLaunch, Device, DeviceBuffer, LoadedKernel } from '../../src/device/device.ts';
import type { MatrixSize, Scheme } from '../../src/kernels/marlin/layout.ts';
import { marlinTile, type TileParams } from '../../src/kernels/marlin/tile/kernel.ts';
import { tileGrid, type TileTiling } from '../../src/kernels/marlin/tile/tiling.ts';
import { normals } from './data.ts';
import { expectedAt, randomStrips, sampledRow, sampleOf, withTokens } from './tile-data.ts';

/** Enqueues y = x W^T with f16 weights [n, k]. */
export type Baseline = (m: number, size: MatrixSize, x: DeviceBuffer, w: DeviceBuffer, y: DeviceBuffer) => void;

export interface TileResult {
  readonly size: MatrixSize;
  readonly m: number;
  /** Null: the baseline. */
  readonly tiling: TileTiling | null;
  readonly microseconds: number;
  readonly teraflops: number;
  /** How many times as fast as the baseline; null without one, or for a wrong result. */
  readonly speedup: number | null;
  readonly error: number;
  readonly ok: boolean;
}

export interface TileSweep {
  readonly size: MatrixSize;
  readonly tokens: readonly number[];
  readonly tilings: (m: number) => readonly TileTiling[];
  readonly baseline: Baseline | null;
  readonly samples?: number;
  /** Floating-point operations of a graph, at least. */
  readonly graphFlops?: number;
}

export const scheme: Scheme = { group: 128, zeroPoints: false };
const LARGEST_ERROR = 1e-3;
const WARM_UP = 2;
const MOST_SETS = 24;

/** Copies of `bytes` bytes until none is in the cache when its turn comes again. */
export const copiesPastCache = (bytes: number, l2Bytes: number): number =>
  Math.min(MOST_SETS, Math.ceil((2 * l2Bytes) / bytes) + 1);

export function sweepTile(device: Device, sweep: TileSweep): TileResult[] {
  const { size, tokens, tilings, baseline, samples = 7, graphFlops = 2e11 } = sweep;
  const { n, k } = size;
  const { l2Bytes, multiprocessors } = device.facts;
  using owned = new DisposableStack();
  const upload = (label: string, data: ArrayBufferView): DeviceBuffer => {
    const buffer = owned.use(device.allocate(data.byteLength, label));
    buffer.write(data);
    return buffer;
  };
  const copies = (label: string, data: ArrayBufferView): DeviceBuffer[] =>
    Array.from({ length: copiesPastCache(data.byteLength, l2Bytes) }, () => upload(label, data));

  const matrix = randomStrips(size, scheme, 1);
  const strips = copies('strips', matrix.strips);
  const factors = upload('factors', matrix.factors);
  const dense = baseline === null ? [] : copies('f16 weights', normals(n * k, 2));
  const most = Math.max(...tokens);
  const [hostX, Y] = [normals(most * k, 3), owned.use(device.allocate(most * n * 2, 'y'))];
  const x = upload('x', hostX);
  const channels = sampleOf(matrix, most, 4);
  const loaded = new Map<string, LoadedKernel<TileParams>>();
  const kernelOf = (tiling: TileTiling): LoadedKernel<TileParams> => {
    const key = JSON.stringify(tiling);
    const known = loaded.get(key);
    if (known !== undefined) return known;
    const epilogue = { output: 'f16', bias: false } as const;
    const fresh = owned.use(device.load(marlinTile({ size, format: { type: 'f16', scheme }, tiling, epilogue })));
    loaded.set(key, fresh);
    return fresh;
  };

  return tokens.flatMap((m) => {
    using graphs = new DisposableStack();
    const sample = withTokens(channels, m);
    const expected = expectedAt(sample, hostX, k);
    const row = new Uint16Array(n);
    const rowAt = (token: number): DeviceBuffer => Y.slice(token * n * 2, n * 2);
    const poison = new Uint16Array(n).fill(0xffff);

    /** The worst over sampled tokens of one launch. */
    const errorOf = (launch: BoundLaunch): number => {
      for (const token of sample.tokens) rowAt(token).write(poison);
      launch.launch();
      const errors = sample.tokens.map((token, i) => {
        rowAt(token).read(row);
        return relativeError(sampledRow(sample, row), expected[i]!);
      });
      return Math.max(...errors);
    };
    const flops = 2 * m * n * k;
    const prepare = (tiling: TileTiling | null, launches: readonly BoundLaunch[], error: number) => {
      const rounds = Math.max(1, Math.ceil(graphFlops / flops / launches.length));
      const graph = graphs.use(
        device.graph(() => {
          for (let round = 0; round < rounds; round++) for (const bound of launches) bound.launch();
        }),
      );
      return { tiling, graph, launches: rounds * launches.length, error, times: new Array<number>() };
    };

    const ours = tilings(m).map((tiling) => {
      const kernel = kernelOf(tiling);
      const X = { buffer: x, rows: m, columns: k };
      const grid = [tileGrid(m, size, tiling, multiprocessors)] as const;
      const launches = strips.map((W) => kernel.bind(grid, { W, X, factors, bias: factors, Y, m }));
      return prepare(tiling, launches, errorOf(launches[0]!));
    });
    const theirs =
      baseline === null ? [] : [dense.map((w): BoundLaunch => ({ launch: () => baseline(m, size, x, w, Y) }))];
    const contenders = [
      ...theirs.map((launches) => {
        // Once outside of a graph: cuBLAS loads its kernels at their first use.
        launches[0]!.launch();
        return prepare(null, launches, 0);
      }),
      ...ours,
    ];
    for (let turn = -WARM_UP; turn < samples; turn++) {
      for (const { graph, launches, times } of contenders) {
        const each = device.time(() => graph.launch()) / launches;
        if (turn >= 0) times.push(each);
      }
    }
    const reference = theirs.length === 0 ? null : median(contenders[0]!.times);
    return contenders.map(({ tiling, error, times }): TileResult => {
      const [microseconds, ok] = [median(times), error <= LARGEST_ERROR];
      const speedup = ok && reference !== null ? reference / microseconds : null;
      return { size, m, tiling, microseconds, teraflops: flops / microseconds / 1e6, speedup, error, ok };
    });
  });
}
