// Error metrics and order statistics over plain number arrays.

/** Norm-wise relative error ||actual - expected|| / ||expected||. NaN anywhere gives NaN; a zero reference gives 0 or Infinity. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    const delta = actual[i]! - expected[i]!;
    difference += delta * delta;
    norm += expected[i]! * expected[i]!;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

/** Largest |actual - expected|. NaN anywhere gives NaN. */
export function maxAbsoluteError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const delta = Math.abs(actual[i]! - expected[i]!);
    if (Number.isNaN(delta)) return NaN;
    if (delta > worst) worst = delta;
  }
  return worst;
}

/** Index of the largest value; the first one on ties. NaN never wins; -1 when there is nothing else. */
export function argmax(values: ArrayLike<number>): number {
  let best = -1;
  for (let i = 0; i < values.length; i++) {
    if (values[i]! > values[best]! || (best === -1 && !Number.isNaN(values[i]))) best = i;
  }
  return best;
}

/** The q-quantile (0..1) by linear interpolation between order statistics; NaN counts as largest, an empty array gives NaN. */
export function quantile(values: ArrayLike<number>, q: number): number {
  if (values.length === 0) return NaN;
  const sorted = Float64Array.from(values).toSorted();
  const position = (sorted.length - 1) * q;
  const low = sorted[Math.floor(position)]!;
  const high = sorted[Math.ceil(position)]!;
  return low === high ? low : low + (high - low) * (position - Math.floor(position)); // Infinity - Infinity would be NaN
}

/** The middle value. */
export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}
