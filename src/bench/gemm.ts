// The 4-bit product of a layer for several numbers of tokens, beside cuBLAS fp16 and a pure read of its weights: weights that rotate past the L2 cache,
// graphs of many launches, samples taken in turn so that all see the same clocks, outputs checked. Runs on any device.
import { bf16ToNumber, f16ToNumber } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { median, relativeError } from '../base/stats.ts';
import type { BoundLaunch, Device, DeviceBuffer, DeviceGraph } from '../device/device.ts';
import { tilingText, type WeightShape } from '../kernels/marlin/family.ts';
import { packedBytes, rowTiles, STRIP_ROWS } from '../kernels/marlin/layout.ts';
import type { MarlinKernels } from '../kernels/marlin/op.ts';
import { fillRepeated, normalBlock, repeatedRows, repeatedWeights, stripBlock } from './data.ts';
import { bindReads } from './read.ts';
import type { GemmRow } from './results.ts';

/** The fp16 product to compare with: y [m, n] = x [m, k] w [n, k]^T. */
export interface Baseline {
  readonly bind: (m: number, weights: WeightShape, x: DeviceBuffer, w: DeviceBuffer, y: DeviceBuffer) => BoundLaunch;
  /** What it reaches on a large product, in TFLOP/s. */
  readonly teraflops: number;
}

export interface GemmOptions {
  readonly samples?: number;
  /** Launches of a graph, at least; fewer where they would take longer than `graphMicroseconds`. */
  readonly launches?: number;
  readonly graphMicroseconds?: number;
  /** Weights in rotation have at least so many bytes. */
  readonly rotation?: number;
  readonly seed?: number;
}

const DEFAULTS = { samples: 5, launches: 50, graphMicroseconds: 1e6, rotation: 256e6, seed: 1 };
type Settings = typeof DEFAULTS;

const LEAST_COPIES = 2;
const LEAST_LAUNCHES = 3;
const HALF_BYTES = 2;
/** Of a 16-bit output and weights that a kernel may round to 16 bits once. */
export const ERROR_BOUNDS: Readonly<Record<WeightShape['type'], number>> = { f16: 1e-3, bf16: 8e-3 };

/** One row for each number of tokens. Errors: those of the device. */
export function* measureLayer(
  kernels: MarlinKernels,
  weights: WeightShape,
  tokens: readonly number[],
  baseline: Baseline | null,
  options: GemmOptions = {},
): Generator<GemmRow> {
  const settings: Settings = { ...DEFAULTS, ...options };
  const { device } = kernels;
  const { n, k, type } = weights;
  using owned = new DisposableStack();
  const random = new Random(settings.seed);
  const bytes = packedBytes(weights, weights.scheme);
  const most = Math.max(...tokens);

  const [strips, values] = [stripBlock(random, weights), normalBlock(random, type)];
  const filled = (label: string, count: number): DeviceBuffer => {
    const buffer = owned.use(device.allocate(HALF_BYTES * count, label));
    fillRepeated(device, buffer, values);
    return buffer;
  };
  const copies = repeatedWeights(device, weights, strips, copiesOf(bytes, settings), owned);
  const products = copies.map((buffers) => owned.use(kernels.over(`${k} x ${n}`, weights, buffers)));
  const dense =
    baseline === null ? [] : Array.from({ length: copiesOf(HALF_BYTES * n * k, settings) }, () => filled('w', n * k));
  const x = filled('x', most * k);
  const y = owned.use(device.allocate(HALF_BYTES * most * n, 'y'));
  const expected = expectedOutputs(weights, strips, values, settings.seed);
  const readMicroseconds = leastRead(
    device,
    copies.map((copy) => copy.strips),
    settings,
  );

  for (const m of tokens) {
    const { chosen } = kernels.plan({ ...weights, m });
    const epilogue = { output: type, bias: false } as const;
    const ours = products.map((product) => product.bind({ x, y, tokens: m, epilogue, candidate: chosen }));
    const error = outputError(device, weights, m, y, ours[0]!, expected);
    const theirs = dense.map((w) => baseline!.bind(m, weights, x, w, y));
    const [microseconds, fp16Microseconds] = timesOf(device, baseline === null ? [ours] : [ours, theirs], settings);
    const flops = 2 * m * n * k;
    const idealMicroseconds = Math.max(readMicroseconds, baseline === null ? 0 : flops / baseline.teraflops / 1e6);
    yield {
      k,
      n,
      m,
      group: weights.scheme.group,
      dtype: type,
      kernel: chosen.kernel,
      tiling: tilingText(chosen.tiling),
      microseconds: microseconds!,
      gigabytesPerSecond: (bytes + HALF_BYTES * m * (n + k)) / microseconds! / 1e3,
      teraflops: flops / microseconds! / 1e6,
      fp16Microseconds: fp16Microseconds ?? null,
      readMicroseconds,
      idealMicroseconds,
      error: Number.isNaN(error) ? null : error,
      ok: error <= ERROR_BOUNDS[type],
    };
  }
}

/** How many copies of so many bytes it takes that none is in a cache when its turn comes. */
export function copiesOf(bytes: number, { rotation }: { readonly rotation: number } = DEFAULTS): number {
  return Math.max(LEAST_COPIES, Math.ceil(rotation / bytes));
}

/** The median time of one launch of each list, the lists measured in turn. */
function timesOf(device: Device, lists: readonly (readonly BoundLaunch[])[], settings: Settings): number[] {
  using owned = new DisposableStack();
  const prepared = lists.map((list) => {
    const count = launchesOf(device, list, settings);
    const graph: DeviceGraph = owned.use(
      device.graph(() => {
        for (let i = 0; i < count; i++) list[i % list.length]!.launch();
      }),
    );
    device.time(() => graph.launch());
    return { graph, count, times: new Array<number>() };
  });
  for (let sample = 0; sample < settings.samples; sample++)
    for (const { graph, count, times } of prepared) times.push(device.time(() => graph.launch()) / count);
  return prepared.map(({ times }) => median(times));
}

function launchesOf(device: Device, list: readonly BoundLaunch[], { launches, graphMicroseconds }: Settings): number {
  // The first launch may load a kernel.
  list[0]!.launch();
  const once = device.time(() => list[0]!.launch());
  const wanted = list.length * Math.ceil(launches / list.length);
  return Math.max(LEAST_LAUNCHES, Math.min(wanted, Math.floor(graphMicroseconds / once)));
}

function leastRead(device: Device, buffers: readonly DeviceBuffer[], settings: Settings): number {
  using owned = new DisposableStack();
  return Math.min(...timesOf(device, bindReads(device, buffers, owned), settings));
}

/** Sampled rows of the matrix, and the activations, as numbers. */
interface Expected {
  readonly tiles: readonly { readonly tile: number; readonly rows: Float64Array }[];
  readonly activation: (index: number) => number;
}

const SAMPLED_TILES = 6;
const SAMPLED_TOKENS = 4;

function expectedOutputs(weights: WeightShape, strips: Uint8Array, values: Uint16Array, seed: number): Expected {
  const random = new Random(seed + 1);
  const last = rowTiles(weights) - 1;
  const tiles = [...new Set([0, last, ...Array.from({ length: SAMPLED_TILES - 2 }, () => random.integer(last + 1))])];
  const toNumber = weights.type === 'f16' ? f16ToNumber : bf16ToNumber;
  return {
    tiles: tiles.map((tile) => ({ tile, rows: repeatedRows(strips, weights, tile) })),
    activation: (index) => toNumber(values[index % values.length]!),
  };
}

/** The error of sampled channels of sampled tokens, of which every channel must be written; NaN otherwise. */
function outputError(
  device: Device,
  { n, k, type }: WeightShape,
  m: number,
  y: DeviceBuffer,
  launch: BoundLaunch,
  { tiles, activation }: Expected,
): number {
  const sampled = [
    ...new Set(Array.from({ length: SAMPLED_TOKENS }, (_, i) => Math.floor((i * (m - 1)) / (SAMPLED_TOKENS - 1)))),
  ];
  const rowOf = (token: number): DeviceBuffer => y.slice(HALF_BYTES * token * n, HALF_BYTES * n);
  for (const token of sampled) rowOf(token).write(new Uint16Array(n).fill(0xffff));
  launch.launch();
  device.synchronize();
  const [actual, expected]: [number[], number[]] = [[], []];
  const row = new Uint16Array(n);
  for (const token of sampled) {
    rowOf(token).read(row);
    const numbers = Float32Array.from(row, type === 'f16' ? f16ToNumber : bf16ToNumber);
    if (numbers.some(Number.isNaN)) return Number.NaN;
    const xs = Float64Array.from({ length: k }, (_, i) => activation(token * k + i));
    for (const { tile, rows } of tiles) {
      for (let r = 0; r < STRIP_ROWS; r++) {
        let sum = 0;
        for (let i = 0; i < k; i++) sum += xs[i]! * rows[r * k + i]!;
        expected.push(sum);
        actual.push(numbers[tile * STRIP_ROWS + r]!);
      }
    }
  }
  return relativeError(actual, expected);
}
