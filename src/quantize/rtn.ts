// Round to nearest, and prune by magnitude: from the weights alone, no calibration. Knows no files.
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
  /** Without zero points: 8 stands for 0. Default true. */
  readonly symmetric?: boolean;
  /** What to call the matrix in an error. */
  readonly name?: string;
}

/** Largest code. */
const HIGHEST = 15;

/**
 * Fractions of the unclipped scale that `mse` tries, 1 first. In groups of 128 of a trained model none below 0.68 was ever chosen. Steps of 0.01 instead of
 * 0.02 lower the error by 0.1 % only, but KL from 0.2243 to 0.2215; fitting the scale to the codes by least squares afterwards lowers the error as much.
 */
const SHRINK_FACTORS: readonly number[] = Array.from({ length: 51 }, (_, i) => 1 - 0.01 * i);

/** Adding and subtracting this rounds a double below 2^51 to an integer, ties to even; Math.round is slower and rounds ties up. */
const ROUND = 1.5 * 2 ** 52;

/** `group` as a number of weights. Errors: `group-invalid` if it does not divide `columns`. */
export function groupSize(group: number | 'channel', columns: number, name: string): number {
  const size = group === 'channel' ? columns : group;
  if (!Number.isInteger(size) || size < 1 || columns % size !== 0) throw errors.groupInvalid(name, columns, size);
  return size;
}

/** A scale as it is stored, and the code of 0. */
interface Grid {
  readonly scale: number;
  readonly zero: number;
}

/**
 * Quantizes `weights` [rows, columns], row-major. Per group the scale s = 2 max|w| / 15, or (max - min) / 15 with zero points, both of them including 0 (times a
 * shrink factor for `mse`), is rounded to `scaleDtype` first; then code = clamp(round(w / s) + zero, 0, 15), ties to even, as in the published MARLIN recipe. A
 * group of zeros gets scale 1. Errors: `group-invalid`, `weight-not-finite`, `scale-overflow`.
 */
export function quantizeRtn(
  weights: Float32Array,
  rows: number,
  columns: number,
  options: RtnOptions,
): QuantizedMatrix {
  const { clip, scaleDtype, symmetric = true, name = 'the matrix' } = options;
  const group = groupSize(options.group, columns, name);
  const codes = new Uint8Array(rows * columns);
  const scales = new Uint16Array((rows * columns) / group);
  const zeroPoints = symmetric ? null : new Uint8Array(scales.length);
  const values = new Float64Array(group); // of one group; copied once, read by every candidate

  for (let g = 0; g < scales.length; g++) {
    const start = g * group;
    values.set(weights.subarray(start, start + group));
    const { least, most } = rangeOf(values, name, symmetric);
    let best: Grid = { scale: 1, zero: SYMMETRIC_ZERO };
    if (most > least) {
      const candidate = (factor: number): Grid => {
        const exact = (factor * (most - least)) / HIGHEST;
        const zero = symmetric ? SYMMETRIC_ZERO : clamped((-factor * least) / exact + ROUND - ROUND);
        return { scale: storedScale(exact, scaleDtype), zero };
      };
      best = clip === 'none' ? candidate(1) : leastError(values, candidate);
      if (best.scale === Infinity) throw errors.scaleOverflow(name, (most - least) / HIGHEST, scaleDtype);
    }
    scales[g] = scaleBits(name, best.scale, scaleDtype);
    if (zeroPoints !== null) zeroPoints[g] = best.zero;
    for (let i = 0; i < group; i++) codes[start + i] = codeOf(values[i]! / best.scale, best.zero);
  }
  return { rows, columns, group, packed: packCodes(codes, rows, columns), scales, scaleDtype, zeroPoints };
}

/** The range that codes are to cover; 0 is in it. Errors: `weight-not-finite`. */
function rangeOf(
  values: Float64Array,
  name: string,
  symmetric: boolean,
): { readonly least: number; readonly most: number } {
  let [least, most] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value > most) most = value;
    if (value < least) least = value;
    if (!(Math.abs(value) < Infinity)) throw errors.weightNotFinite(name, value);
  }
  if (!symmetric) return { least, most };
  const magnitude = Math.max(most, -least);
  return { least: -magnitude, most: magnitude };
}

function clamped(code: number): number {
  return code < 0 ? 0 : code > HIGHEST ? HIGHEST : code;
}

function codeOf(ratio: number, zero: number): number {
  return clamped(ratio + ROUND - ROUND + zero);
}

/** The grid of least squared error among those of `SHRINK_FACTORS`; the largest of equals. */
function leastError(values: Float64Array, candidate: (factor: number) => Grid): Grid {
  let best = candidate(1);
  let least = squaredError(values, best, Infinity);
  let previous = best.scale;
  for (const factor of SHRINK_FACTORS) {
    const grid = candidate(factor);
    if (grid.scale === previous) continue;
    previous = grid.scale;
    const error = squaredError(values, grid, least);
    if (error < least) {
      least = error;
      best = grid;
    }
  }
  return best;
}

/** Sum of squared rounding errors; stops early with a partial sum once that is `limit` or more. */
function squaredError(values: Float64Array, { scale, zero }: Grid, limit: number): number {
  const inverse = 1 / scale; // a multiplication per weight instead of a division
  let error = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const difference = (codeOf(value * inverse, zero) - zero) * scale - value;
    error += difference * difference;
    if ((i & 31) === 31 && error >= limit) return error;
  }
  return error;
}

/** Makes the two smallest of each four weights 0, of equals the first: 2:4 by magnitude, the baseline of pruning. `weights`: rows of a multiple of 4. */
export function pruneByMagnitude(weights: Float32Array): void {
  for (let at = 0; at < weights.length; at += 4) {
    const order = [0, 1, 2, 3].toSorted((a, b) => Math.abs(weights[at + a]!) - Math.abs(weights[at + b]!) || a - b);
    weights[at + order[0]!] = 0;
    weights[at + order[1]!] = 0;
  }
}
