// The dense 16-bit product on the simulator: equal to its reference, without findings in any order of warps; shapes it cannot take are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { describe } from '../../sim/findings.ts';
import { simulate } from '../../sim/simulate.ts';
import { dense16, type Shape } from './kernel.ts';
import { dense16Reference } from './reference.ts';

function check(shape: Shape, seed: number): void {
  const random = new Random(seed);
  const A = Float16Array.from({ length: shape.m * shape.k }, () => random.normal());
  const B = Float16Array.from({ length: shape.n * shape.k }, () => random.normal());
  const C = new Float16Array(shape.m * shape.n).fill(Number.NaN);
  const { findings } = simulate(dense16(shape), { grid: [shape.m / 128, shape.n / 128], args: { A, B, C }, seed });
  assert.deepEqual(findings.map(describe), []);
  const error = relativeError(C, dense16Reference(A, B, shape));
  assert.ok(error < 5e-4, `relative error ${error}`); // f16 output rounds by up to 2^-11
}

test('equals its reference: one tile, fewer k tiles than stages, more, several CTAs', () => {
  check({ m: 128, n: 128, k: 64 }, 1);
  check({ m: 128, n: 128, k: 448 }, 2);
  check({ m: 256, n: 128, k: 128 }, 3);
});

test('has no findings in any order of warps', () => {
  for (let seed = 0; seed < 20; seed++) {
    const { findings } = simulate(dense16({ m: 128, n: 128, k: 384 }), {
      grid: [1, 1],
      args: { A: new Float16Array(128 * 384), B: new Float16Array(128 * 384), C: new Float16Array(128 * 128) },
      seed,
    });
    assert.deepEqual(findings.map(describe), []);
  }
});

test('a shape that is no multiple of the tile is refused', () => {
  assert.throws(() => dense16({ m: 100, n: 128, k: 64 }), RangeError);
});
