// What the 4-bit product means, in plain loops and float64.
import { type PackedMatrix, unpack } from './pack.ts';

/** y[token][channel] = sum over k of x[token][k] * W[channel][k], not rounded; x [tokens, k]. */
export function marlinReference(x: ArrayLike<number>, tokens: number, matrix: PackedMatrix): Float64Array {
  const { n, k } = matrix;
  const weights = unpack(matrix);
  const y = new Float64Array(tokens * n);
  for (let token = 0; token < tokens; token++) {
    for (let row = 0; row < n; row++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += x[token * k + i]! * weights[row * k + i]!;
      y[token * n + row] = sum;
    }
  }
  return y;
}
