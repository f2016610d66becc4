// The factor of the inverse of a symmetric positive definite matrix in float64, on the pool. Knows nothing of what it is for.
import { type Address, offset } from './heap.ts';
import type { Pool } from './pool.ts';

/** A pivot that is not positive: its place and what it was. */
export class NotPositive extends Error {
  readonly place: number;
  readonly pivot: number;

  constructor(place: number, pivot: number) {
    super(`pivot ${place} is ${pivot}`);
    this.place = place;
    this.pivot = pivot;
  }
}

/** Columns that are finished together; what lies before them is subtracted at once (assembly/f64.ts). */
const BLOCK = 32;
const ROW_GRAIN = 16;
const BYTES = 8;

/**
 * The upper triangular U with (A + diag(added))^-1 = U^T U, [n, n], into the zeroed `u`; A is read in its upper triangle.
 *
 * With J turning the order around, J A J = M M^T, M lower triangular (Cholesky); then A = R R^T with R = J M J upper triangular, and U = R^-1 = J M^-1 J. One factor
 * and one triangular inverse, n^3 / 3 multiplications, where factor, inverse and factor of the inverse take twice as many.
 * Errors: NotPositive.
 */
export function inverseFactor<U extends Float32Array | Float64Array>(
  pool: Pool,
  a: Float32Array | Float64Array,
  added: Float64Array,
  u: U,
): U {
  const { heap } = pool;
  const n = added.length;
  return heap.scope(() => {
    const [m, x] = [heap.allocate(BYTES * n * n), heap.allocate(BYTES * n * n)];
    const reversed = heap.doubles(m, n * n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) reversed[i * n + j] = a[(n - 1 - i) * n + (n - 1 - j)]!;
      reversed[i * n + i]! += added[n - 1 - i]!;
    }
    factor(pool, m, n);
    invert(pool, m, x, n);
    const inverse = heap.doubles(x, n * n);
    for (let i = 0; i < n; i++) for (let j = i; j < n; j++) u[i * n + j] = inverse[(n - 1 - j) * n + (n - 1 - i)]!;
    return u;
  });
}

const at = (start: Address, n: number, row: number, column: number): Address =>
  offset(start, BYTES * (row * n + column));

/** A = L L^T in place, in the lower triangle. */
function factor(pool: Pool, matrix: Address, n: number): void {
  const l = pool.heap.doubles(matrix, n * n);
  for (let start = 0; start < n; start += BLOCK) {
    const end = Math.min(start + BLOCK, n);
    const rows = at(matrix, n, start, 0);
    const block = at(matrix, n, start, start);
    const pitch = BYTES * n;
    pool.run('subtractDots', [rows, pitch, rows, pitch, 0, start, 0, block, pitch, end - start], n - start, ROW_GRAIN);
    for (let i = start; i < n; i++) {
      const row = i * n;
      for (let j = start; j < Math.min(i, end); j++) {
        let sum = l[row + j]!;
        for (let k = start; k < j; k++) sum -= l[row + k]! * l[j * n + k]!;
        l[row + j] = sum / l[j * n + j]!;
      }
      if (i >= end) continue;
      let pivot = l[row + i]!;
      for (let k = start; k < i; k++) pivot -= l[row + k]! ** 2;
      if (!(pivot > 0 && pivot < Infinity)) throw new NotPositive(n - 1 - i, pivot);
      l[row + i] = Math.sqrt(pivot);
    }
  }
}

/** The transpose of L^-1 into zeroed `inverse`: X[j][i] = -(L[i][j .. i) . X[j][j .. i)) / L[i][i], rows of both being read as they lie. */
function invert(pool: Pool, matrix: Address, inverse: Address, n: number): void {
  const [l, x] = [matrix, inverse].map((start) => pool.heap.doubles(start, n * n));
  for (let start = 0; start < n; start += BLOCK) {
    const end = Math.min(start + BLOCK, n);
    const pitch = BYTES * n;
    pool.run(
      'subtractDots',
      [inverse, pitch, at(matrix, n, start, 0), pitch, 0, start, 1, at(inverse, n, 0, start), pitch, end - start],
      start,
      ROW_GRAIN,
    );
    for (let j = 0; j < end; j++) {
      if (j >= start) x![j * n + j] = 1 / l![j * n + j]!;
      for (let i = Math.max(start, j + 1); i < end; i++) {
        let sum = x![j * n + i]!;
        for (let k = Math.max(start, j); k < i; k++) sum -= l![i * n + k]! * x![j * n + k]!;
        x![j * n + i] = sum / l![i * n + i]!;
      }
    }
  }
}
