// Round to nearest: symmetric 4-bit codes from the weights alone, no calibration. Knows no files.
import { errors } from '../base/errors.ts';
import { packCodes, SYMMETRIC_ZERO, type QuantizedMatrix, type ScaleDtype } from '../formats/quantized.ts';
import { scaleBits, storedScale } from './scale.ts';

/** How a group's scale is chosen: from its largest weight, or by searching smaller ones (which clip) for the least squared error. */
export type Clip = 'none' | 'mse';

export interface RtnOptions {
  /** Weights along K sharing a scale. */
  readonly group: number | 'channel';
  readonly clip: Clip;
  readonly scaleDtype: ScaleDtype;
  /** What to call the matrix in an error. */
  readonly name?: string;
}

/** Largest signed code: codes 0..15 mean -8..7. */
const LOWEST = -8;
const HIGHEST = 7;

/**
 * Fractions of the unclipped scale that `mse` tries, 1 first. In groups of 128 of a trained model none below 0.68 was ever chosen; steps of 0.01
 * instead of 0.02 lower the error by 0.1 %, and so does fitting the scale to the codes by least squares afterwards.
 */
const SHRINK_FACTORS: readonly number[] = Array.from({ length: 31 }, (_, i) => 1 - 0.02 * i);

/** Adding and subtracting this rounds a double below 2^51 to an integer, ties to even; Math.round is slower and rounds ties up. */
const ROUND = 1.5 * 2 ** 52;

/** `group` as a number of weights. Errors: `group-invalid` if it does not divide `columns`. */
export function groupSize(group: number | 'channel', columns: number, name: string): number {
  const size = group === 'channel' ? columns : group;
  if (!Number.isInteger(size) || size < 1 || columns % size !== 0) throw errors.groupInvalid(name, columns, size);
  return size;
}

/**
 * Quantizes `weights` [rows, columns], row-major. Per group the scale s = 2 max|w| / 15 (times a shrink factor for `mse`) is rounded to `scaleDtype`
 * first; then code = clamp(round(w / s) + 8, 0, 15), ties to even, as in the published MARLIN recipe. A group of zeros gets scale 1.
 * Errors: `group-invalid`, `weight-not-finite`, `scale-overflow`.
 */
export function quantizeRtn(
  weights: Float32Array,
  rows: number,
  columns: number,
  options: RtnOptions,
): QuantizedMatrix {
  const { clip, scaleDtype, name = 'the matrix' } = options;
  const group = groupSize(options.group, columns, name);
  const codes = new Uint8Array(rows * columns);
  const scales = new Uint16Array((rows * columns) / group);
  const values = new Float64Array(group); // of one group; copied once, read by every candidate

  for (let g = 0; g < scales.length; g++) {
    const start = g * group;
    values.set(weights.subarray(start, start + group));
    const full = (2 * largest(values, name)) / 15;
    let best = 1;
    if (full > 0) {
      const candidate = (factor: number): number => storedScale(full * factor, scaleDtype);
      best = clip === 'none' ? candidate(1) : leastError(values, candidate);
      if (best === Infinity) throw errors.scaleOverflow(name, full, scaleDtype);
    }
    scales[g] = scaleBits(name, best, scaleDtype);
    for (let i = 0; i < group; i++) codes[start + i] = nearestCode(values[i]! / best) + SYMMETRIC_ZERO;
  }
  return { rows, columns, group, packed: packCodes(codes, rows, columns), scales, scaleDtype, zeroPoints: null };
}

/** Largest magnitude. Errors: `weight-not-finite`. */
function largest(values: Float64Array, name: string): number {
  let max = 0;
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]!);
    if (magnitude > max) max = magnitude;
    if (!(magnitude < Infinity)) throw errors.weightNotFinite(name, values[i]!);
  }
  return max;
}

function nearestCode(ratio: number): number {
  const rounded = ratio + ROUND - ROUND;
  return rounded < LOWEST ? LOWEST : rounded > HIGHEST ? HIGHEST : rounded;
}

/** The scale of least squared error among those of `SHRINK_FACTORS`; the largest of equals. */
function leastError(values: Float64Array, candidate: (factor: number) => number): number {
  let best = candidate(1);
  let least = squaredError(values, best, Infinity);
  let previous = best;
  for (const factor of SHRINK_FACTORS) {
    const scale = candidate(factor);
    if (scale === previous) continue;
    previous = scale;
    const error = squaredError(values, scale, least);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

/** Sum of squared rounding errors; stops early with a partial sum once that is `limit` or more. */
function squaredError(values: Float64Array, scale: number, limit: number): number {
  const inverse = 1 / scale; // a multiplication per weight instead of a division
  let error = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const difference = nearestCode(value * inverse) * scale - value;
    error += difference * difference;
    if ((i & 31) === 31 && error >= limit) return error;
  }
  return error;
}
