// The sweep of the 4-bit product on the simulator, small: that it runs, checks results and finds wrong ones. Its times mean nothing here.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDevice } from '../../src/device/simulated.ts';
import { tilingsFor, tilingText } from './tile-candidates.ts';
import { expectedAt, randomStrips, sampledRow, sampleOf, withTokens } from './tile-data.ts';
import { copiesPastCache, scheme, sweepTile } from './tile.ts';

const size = { n: 136, k: 256 };

test('tilings are right, and compared with the baseline', () => {
  const device = new SimulatedDevice({ facts: { l2Bytes: 10_000 } });
  const tilings = (m: number) => tilingsFor(m, size, scheme, 2).slice(0, 3);
  const results = sweepTile(device, { size, tokens: [5, 16], tilings, baseline: () => {}, samples: 1, graphFlops: 1 });
  assert.equal(results.length, 8);
  for (const { tiling, ok, error, speedup } of results)
    if (tiling !== null) assert.ok(ok && error > 0 && speedup !== null, `${tilingText(tiling)}: ${error}`);
});

test('what is not written, or wrong, is found', () => {
  const matrix = randomStrips(size, scheme, 1);
  const x = Float16Array.from({ length: 2 * size.k }, (_, i) => Math.sin(i));
  const sample = withTokens(sampleOf(matrix, 2, 1), 2);
  const [first] = expectedAt(sample, x, size.k);
  const row = new Uint16Array(size.n);
  assert.ok(first!.some((value) => value !== 0));
  assert.ok(sampledRow(sample, row).every((value) => value === 0));
  row[100] = 0xffff;
  assert.ok(sampledRow(sample, row).every(Number.isNaN));
});

test('a planned tiling and others for every number of tokens, none of them twice', () => {
  for (const m of [1, 16, 32, 64, 128, 256, 4096]) {
    const texts = tilingsFor(m, { n: 8192, k: 8192 }, scheme, 132).map(tilingText);
    assert.ok(texts.length >= 5);
    assert.equal(new Set(texts).size, texts.length);
  }
});

test('copies until the cache is passed', () => {
  assert.deepEqual([copiesPastCache(30e6, 60e6), copiesPastCache(900e6, 60e6), copiesPastCache(1, 60e6)], [5, 2, 24]);
});
