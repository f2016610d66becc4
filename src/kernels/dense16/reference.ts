// What the dense 16-bit product means, in plain loops and float64.
import type { Shape } from './kernel.ts';

/** C[i][j] = sum over p of A[i][p] * B[j][p], not rounded. */
export function dense16Reference(A: ArrayLike<number>, B: ArrayLike<number>, { m, n, k }: Shape): Float64Array {
  const C = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += A[i * k + p]! * B[j * k + p]!;
      C[i * n + j] = sum;
    }
  }
  return C;
}
