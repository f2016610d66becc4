// What the gated activation means, in plain loops and float64.

/** silu(gate) * up for rows of x: `width` gates, then as many ups. */
export function siluMultiplyReference(x: ArrayLike<number>, width: number): Float64Array {
  const y = new Float64Array(x.length / 2);
  for (let i = 0; i < y.length; i++) {
    const start = 2 * width * Math.floor(i / width) + (i % width);
    const gate = x[start]!;
    y[i] = (gate / (1 + Math.exp(-gate))) * x[start + width]!;
  }
  return y;
}
