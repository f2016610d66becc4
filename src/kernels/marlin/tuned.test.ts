// Tables of measurements: buckets, files that are kept, merged and read again, files that cannot be.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Problem } from './family.ts';
import { bucketOf, fileName, keepTable, measuredBy, tunedTables, type TunedRow } from './tuned.ts';

const folder = mkdtempSync(join(tmpdir(), 'marlin-tuned-'));
after(() => rmSync(folder, { recursive: true }));

const GPU = 'NVIDIA H200';
const row: TunedRow = {
  n: 64,
  k: 128,
  group: 128,
  zeroPoints: false,
  type: 'f16',
  tokens: 16,
  kernel: 'a',
  tiling: 'columns 8',
  microseconds: 3,
};
const problem: Problem = { m: 12, n: 64, k: 128, scheme: { group: 128, zeroPoints: false }, type: 'f16' };

test('buckets: one, steps of 8 to 64, then powers of two', () => {
  assert.deepEqual(
    [1, 8, 9, 16, 57, 64, 65, 128, 129, 4096].map(bucketOf),
    [1, 8, 16, 16, 64, 64, 128, 128, 256, 4096],
  );
});

test('a measurement is found for its bucket, weights and type, and for nothing else', () => {
  const measured = measuredBy([
    { gpu: GPU, rows: [row] },
    { gpu: GPU, rows: [{ ...row, n: 80 }] },
  ]);
  assert.equal(measured(problem)?.tiling, 'columns 8');
  assert.equal(measured({ ...problem, n: 80 })?.kernel, 'a');
  for (const other of [
    { m: 17 },
    { m: 8 },
    { n: 65 },
    { k: 256 },
    { type: 'bf16' },
    { scheme: { group: 64, zeroPoints: false } },
    { scheme: { group: 128, zeroPoints: true } },
  ] as const)
    assert.equal(measured({ ...problem, ...other }), null);
});

test('tables are kept for each GPU, later rows in the place of older ones', () => {
  const own = join(folder, 'own');
  assert.equal(keepTable({ gpu: GPU, rows: [row, { ...row, tokens: 8 }] }, own), join(own, 'nvidia-h200.json'));
  keepTable({ gpu: GPU, rows: [{ ...row, kernel: 'b' }] }, own);
  keepTable({ gpu: 'NVIDIA A10', rows: [row] }, own);
  const [table] = tunedTables(GPU, [join(folder, 'absent'), own, null]);
  assert.deepEqual(
    table!.rows.map(({ tokens, kernel }) => [tokens, kernel]),
    [
      [16, 'b'],
      [8, 'a'],
    ],
  );
  assert.deepEqual(readdirSync(own).toSorted(), ['nvidia-a10.json', 'nvidia-h200.json']);
});

test('what is broken, or of another GPU, is as if it were not there; what cannot be written is not kept', () => {
  const broken = join(folder, 'broken');
  keepTable({ gpu: GPU, rows: [row] }, broken);
  for (const text of ['{', '{"gpu":"NVIDIA H200","rows":[{"n":-1}]}', '{"gpu":"other","rows":[]}']) {
    writeFileSync(join(broken, fileName(GPU)), text);
    assert.deepEqual(tunedTables(GPU, [broken]), []);
  }
  const file = join(folder, 'a-file');
  writeFileSync(file, '');
  assert.equal(keepTable({ gpu: GPU, rows: [row] }, file), null);
  assert.equal(keepTable({ gpu: GPU, rows: [row] }, null), null);
});
