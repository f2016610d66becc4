// Factors against their definition; matrices that are not positive.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../base/random.ts';
import { inverseFactor, NotPositive } from './inverse-factor.ts';
import { Pool } from './pool.ts';

const pool = new Pool({ threads: 1, scratchBytes: 64 });

/** X^T X of random rows, plus a little of the identity. */
function positive(n: number, random: Random): Float64Array {
  const x = random.fillNormal(new Float32Array(2 * n * n));
  return Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = i === j ? 0.1 : 0;
    for (let t = 0; t < 2 * n; t++) sum += x[t * n + i]! * x[t * n + j]!;
    return sum;
  });
}

test('U^T U is the inverse, and U is upper triangular', () => {
  for (const n of [1, 2, 7, 40, 67, 96]) {
    const a = positive(n, new Random(n));
    const half = new Float64Array(n).fill(0.05);
    const less = a.map((value, at) => (at % (n + 1) === 0 ? value - 0.05 : value));
    const u = inverseFactor(pool, less, half, new Float64Array(n * n));
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        if (j < i) assert.equal(u[i * n + j], 0);
        // Row i of U times A, times column j of U^T: A^-1 = U^T U says that is the identity.
        let sum = 0;
        for (let k = 0; k < n; k++) for (let l = 0; l < n; l++) sum += u[i * n + k]! * a[k * n + l]! * u[j * n + l]!;
        assert.ok(Math.abs(sum - (i === j ? 1 : 0)) < 1e-9, `${n}: (${i}, ${j}) is ${sum}`);
      }
    }
  }
});

test('a matrix that is not positive is refused with its pivot', () => {
  const refused = (matrix: Float64Array): Float64Array => {
    const n = Math.sqrt(matrix.length);
    return inverseFactor(pool, matrix, new Float64Array(n), new Float64Array(n * n));
  };
  const a = positive(5, new Random(1));
  a[2 * 5 + 2] = -1;
  assert.throws(
    () => refused(a),
    (error) => error instanceof NotPositive && error.place === 2 && error.pivot < 0,
  );
  assert.throws(() => refused(new Float64Array(9).fill(Number.NaN)), NotPositive);
  assert.throws(() => refused(new Float64Array(9).fill(1)), NotPositive);
});
