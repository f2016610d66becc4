// The 2:4 sparse product on the simulator: equal to its reference on random shapes and patterns, without findings in any order of warps; shapes
// it cannot take are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { sharedLimit } from '../../ptx/verify.ts';
import { describe } from '../../sim/findings.ts';
import { simulate } from '../../sim/simulate.ts';
import { architectures, architecturesOf } from '../assemble.ts';
import { bTile, keptTile, type Options, type Shape, sparse16 } from './kernel.ts';
import { pack, randomSparse } from './pack.ts';
import { sparse16Reference } from './reference.ts';
import { below } from './ring.ts';

/** Simulates one product of the matrix A, and returns its distance from the reference. */
function errorOf(A: Float16Array, shape: Shape, options: Options, seed: number): number {
  const { m, n, k } = shape;
  const random = new Random(seed);
  const B = Float16Array.from({ length: n * k }, () => random.normal());
  const C = new Float16Array(m * n).fill(Number.NaN);
  const args = { ...pack(A, shape), B, C };
  const { findings } = simulate(sparse16(shape, options), { grid: [m / 128, n / 128], args, seed });
  assert.deepEqual(findings.map(describe), []);
  return relativeError(C, sparse16Reference(A, B, shape));
}

test('equals its reference on random shapes and patterns', () => {
  const times = (unit: number, max: number): fc.Arbitrary<number> =>
    fc.integer({ min: 1, max }).map((count) => unit * count);
  const shape = fc.record({ m: times(128, 2), n: times(128, 2), k: times(64, 7) });
  fc.assert(
    fc.property(shape, fc.constantFrom<3 | 4>(3, 4), fc.nat(), (shape, stages, seed) => {
      const error = errorOf(randomSparse(new Random(seed), shape), shape, { stages }, seed);
      assert.ok(error < 5e-4, `relative error ${error}`); // f16 output rounds by up to 2^-11
    }),
    { numRuns: 8 },
  );
});

test('every place of a kept value counts: whole numbers come out exactly', () => {
  const shape = { m: 128, n: 128, k: 64 };
  const A = randomSparse(new Random(2), shape).map((value) => Math.round(3 * value));
  const B = Float16Array.from({ length: 128 * 64 }, (_, i) => ((i * 5) % 13) - 6);
  const C = new Float16Array(128 * 128).fill(Number.NaN);
  simulate(sparse16(shape), { grid: [1, 1], args: { ...pack(A, shape), B, C } });
  assert.deepEqual([...C], [...sparse16Reference(A, B, shape)]);
});

test('has no findings in any order of warps', () => {
  const shape = { m: 128, n: 128, k: 384 };
  for (const stages of [3, 4] as const) {
    const program = sparse16(shape, { stages });
    for (let seed = 0; seed < 20; seed++) {
      const { findings } = simulate(program, {
        grid: [1, 1],
        args: {
          ...pack(new Float16Array(128 * 384), shape),
          B: new Float16Array(128 * 384),
          C: new Float16Array(128 * 128),
        },
        seed,
      });
      assert.deepEqual(findings.map(describe), []);
    }
  }
});

test('what lies whole patterns of 8 rows below an element is at the same distance everywhere in a tile', () => {
  for (const tile of [keptTile, bTile]) {
    for (let row = 8; row < tile.rows; row++) {
      for (let column = 0; column < tile.columns; column++)
        assert.equal(tile.index(row, column), tile.index(row % 8, column) + below(tile, row - (row % 8)));
    }
  }
});

test('three stages fit every chip, four those with large shared memory', () => {
  const shape = { m: 128, n: 128, k: 64 };
  assert.deepEqual(architecturesOf(sparse16(shape, { stages: 3 })), architectures);
  assert.deepEqual(architecturesOf(sparse16(shape)), ['sm_80', 'sm_90a']);
  // Two CTAs a multiprocessor of sm_90, each with the 1 KB that the system takes.
  assert.ok(2 * (sparse16(shape).sharedBytes + 1024) <= sharedLimit.sm_90 + 1024);
});

test('a shape that is no multiple of the tile is refused', () => {
  for (const shape of [
    { m: 64, n: 128, k: 64 },
    { m: 128, n: 100, k: 64 },
    { m: 128, n: 128, k: 96 },
  ])
    assert.throws(() => sparse16(shape), RangeError);
});
