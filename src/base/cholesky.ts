// Factors of symmetric positive definite matrices in float64, [n, n] by rows. Knows nothing of what they are for.

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

/**
 * The upper triangular U with A^-1 = U^T U (zeros below the diagonal). A is read in its lower triangle, and overwritten.
 *
 * With J turning the order around, J A J = M M^T, M lower triangular; then A = R R^T with R = J M J upper triangular, and U = R^-1 = J M^-1 J. One factor and
 * one triangular inverse, n^3 / 3 multiplications, where factor, inverse and factor of the inverse take twice as many.
 * Errors: NotPositive.
 */
export function inverseFactor(a: Float64Array, n: number): Float64Array {
  const m = reversed(a, n);
  factor(m, n);
  invertLower(m, n);
  a.fill(0);
  return upperOf(m, n, a);
}

/** J A J of a symmetric matrix, its lower triangle: element (i, j) is a[n-1-i][n-1-j], which is the lower triangle's [n-1-j][n-1-i]. */
function reversed(a: Float64Array, n: number): Float64Array {
  const m = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) m[i * n + j] = a[(n - 1 - j) * n + (n - 1 - i)]!;
  return m;
}

/** J M J of a lower triangular matrix, into `u`. */
function upperOf(m: Float64Array, n: number, u: Float64Array): Float64Array {
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) u[(n - 1 - i) * n + (n - 1 - j)] = m[i * n + j]!;
  return u;
}

/** A = L L^T in place, in the lower triangle (Cholesky). Errors: NotPositive, with the place in the original order. */
function factor(a: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) a[i * n + j] = (a[i * n + j]! - dot(a, i * n, j * n, j)) / a[j * n + j]!;
    const pivot = a[i * n + i]! - dot(a, i * n, i * n, i);
    if (!(pivot > 0 && pivot < Infinity)) throw new NotPositive(n - 1 - i, pivot);
    a[i * n + i] = Math.sqrt(pivot);
  }
}

/** The sum of `count` products of two rows. Four sums at a time: one would wait for each addition. */
function dot(a: Float64Array, x: number, y: number, count: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 3 < count; i += 4) {
    s0 += a[x + i]! * a[y + i]!;
    s1 += a[x + i + 1]! * a[y + i + 1]!;
    s2 += a[x + i + 2]! * a[y + i + 2]!;
    s3 += a[x + i + 3]! * a[y + i + 3]!;
  }
  for (; i < count; i++) s0 += a[x + i]! * a[y + i]!;
  return s0 + s1 + (s2 + s3);
}

/** L^-1 in place: row i is (e_i - the rows above, each times L[i][k]) / L[i][i]. */
function invertLower(l: Float64Array, n: number): void {
  const row = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    row.fill(0, 0, i);
    for (let k = 0; k < i; k++) {
      const weight = -l[i * n + k]!;
      const from = k * n;
      for (let j = 0; j <= k; j++) row[j]! += weight * l[from + j]!;
    }
    const scale = 1 / l[i * n + i]!;
    for (let j = 0; j < i; j++) l[i * n + j] = row[j]! * scale;
    l[i * n + i] = scale;
  }
}
