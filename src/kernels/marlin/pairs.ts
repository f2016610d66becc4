// Matrices whose rows belong together in pairs, laid so that a lane has both rows of a pair: gates and what they gate, the halves of 8-bit weights.
// Knows no kernel.
import type { CodedMatrix } from './pack.ts';

/** Rows of one matrix, and of another, that lie together in a strip. */
export const PAIR_ROWS = 8;

/**
 * Two matrices as one whose strips hold 8 rows of `upper` above the same 8 of `lower`, so that a lane has both: what an epilogue with `pairs` takes.
 * Errors: RangeError unless both have the same form, and rows a multiple of 8.
 */
export function interleavePairs(upper: CodedMatrix, lower: CodedMatrix): CodedMatrix {
  const { rows, columns, group, scaleDtype, zeroPoints } = upper;
  const same =
    lower.rows === rows &&
    lower.columns === columns &&
    lower.group === group &&
    lower.scaleDtype === scaleDtype &&
    (lower.zeroPoints === null) === (zeroPoints === null);
  if (!same) throw new RangeError('matrices of a pair differ in size, group, type of scales or zero points');
  if (rows % PAIR_ROWS !== 0) throw new RangeError(`${rows} rows of pairs are no multiple of ${PAIR_ROWS}`);
  const [scales, words] = [PAIR_ROWS * (columns / group), PAIR_ROWS * Math.ceil(columns / 8)];
  return {
    ...upper,
    rows: 2 * rows,
    packed: interleave(new Uint32Array(2 * upper.packed.length), upper.packed, lower.packed, words),
    scales: interleave(new Uint16Array(2 * upper.scales.length), upper.scales, lower.scales, scales),
    zeroPoints:
      zeroPoints === null || lower.zeroPoints === null
        ? null
        : interleave(new Uint8Array(2 * zeroPoints.length), zeroPoints, lower.zeroPoints, scales),
  };
}

/** Where element i of the first array, or (1) the second, goes when `length` of each take turns. */
const turn = (i: number, length: number, which: 0 | 1): number =>
  (2 * Math.floor(i / length) + which) * length + (i % length);

function interleave<A extends Uint8Array | Uint16Array | Uint32Array>(into: A, upper: A, lower: A, length: number): A {
  for (const [i, value] of upper.entries()) into[turn(i, length, 0)] = value;
  for (const [i, value] of lower.entries()) into[turn(i, length, 1)] = value;
  return into;
}

/** 8-bit weights by rows: weight = (code - zero point) * scale. */
export interface CodedMatrix8 extends Omit<CodedMatrix, 'packed'> {
  /** [rows, columns] */
  readonly codes: Uint8Array;
  /** [rows, columns / group]; null: 128. */
  readonly zeroPoints: Uint8Array | null;
}

const SYMMETRIC_ZERO_8 = 128;

/**
 * 8-bit weights as pairs of 4-bit ones, the upper nibbles above the lower: what an epilogue with the pairs 'nibbles' takes. So every kernel multiplies them, at the
 * speed of twice the rows. Errors: those of `interleavePairs`.
 */
export function splitNibbles({ codes, zeroPoints, ...rest }: CodedMatrix8): CodedMatrix {
  const { rows, columns, scales } = rest;
  const zeros = zeroPoints ?? new Uint8Array(scales.length).fill(SYMMETRIC_ZERO_8);
  const half = (shift: 0 | 4): CodedMatrix => {
    const packed = new Uint32Array(rows * Math.ceil(columns / 8));
    const words = packed.length / rows;
    for (const [i, code] of codes.entries()) {
      const [row, column] = [Math.floor(i / columns), i % columns];
      packed[row * words + (column >>> 3)]! |= ((code >>> shift) & 15) << (4 * (column & 7));
    }
    return { ...rest, packed, zeroPoints: zeros.map((zero) => (zero >>> shift) & 15) };
  };
  return interleavePairs(half(4), half(0));
}
