// What operations mean that the CPU and GPUs both have, in plain loops and float64: the judge of their kernels. Knows no device.

/** x * gain / sqrt(mean(x^2) + epsilon) for each row of [rows, width]. */
export function rmsNorm(x: ArrayLike<number>, gain: ArrayLike<number>, epsilon: number): Float64Array {
  const width = gain.length;
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let square = 0;
    for (let i = 0; i < width; i++) square += x[start + i]! ** 2;
    const factor = 1 / Math.sqrt(square / width + epsilon);
    for (let i = 0; i < width; i++) y[start + i] = x[start + i]! * factor * gain[i]!;
  }
  return y;
}

/** silu(gate) * up for rows of [gate, up], `width` each. */
export function siluMultiply(x: ArrayLike<number>, width: number): Float64Array {
  return Float64Array.from({ length: x.length / 2 }, (_, i) => {
    const row = Math.floor(i / width);
    const gate = x[row * 2 * width + (i % width)]!;
    return (gate / (1 + Math.exp(-gate))) * x[row * 2 * width + width + (i % width)]!;
  });
}
