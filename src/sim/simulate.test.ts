// The simulator: right results without findings. Planted mistakes are in findings/.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { describe as text } from './findings.ts';
import { right, SEEDS } from './findings/planted.fixture.ts';
import { pipelinedSum, tileProduct, vectorAdd, warpSum } from './programs.fixture.ts';
import { simulate } from './simulate.ts';

describe('right programs', () => {
  test('vector add, with a ragged end', () => {
    const n = 1000;
    const [a, b, c] = [
      Float32Array.from({ length: n }, (_, i) => i),
      Float32Array.from({ length: n }, (_, i) => 0.5 * i),
      new Float32Array(n).fill(Number.NaN),
    ];
    assert.deepEqual(simulate(vectorAdd, { grid: [4], args: { a, b, c, n } }).findings, []);
    assert.deepEqual(
      c,
      a.map((x, i) => x + b[i]!),
    );
  });

  test('a sum over a loop and shuffles, with both sides of a branch', () => {
    const x = Float32Array.from({ length: 320 }, (_, i) => i);
    const y = new Float32Array(2);
    assert.deepEqual(simulate(warpSum, { grid: [1], args: { x, y, n: 320 } }).findings, []);
    assert.deepEqual([...y], [51040, 102080]);
  });

  test('a tile product on tensor cores, in any order of warps', () => {
    const random = new Random(1);
    const [A, B] = [
      Float16Array.from({ length: 16 * 64 }, () => random.normal()),
      Float16Array.from({ length: 8 * 64 }, () => random.normal()),
    ];
    const expected = Float64Array.from({ length: 128 }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < 64; k++) sum += A[(i >> 3) * 64 + k]! * B[(i & 7) * 64 + k]!;
      return sum;
    });
    for (const seed of SEEDS) {
      const C = new Float32Array(128).fill(Number.NaN);
      const { findings } = simulate(tileProduct(), { grid: [1], args: { A, B, C }, seed });
      assert.deepEqual(findings.map(text), []);
      assert.ok(relativeError(C, expected) < 1e-6);
    }
  });
});

test('asynchronous copies in two stages are right in any order of warps', () => {
  const x = Float32Array.from({ length: 5 * 128 }, (_, i) => i);
  const y = new Float32Array(128);
  right(
    (seed) => simulate(pipelinedSum(5), { grid: [1], args: { x, y: y.fill(Number.NaN) }, seed }),
    () =>
      assert.deepEqual(
        [...y],
        Array.from(y, (_, i) => 5 * i + 1280),
      ),
  );
});
