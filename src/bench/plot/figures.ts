// Results as figures: which numbers make which lines and bars. Knows nothing of pixels.
import { bestPublished, publishedKernels, type PublishedRow } from '../published.ts';
import { geometricMean, type GemmResults, type GemmRow, meansOf, speedupOf } from '../results.ts';
import { type BarChart, barChart, lineChart, type Series } from './chart.ts';
import { logarithmicTicks, linear, linearTicks, logarithmic, type Range } from './svg.ts';

export interface Figure {
  /** Of its file, without an ending. */
  readonly name: string;
  readonly svg: string;
}

const PEERS: Readonly<Record<string, string>> = {
  'vllm-marlin': 'vLLM Marlin',
  machete: 'Machete',
  cutlass55: 'CUTLASS 55',
  tinygemm: 'tinygemm',
};

const layerOf = ({ k, n }: { readonly k: number; readonly n: number }): string => `${k} x ${n}`;

/** The layers of the rows, each once, in their order. */
export function layersOf(rows: readonly GemmRow[]): readonly string[] {
  return [...new Set(rows.map(layerOf))];
}

/**
 * Speed-up over fp16 against the number of tokens: ours, the ideal, and published kernels, as geometric means over the layers. A published
 * kernel has a point only where it was measured on every layer.
 */
export function sweepSeries(rows: readonly GemmRow[], published: readonly PublishedRow[]): readonly Series[] {
  const means = meansOf(rows);
  const line = (of: (m: number, i: number) => number | null): (readonly [number, number])[] =>
    means.flatMap(({ m }, i) => {
      const y = of(m, i);
      return y === null ? [] : [[m, y] as const];
    });
  const peers = publishedKernels(published).map((kernel, colour): Series => {
    const points = line((m) => {
      const cells = rows
        .filter((row) => row.ok && row.m === m)
        .map((row) => bestPublished(published, row, kernel)?.speedup ?? null);
      return cells.includes(null) ? null : geometricMean(cells.filter((cell) => cell !== null));
    });
    return { name: PEERS[kernel] ?? kernel, colour, style: 'plain', points };
  });
  return [
    { name: 'marlin-ts', colour: 'ours', style: 'strong', points: line((_, i) => means[i]!.speedup) },
    { name: 'ideal', colour: 'ink', style: 'dashed', points: line((_, i) => means[i]!.idealSpeedup) },
    ...peers.filter(({ points }) => points.length > 0),
  ];
}

/** Operations for each byte that must be moved, and the rate that was reached, for each layer. */
export function rooflineSeries(rows: readonly GemmRow[]): readonly Series[] {
  return layersOf(rows).map((layer, colour) => ({
    name: layer,
    colour,
    style: 'dots',
    points: rows
      .filter((row) => row.ok && layerOf(row) === layer)
      .map((row) => [intensityOf(row), row.teraflops] as const)
      .toSorted(([a], [b]) => a - b),
  }));
}

/** FLOP / byte: bytes are what the rate in GB/s counts. */
function intensityOf({ teraflops, gigabytesPerSecond }: GemmRow): number {
  return (1e3 * teraflops) / gigabytesPerSecond;
}

/** The fastest that packed weights were read, in GB/s. */
export function readBandwidth(rows: readonly GemmRow[]): number {
  const weightBytes = ({ n, k, group }: GemmRow): number => n * k * (0.5 + 2 / group);
  return Math.max(...rows.map((row) => weightBytes(row) / row.readMicroseconds / 1e3));
}

/** Those of `wanted` that were measured. */
export function barFacets(
  rows: readonly GemmRow[],
  published: readonly PublishedRow[],
  wanted: readonly number[],
): BarChart['facets'] {
  const layers = layersOf(rows);
  const cells = new Map(rows.map((row) => [`${layerOf(row)} ${row.m}`, row]));
  return wanted.flatMap((m) => {
    const found = layers.map((layer) => cells.get(`${layer} ${m}`));
    if (found.includes(undefined)) return [];
    const groups = found
      .filter((row) => row !== undefined)
      .map((row) => ({
        name: layerOf(row),
        values: [row.ok ? speedupOf(row) : null, bestPublished(published, row)?.speedup ?? null],
        mark: row.fp16Microseconds! / row.idealMicroseconds,
      }));
    return [{ title: m === 1 ? '1 token' : `${m} tokens`, groups }];
  });
}

const BAR_TOKENS: readonly number[] = [1, 16, 64];

/** What can be drawn of results: without fp16 there is no speed-up to show. */
export function figuresOf(results: GemmResults, published: readonly PublishedRow[]): readonly Figure[] {
  const { rows } = results;
  const notes = [`${machineText(results)}; weights in groups of ${rows[0]!.group}, cold in the cache.`];
  return [
    ...(results.fp16 === null ? [] : [sweep(rows, published, notes), ...bars(rows, published, notes)]),
    roofline(results, notes),
  ];
}

const PEER_NOTE = 'Published kernels: bench/results/published.csv, measured on an H200 against its own fp16.';
const IDEAL_NOTE =
  'Ideal: the larger of a pure read of the packed weights and arithmetic at the rate of fp16, both measured in the same run.';

function sweep(rows: readonly GemmRow[], published: readonly PublishedRow[], notes: readonly string[]): Figure {
  const layers = layersOf(rows);
  const series = sweepSeries(rows, published);
  const tokens = [...new Set(rows.map(({ m }) => m))].toSorted((a, b) => a - b);
  const most = Math.max(1, ...series.flatMap(({ points }) => points.map(([, y]) => y)));
  const ticks = linearTicks(most);
  const svg = lineChart({
    title:
      layers.length === 1
        ? `Speed-up over fp16, layer ${layers[0]!}`
        : `Speed-up over fp16, geometric mean of ${layers.length} layers`,
    notes: [...notes, IDEAL_NOTE, PEER_NOTE],
    x: {
      label: 'tokens (M)',
      scale: (pixels) =>
        logarithmic(
          spread(tokens),
          pixels,
          tokens.map((value) => ({ value, text: String(value) })),
        ),
    },
    y: { label: 'times as fast as cuBLAS fp16', scale: (pixels) => linear([0, ticks.at(-1)!.value], pixels, ticks) },
    series,
  });
  return { name: 'sweep', svg };
}

/** The least and the largest, apart even where there is only one. */
function spread(values: readonly number[]): Range {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
}

function bars(
  rows: readonly GemmRow[],
  published: readonly PublishedRow[],
  notes: readonly string[],
): readonly Figure[] {
  const facets = barFacets(rows, published, BAR_TOKENS);
  if (facets.length === 0) return [];
  const svg = barChart({
    title: 'Speed-up over fp16 by layer (K x N)',
    notes: [...notes, IDEAL_NOTE, PEER_NOTE],
    bars: [
      { name: 'marlin-ts', colour: 'ours' },
      { name: 'best published', colour: 0 },
    ],
    mark: 'ideal',
    facets,
  });
  return [{ name: 'layers', svg }];
}

function roofline(results: GemmResults, notes: readonly string[]): Figure {
  const { rows, fp16 } = results;
  const series = rooflineSeries(rows);
  const points = series.flatMap((one) => one.points);
  const xs = spread(points.map(([x]) => x));
  const bandwidth = readBandwidth(rows) / 1e3;
  const roof = (x: number): number => Math.min(fp16?.teraflops ?? Infinity, bandwidth * x);
  const knee = fp16 === null ? xs[1] : fp16.teraflops / bandwidth;
  const ys = spread([...points.map(([, y]) => y), roof(xs[0]), roof(xs[1])]);
  const corners = [xs[0], ...(knee > xs[0] && knee < xs[1] ? [knee] : []), xs[1]];
  const svg = lineChart({
    title: 'Roofline: what was reached of memory and arithmetic',
    notes: [
      ...notes,
      `Roof: ${bandwidth.toFixed(2)} TB/s as packed weights were read${fp16 === null ? '' : `, ${fp16.teraflops.toFixed(0)} TFLOP/s as fp16 reached`} in the same run.`,
    ],
    x: {
      label: 'operations for each byte of weights, activations and outputs (FLOP/B)',
      scale: (pixels) => logarithmic(xs, pixels, logarithmicTicks(xs)),
    },
    y: { label: 'TFLOP/s', scale: (pixels) => logarithmic(ys, pixels, logarithmicTicks(ys)) },
    series: [
      ...series,
      { name: 'roof', colour: 'ink', style: 'dashed', points: corners.map((x) => [x, roof(x)] as const) },
    ],
  });
  return { name: 'roofline', svg };
}

function machineText({ machine, date }: GemmResults): string {
  const gpu = machine?.['gpu'];
  return `${typeof gpu === 'string' ? gpu : 'Simulator (times mean nothing)'}, ${date.slice(0, 10)}`;
}
