// A 4-bit weight matrix in memory, the form every checkpoint reader maps into and every kernel layout starts from. Knows no file format.
import { bf16ToNumber, f16ToNumber } from '../base/f16.ts';

/** Weights of a Linear y = x Wᵀ: `rows` output channels (N), `columns` input channels (K); weight = (code - zero point) * scale. */
export interface QuantizedMatrix {
  readonly rows: number;
  readonly columns: number;
  /** Weights along K sharing a scale; = columns for one scale per channel. Divides columns. */
  readonly group: number;
  /** [rows, ceil(columns / 8)]: nibble i of a word (bits 4i..4i+3) is the code 0..15 of column 8c + i; nibbles past the last column mean nothing. */
  readonly packed: Uint32Array;
  /** [rows, columns / group], bit patterns of `scaleDtype`. */
  readonly scales: Uint16Array;
  readonly scaleDtype: ScaleDtype;
  /** [rows, columns / group], 0..16 (only GPTQ v1 files can have a 16); null: symmetric, the zero point is 8. */
  readonly zeroPoints: Uint8Array | null;
  /** [columns]: which group a column belongs to, `group` columns each, where it is not column / group (activation order). */
  readonly groupOf?: Uint32Array;
}

export type ScaleDtype = 'F16' | 'BF16';

/** The zero point of a symmetric matrix: codes 0..15 mean -8..7. */
export const SYMMETRIC_ZERO = 8;

/** Packs codes [rows, columns] (0..15, one a byte) into words [rows, ceil(columns / 8)], lowest nibble first; the end of a row is filled with 0. */
export function packCodes(codes: Uint8Array, rows: number, columns: number): Uint32Array {
  const words = Math.ceil(columns / 8);
  const packed = new Uint32Array(rows * words);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      packed[row * words + (column >>> 3)]! |= codes[row * columns + column]! << (4 * (column & 7));
    }
  }
  return packed;
}

/** The inverse of `packCodes`: codes [rows, columns], one a byte. */
export function unpackCodes(packed: Uint32Array, rows: number, columns: number): Uint8Array {
  const words = Math.ceil(columns / 8);
  const codes = new Uint8Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      codes[row * columns + column] = (packed[row * words + (column >>> 3)]! >>> (4 * (column & 7))) & 15;
    }
  }
  return codes;
}

/** The weights [rows, columns] that the codes stand for, in f32; exact, as a 4-bit integer times a 16-bit float fits. */
export function dequantize(matrix: QuantizedMatrix): Float32Array {
  const { rows, columns, group, scales, zeroPoints, groupOf } = matrix;
  const toNumber = matrix.scaleDtype === 'F16' ? f16ToNumber : bf16ToNumber;
  const codes = unpackCodes(matrix.packed, rows, columns);
  const weights = new Float32Array(codes.length);
  if (groupOf !== undefined) {
    for (let i = 0; i < codes.length; i++) {
      const g = Math.floor(i / columns) * (columns / group) + groupOf[i % columns]!;
      weights[i] = (codes[i]! - (zeroPoints?.[g] ?? SYMMETRIC_ZERO)) * toNumber(scales[g]!);
    }
    return weights;
  }
  for (let g = 0; g < scales.length; g++) {
    const scale = toNumber(scales[g]!);
    const zero = zeroPoints === null ? SYMMETRIC_ZERO : zeroPoints[g]!;
    for (let i = g * group; i < (g + 1) * group; i++) weights[i] = (codes[i]! - zero) * scale;
  }
  return weights;
}

/**
 * The rows of several matrices as one, then `empty` rows of weights that are 0; null where they differ in columns, groups, zero points or scales' type,
 * or where groups are in activation order.
 */
export function stack(matrices: readonly QuantizedMatrix[], empty = 0): QuantizedMatrix | null {
  const [first] = matrices;
  if (first === undefined) return null;
  const { columns, group, scaleDtype, zeroPoints } = first;
  const alike = matrices.every(
    (other) =>
      other.groupOf === undefined &&
      other.columns === columns &&
      other.group === group &&
      other.scaleDtype === scaleDtype &&
      (other.zeroPoints === null) === (zeroPoints === null),
  );
  if (!alike) return null;
  if (matrices.length === 1 && empty === 0) return first;
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, empty);
  const packed = new Uint32Array(rows * Math.ceil(columns / 8));
  const scales = new Uint16Array(rows * (columns / group));
  const zeros = zeroPoints === null ? null : new Uint8Array(scales.length);
  let row = 0;
  for (const matrix of matrices) {
    packed.set(matrix.packed, row * Math.ceil(columns / 8));
    scales.set(matrix.scales, row * (columns / group));
    if (matrix.zeroPoints !== null) zeros?.set(matrix.zeroPoints, row * (columns / group));
    row += matrix.rows;
  }
  return { rows, columns, group, packed, scales, scaleDtype, zeroPoints: zeros };
}
