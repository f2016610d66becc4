// What each CPU operation means, in plain TypeScript and float64: the judge of the kernels, and the slow side of the benchmark.
import type { W4Source } from './matrix.ts';

/** y[token][row] = sum over k of (code - zero) * scale * x[token][k]; x is [tokens, columns], the result [tokens, rows]. */
export function w4Product(w: W4Source, x: ArrayLike<number>, tokens: number): Float64Array {
  const words = Math.ceil(w.columns / 8);
  const groups = Math.ceil(w.columns / w.group);
  const y = new Float64Array(tokens * w.rows);
  for (let token = 0; token < tokens; token++) {
    for (let row = 0; row < w.rows; row++) {
      let sum = 0;
      for (let k = 0; k < w.columns; k++) {
        const code = (w.packed[row * words + (k >> 3)]! >>> (4 * (k & 7))) & 15;
        const group = row * groups + Math.floor(k / w.group);
        sum += (code - (w.zeroPoints?.[group] ?? 8)) * w.scales[group]! * x[token * w.columns + k]!;
      }
      y[token * w.rows + row] = sum;
    }
  }
  return y;
}

/** y[token][row] = sum over k of w[row][k] * x[token][k]. */
export function denseProduct(
  w: ArrayLike<number>,
  rows: number,
  columns: number,
  x: ArrayLike<number>,
  tokens: number,
): Float64Array {
  const y = new Float64Array(tokens * rows);
  for (let token = 0; token < tokens; token++) {
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let k = 0; k < columns; k++) sum += w[row * columns + k]! * x[token * columns + k]!;
      y[token * rows + row] = sum;
    }
  }
  return y;
}

/** Rotary embedding of one head at a position: pairs (i, i + headDim / 2) turn by position * frequency[i]. */
export function rope(head: ArrayLike<number>, position: number, frequencies: ArrayLike<number>): Float64Array {
  const half = frequencies.length;
  return Float64Array.from({ length: 2 * half }, (_, i) => {
    const angle = position * frequencies[i % half]!;
    const [a, b] = [head[i % half]!, head[(i % half) + half]!];
    return i < half ? a * Math.cos(angle) - b * Math.sin(angle) : b * Math.cos(angle) + a * Math.sin(angle);
  });
}

/** softmax(q . k / sqrt(headDim)) . v of one query head over `count` positions; keys and values are [positions, headDim]. */
export function attend(
  query: ArrayLike<number>,
  keys: readonly ArrayLike<number>[],
  values: readonly ArrayLike<number>[],
  count: number,
): Float64Array {
  const headDim = query.length;
  const scores = Float64Array.from({ length: count }, (_, at) => {
    let sum = 0;
    for (let d = 0; d < headDim; d++) sum += query[d]! * keys[at]![d]!;
    return sum / Math.sqrt(headDim);
  });
  const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = scores.map((score) => Math.exp(score - largest));
  const total = weights.reduce((a, b) => a + b, 0);
  return Float64Array.from(
    { length: headDim },
    (_, d) => weights.reduce((sum, weight, at) => sum + weight * values[at]![d]!, 0) / total,
  );
}
