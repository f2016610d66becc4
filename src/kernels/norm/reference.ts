// What RMS norm means, in plain loops and float64.

/** x * gain / sqrt(mean(x^2) + epsilon) for each row of x, [rows, gain.length]. */
export function rmsNormReference(x: ArrayLike<number>, gain: ArrayLike<number>, epsilon: number): Float64Array {
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
