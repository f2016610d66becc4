// Tables of what is chosen for a shape.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planDense16 } from './plan.ts';

const H100 = 132;

test('wide tiles when there are enough of them, narrow ones to keep all multiprocessors at work', () => {
  for (const [m, n, k, columns, grid] of [
    [8192, 8192, 8192, 256, 132],
    [4096, 4096, 4096, 256, 132],
    [2048, 28_672, 8192, 256, 132],
    [1024, 1024, 1024, 64, 128],
    [1, 128_256, 4096, 256, 132],
    [1, 64, 64, 64, 1],
  ] as const) {
    const { chosen } = planDense16({ m, n, k }, H100);
    assert.deepEqual([chosen.tiling.columns, chosen.grid], [columns, grid], `${m} x ${n} x ${k}`);
  }
});

test('a cluster only where its two rows of tiles exist', () => {
  assert.equal(planDense16({ m: 8192, n: 8192, k: 64 }, H100).chosen.tiling.cluster, 2);
  assert.equal(planDense16({ m: 128, n: 128_256, k: 64 }, H100).chosen.tiling.cluster, 1);
});

test('says of each other tiling why not', () => {
  const { rejected } = planDense16({ m: 1024, n: 1024, k: 1024 }, H100);
  assert.equal(rejected.length, 3);
  for (const { reason } of rejected) assert.match(reason, /^\d+ CTAs take \d+ turns of 128 x \d+: \d\.\d\d times/);
});
