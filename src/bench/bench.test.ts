// The benchmark of the 4-bit product on the simulator and the fake driver, small: that it runs, checks, finds what is wrong and frees what it took.
// Its times mean nothing here.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openContext } from '../cuda/context.ts';
import { createFake } from '../cuda/fake.ts';
import { NvidiaDevice } from '../device/nvidia.ts';
import { SimulatedDevice } from '../device/simulated.ts';
import { Random } from '../base/random.ts';
import type { Family, WeightShape } from '../kernels/marlin/family.ts';
import { MarlinKernels } from '../kernels/marlin/op.ts';
import { simpleFamily } from '../kernels/marlin/simple.ts';
import { fillRepeated, normalBlock, repeatedRows, ROW_FACTOR, stripBlock } from './data.ts';
import { measureLayer } from './gemm.ts';
import { bestPublished, parsePublished, publishedKernels, readPublished } from './published.ts';
import { geometricMean, type GemmRow, meansOf, readResults, timesIdeal } from './results.ts';
import { parseShapes, shapeSets } from './shapes.ts';

const weights: WeightShape = { n: 32, k: 256, scheme: { group: 64, zeroPoints: true }, type: 'bf16' };
const quick = { samples: 1, launches: 3, graphMicroseconds: 1, rotation: 1 };
const small = { facts: { multiprocessors: 2 } };

describe('a layer', () => {
  test('is right for each number of tokens, with and without something to compare with', () => {
    const device = new SimulatedDevice(small);
    using kernels = new MarlinKernels(device);
    let bound = 0;
    const baseline = {
      teraflops: 1e-9,
      bind: () => {
        bound++;
        return { launch: () => {} };
      },
    };
    const rows = [...measureLayer(kernels, weights, [1, 9], baseline, quick)];
    assert.deepEqual(
      rows.map(({ m, ok, kernel }) => [m, ok, kernel !== '']),
      [
        [1, true, true],
        [9, true, true],
      ],
    );
    assert.equal(bound, 4, 'two copies for each number of tokens');
    for (const row of rows) {
      assert.ok(row.error! > 0 && row.fp16Microseconds! > 0 && row.readMicroseconds > 0);
      // At this rate arithmetic is what limits.
      assert.equal(row.idealMicroseconds, (2 * row.m * 32 * 256) / 1e-9 / 1e6);
    }
    const [alone] = measureLayer(kernels, weights, [3], null, quick);
    assert.deepEqual([alone!.fp16Microseconds, alone!.idealMicroseconds], [null, alone!.readMicroseconds]);
  });

  test('of a kernel that writes nothing, or something else, is wrong', () => {
    const device = new SimulatedDevice(small);
    const broken = (launch: (y: Parameters<typeof device.copy>[0]) => void): Family => ({
      ...simpleFamily,
      candidates: (problem, facts) =>
        simpleFamily.candidates(problem, facts).map((candidate) => ({
          ...candidate,
          build: (epilogue) => ({
            ...candidate.build(epilogue),
            load: () => ({ bind: (_, { y }) => ({ launch: () => launch(y) }), [Symbol.dispose]() {} }),
          }),
        })),
    });
    const zeros = device.allocate(2 * 32, 'zeros');
    zeros.write(new Uint16Array(32));
    for (const [launch, error] of [
      [() => {}, null],
      [(y) => device.copy(y, zeros), 1],
    ] as readonly (readonly [(y: Parameters<typeof device.copy>[0]) => void, number | null])[]) {
      using kernels = new MarlinKernels(device, { families: [broken(launch)] });
      const [row] = measureLayer(kernels, weights, [1], null, quick);
      assert.deepEqual([row!.ok, row!.error], [false, error]);
    }
  });

  test('frees all it took, on the driver as well', () => {
    const fake = createFake({ memoryBytes: 2 ** 30 });
    using device = new NvidiaDevice(openContext(fake.driver));
    const before = fake.live;
    {
      using kernels = new MarlinKernels(device);
      const rows = [...measureLayer(kernels, weights, [1, 2], null, { ...quick, rotation: 100_000 })];
      assert.equal(rows.length, 2);
    }
    assert.equal(fake.live, before);
  });
});

test('blocks are repeated to the end, and rows of the matrix are known', () => {
  const device = new SimulatedDevice();
  const block = Uint8Array.from({ length: 100 }, (_, i) => i);
  for (const bytes of [50, 100, 101, 730]) {
    const buffer = device.allocate(bytes, 'x');
    fillRepeated(device, buffer, block);
    const all = new Uint8Array(bytes);
    buffer.read(all);
    assert.ok(
      all.every((byte, i) => byte === i % 100),
      `${bytes} bytes`,
    );
  }
  const rows = repeatedRows(stripBlock(new Random(1), weights), weights, 1);
  assert.equal(rows.length, 16 * 256);
  const deviation = Math.sqrt(rows.reduce((sum, weight) => sum + weight * weight, 0) / rows.length);
  assert.ok(deviation > 3 * 2 ** 14 * ROW_FACTOR && deviation < 8 * 2 ** 15 * ROW_FACTOR, String(deviation));
  assert.ok(new Set(normalBlock(new Random(1), 'f16')).size > 1000);
});

describe('shapes', () => {
  test('by name and by size, each once', () => {
    assert.deepEqual(parseShapes('paper,128x64,128x64'), [
      { k: 18_432, n: 73_728 },
      { k: 128, n: 64 },
    ]);
    assert.equal(parseShapes('llama-8b,baseline').length, 8);
    assert.equal(shapeSets['baseline']!.length, 8);
  });

  test('what is none is refused', () => {
    for (const text of ['', 'llama', '128', '128x', '100x64', '128x20', '0x16', '128x64,'])
      assert.throws(() => parseShapes(text), { code: 'flag-invalid' }, text);
  });
});

describe('what others published', () => {
  test('the best of a cell over the best fp16, or that of one kernel', () => {
    const rows = parsePublished(
      '# a comment, with, five, commas, 1\nkernel,k,n,m,microseconds\ncublas-fp16,1,2,3,12\ncublas-fp16,1,2,3,10\na,1,2,3,8\nb,1,2,3,5\nb,1,2,4,5\n',
    );
    assert.deepEqual(bestPublished(rows, { k: 1, n: 2, m: 3 }), { kernel: 'b', microseconds: 5, speedup: 2 });
    assert.equal(bestPublished(rows, { k: 1, n: 2, m: 3 }, 'a')?.speedup, 1.25);
    assert.equal(bestPublished(rows, { k: 1, n: 2, m: 4 }), null);
    assert.deepEqual(publishedKernels(rows), ['a', 'b']);
  });

  test('the committed table has every cell of the baseline, and its means', () => {
    const rows = readPublished();
    for (const [m, expected] of [
      [1, 2.06],
      [16, 1.85],
      [32, 1.55],
      [64, 1.28],
      [4096, 1],
    ] as const) {
      const cells = shapeSets['baseline']!.map((shape) => bestPublished(rows, { ...shape, m })!.speedup);
      assert.ok(Math.abs(geometricMean(cells) - expected) < 0.01, `${m}: ${geometricMean(cells)}`);
    }
  });
});

const row: GemmRow = {
  k: 128,
  n: 64,
  m: 1,
  group: 128,
  dtype: 'f16',
  kernel: 'a',
  tiling: '',
  microseconds: 2,
  gigabytesPerSecond: 1,
  teraflops: 1,
  fp16Microseconds: 4,
  readMicroseconds: 1,
  idealMicroseconds: 1,
  error: 1e-4,
  ok: true,
};

describe('results', () => {
  test('means are geometric, over the layers of a number of tokens whose results are right', () => {
    const rows = [
      { ...row, m: 8 },
      row,
      { ...row, microseconds: 0.5, idealMicroseconds: 0.5 },
      { ...row, microseconds: 1e-9, ok: false },
    ];
    const [one, eight] = meansOf(rows, ({ microseconds }) => (microseconds === 2 ? 3 : null));
    const close = (found: number | null, expected: number): void => assert.ok(Math.abs(found! - expected) < 1e-9);
    close(one!.speedup, 4);
    close(one!.idealSpeedup, Math.sqrt(32));
    close(one!.timesIdeal, Math.sqrt(2));
    assert.deepEqual([one!.m, one!.published], [1, null]);
    assert.deepEqual([eight!.m, eight!.speedup, eight!.published, timesIdeal(row)], [8, 2, geometricMean([3]), 2]);
    assert.equal(meansOf([{ ...row, fp16Microseconds: null }])[0]!.speedup, null);
  });

  const folder = mkdtempSync(join(tmpdir(), 'marlin-results-'));
  after(() => rmSync(folder, { recursive: true }));

  test('are read back from their file; what is no such file is refused', () => {
    const file = join(folder, 'x.json');
    const results = { what: 'gemm', date: '2026-01-01', machine: null, fp16: null, rows: [row] };
    writeFileSync(file, JSON.stringify(results));
    assert.deepEqual(readResults(file), results);
    assert.throws(() => readResults(join(folder, 'none')), { code: 'file-not-found' });
    assert.throws(() => readResults(folder), { code: 'file-unreadable' });
    for (const [text, message] of [
      ['{', /no JSON/],
      [JSON.stringify({ ...results, rows: [] }), /rows/],
      [JSON.stringify({ ...results, rows: [{ ...row, m: -1 }] }), /rows\.0\.m/],
    ] as const) {
      writeFileSync(file, text);
      assert.throws(() => readResults(file), { code: 'json-invalid', message });
    }
  });
});
