// The dense 16-bit product on wgmma on the simulator: right on random shapes and tilings, without findings in any order of warps and copies.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../base/random.ts';
import { describe } from '../../sim/findings.ts';
import { simulateExample } from '../entry.ts';
import { dense16WgmmaExample } from './wgmma-entry.ts';
import { dense16Wgmma, type WgmmaTiling, wgmmaGrid } from './wgmma.ts';
import type { Shape } from './kernel.ts';

function check(shape: Shape, tiling: WgmmaTiling, multiprocessors: number, seed: number): void {
  const { findings, error, bound } = simulateExample(dense16WgmmaExample(shape, tiling, multiprocessors), seed);
  const what = JSON.stringify({ shape, tiling, multiprocessors, seed });
  assert.deepEqual(findings.map(describe), [], what);
  assert.ok(error <= bound, `${what}: relative error ${error}`);
}

test('any m, and any n and k that are multiples of 8, on every tiling', () => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  const random = new Random(seed);
  for (let run = 0; run < 6; run++) {
    const shape = { m: 1 + random.integer(300), n: 8 * (1 + random.integer(40)), k: 8 * (1 + random.integer(30)) };
    const cluster = run % 2 === 0 ? 1 : 2;
    const tiling = {
      columns: ([256, 128, 64] as const)[run % 3]!,
      stages: 2 + random.integer(3),
      cluster,
      group: 1 + random.integer(3),
    } as const;
    check(shape, tiling, cluster * (1 + random.integer(2)), seed + run);
  }
});

test('no findings in 20 orders of warps and copies, with several tiles for a cluster of two', () => {
  for (let seed = 0; seed < 20; seed++)
    check({ m: 256, n: 192, k: 128 }, { columns: 128, stages: 2, cluster: 2, group: 16 }, 2, seed);
});

test('as many CTAs as there are multiprocessors, or tiles', () => {
  const tiling = { columns: 256, stages: 4, cluster: 2, group: 16 } as const;
  assert.equal(wgmmaGrid({ m: 8192, n: 8192, k: 64 }, tiling, 132), 132);
  assert.equal(wgmmaGrid({ m: 8192, n: 8192, k: 64 }, tiling, 133), 132);
  assert.equal(wgmmaGrid({ m: 300, n: 300, k: 64 }, tiling, 132), 8);
});

test('rows that no bulk copy can take are refused', () => {
  assert.throws(() => dense16Wgmma({ m: 128, n: 128, k: 60 }), RangeError);
  assert.throws(() => dense16Wgmma({ m: 128, n: 100, k: 64 }), RangeError);
});
