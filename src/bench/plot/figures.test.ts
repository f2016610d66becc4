// From results to lines and bars: which numbers are drawn, and that the pictures hold them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { PublishedRow } from '../published.ts';
import type { GemmResults, GemmRow } from '../results.ts';
import { barChart, lineChart } from './chart.ts';
import { barFacets, figuresOf, readBandwidth, rooflineSeries, sweepSeries } from './figures.ts';
import { legend, linear, linearTicks, logarithmic, logarithmicTicks } from './svg.ts';

const row = (change: Partial<GemmRow> = {}): GemmRow => ({
  k: 128,
  n: 64,
  m: 1,
  group: 128,
  dtype: 'f16',
  kernel: 'a',
  tiling: '',
  microseconds: 2,
  gigabytesPerSecond: 500,
  teraflops: 4,
  fp16Microseconds: 4,
  readMicroseconds: 1,
  idealMicroseconds: 1,
  error: 1e-4,
  ok: true,
  ...change,
});
const other = { k: 256, n: 64 };
const peer = (kernel: string, microseconds: number, change: Partial<PublishedRow> = {}): PublishedRow => ({
  kernel,
  k: 128,
  n: 64,
  m: 1,
  microseconds,
  ...change,
});
const published = [
  peer('cublas-fp16', 6),
  peer('cublas-fp16', 6, other),
  peer('machete', 3),
  peer('machete', 4, other),
  peer('tinygemm', 2),
];
const rows = [row({ m: 16, microseconds: 1 }), row(), row({ ...other, microseconds: 1 })];
const results: GemmResults = {
  what: 'gemm',
  date: '2026-01-02T03:04:05Z',
  machine: { gpu: 'NVIDIA <X>' },
  fp16: { name: 'cuBLAS', version: 1, teraflops: 600 },
  rows,
};

describe('data', () => {
  test('the sweep has means in the order of tokens, and peers only where they have every layer', () => {
    const series = sweepSeries(rows, published);
    const close = (points: readonly (readonly number[])[]): number[][] =>
      points.map((point) => point.map((x) => Number(x.toFixed(6))));
    assert.deepEqual(
      series.map(({ name, points }) => [name, close(points)]),
      [
        [
          'marlin-ts',
          [
            [1, Number(Math.sqrt(8).toFixed(6))],
            [16, 4],
          ],
        ],
        [
          'ideal',
          [
            [1, 4],
            [16, 4],
          ],
        ],
        ['Machete', [[1, Number(Math.sqrt(3).toFixed(6))]]],
      ],
    );
  });

  test('wrong results are in no line', () => {
    const wrong = rows.map((one) => ({ ...one, ok: one.m !== 16 }));
    assert.deepEqual(
      sweepSeries(wrong, [])[0]!.points.map(([m]) => m),
      [1],
    );
    assert.equal(rooflineSeries(wrong)[0]!.points.length, 1);
  });

  test('the roofline has a line a layer, over operations for each byte', () => {
    const [first, second] = rooflineSeries([row({ m: 16, teraflops: 40 }), row(), row(other)]);
    assert.deepEqual(first!.points, [
      [8, 4],
      [80, 40],
    ]);
    assert.deepEqual([first!.name, second!.name], ['128 x 64', '256 x 64']);
    assert.equal(readBandwidth([row(), row({ readMicroseconds: 0.5 })]), (128 * 64 * (0.5 + 2 / 128)) / 0.5 / 1e3);
  });

  test('bars stand for numbers of tokens that every layer has', () => {
    const facets = barFacets(rows, published, [1, 16, 64]);
    assert.deepEqual(facets, [
      {
        title: '1 token',
        groups: [
          { name: '128 x 64', values: [2, 3], mark: 4 },
          { name: '256 x 64', values: [4, 1.5], mark: 4 },
        ],
      },
    ]);
  });
});

describe('figures', () => {
  test('of results with fp16 and without', () => {
    assert.deepEqual(
      figuresOf(results, published).map(({ name }) => name),
      ['sweep', 'layers', 'roofline'],
    );
    const alone = { ...results, fp16: null, rows: rows.map((one) => ({ ...one, fp16Microseconds: null })) };
    assert.deepEqual(
      figuresOf(alone, published).map(({ name }) => name),
      ['roofline'],
    );
    assert.deepEqual(
      figuresOf({ ...results, rows: [row({ m: 2 })] }, published).map(({ name }) => name),
      ['sweep', 'roofline'],
    );
  });

  test('are whole SVG with colours for dark surroundings, words escaped, no number missing', () => {
    for (const { name, svg } of figuresOf(results, published)) {
      assert.match(svg, /^<svg xmlns[^]*<\/svg>\n$/, name);
      assert.ok(svg.includes('prefers-color-scheme: dark') && svg.includes('NVIDIA &lt;X&gt;, 2026-01-02'), name);
      assert.doesNotMatch(svg, /NaN|Infinity|undefined/, name);
      assert.equal(svg.split('<text').length, svg.split('</text>').length, name);
    }
  });

  test('a line goes where its points are, a bar as far as its value', () => {
    const scale = (pixels: readonly [number, number]) => linear([0, 10], pixels, linearTicks(10));
    const lines = lineChart({
      title: 't',
      notes: [],
      x: { label: 'x', scale },
      y: { label: 'y', scale },
      series: [
        {
          name: 's',
          colour: 3,
          style: 'strong',
          points: [
            [0, 0],
            [10, 10],
          ],
        },
      ],
    });
    const [, x1, y1, x2, y2] = /points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"/.exec(lines)!.map(Number);
    assert.ok(x2! - x1! > 700 && y1! - y2! > 300, 'all of the plot');
    const bars = barChart({
      title: 't',
      notes: [],
      mark: 'ideal',
      bars: [{ name: 'a', colour: 0 }],
      facets: [
        {
          title: 'f',
          groups: [
            { name: 'g', values: [2], mark: 4 },
            { name: 'h', values: [null], mark: 1 },
          ],
        },
      ],
    });
    const widths = [...bars.matchAll(/<rect class="bar s0" [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width));
    assert.equal(widths.length, 2, 'the legend and one value');
    const marks = [...bars.matchAll(/<line class="tick ink" x1="([\d.]+)"/g)].map(([, x]) => Number(x));
    // The second mark after the legend's stands at 4, the third at 1.
    assert.ok(Math.abs(widths[1]! - (2 / 3) * (marks[1]! - marks[2]!)) < 0.1);
  });
});

describe('scales', () => {
  test('linear and logarithmic', () => {
    assert.equal(linear([0, 4], [100, 0], []).at(1), 75);
    assert.ok(Math.abs(logarithmic([1, 100], [0, 200], []).at(10) - 100) < 1e-9);
  });

  test('ticks are round numbers', () => {
    assert.deepEqual(
      linearTicks(3.9).map(({ text }) => text),
      ['0', '1', '2', '3', '4'],
    );
    assert.deepEqual(
      linearTicks(0.9, 4).map(({ text }) => text),
      ['0.0', '0.5', '1.0'],
    );
    assert.deepEqual(
      linearTicks(12, 5).map(({ value }) => value),
      [0, 5, 10, 15],
    );
    assert.deepEqual(
      logarithmicTicks([0.2, 30]).map(({ text }) => text),
      ['0.2', '0.5', '1', '2', '5', '10', '20'],
    );
  });

  test('a legend takes as many lines as it needs', () => {
    const keys = Array.from({ length: 6 }, (_, i) => ({ name: `a name ${i}`, classes: 's0', kind: 'line' as const }));
    assert.ok(legend(keys, 0, 0, 300).height > legend(keys, 0, 0, 3000).height);
  });
});
