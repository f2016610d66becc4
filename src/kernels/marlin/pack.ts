// 4-bit matrices on the host: codes and scales by rows to strips, and back. Knows no file format and no kernel.
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../../base/f16.ts';
import { errors } from '../../base/errors.ts';
import {
  codePlace,
  type MatrixSize,
  packedBytes,
  ROW_PAIRS_BYTES,
  rowTiles,
  scalePlace,
  type Scheme,
  STRIP_K,
  STRIP_ROWS,
  stripOffset,
} from './layout.ts';

/** Weights by rows, as checkpoints have them: weight = (code - zero point) * scale. */
export interface CodedMatrix {
  readonly rows: number;
  readonly columns: number;
  /** Weights along k that share a scale; divides columns. */
  readonly group: number;
  /** [rows, ceil(columns / 8)]: nibble i of a word is the code of column 8c + i. */
  readonly packed: Uint32Array;
  /** [rows, columns / group], bit patterns of `scaleDtype`. */
  readonly scales: Uint16Array;
  readonly scaleDtype: 'F16' | 'BF16';
  /** [rows, columns / group], 0 .. 15; null: 8. */
  readonly zeroPoints: Uint8Array | null;
}

/** The 16-bit floats that a kernel multiplies. */
export type HalfType = 'f16' | 'bf16';

/** A matrix as kernels take it. */
export interface PackedMatrix extends MatrixSize {
  readonly scheme: Scheme;
  readonly type: HalfType;
  /** Strips (layout.ts). Scales are stored as `scale * 2^t` with a t for each row that brings the row's largest to [2^14, 2^15). */
  readonly strips: Uint8Array;
  /** [rows padded to 16]: 2^-t. */
  readonly factors: Float32Array;
}

/** The exponent that the largest scale of a row is brought to: products of codes that are subnormal f16 (codec.ts) then stay in range. */
const TOP_EXPONENT = 14;
/** The code that means 0 without zero points. */
export const SYMMETRIC_ZERO = 8;

/** How a group of any size is packed. Errors: 'group-unpackable' when it neither divides 128 nor is a multiple of it, or is below 32. */
export function schemeOf(
  name: string,
  { group, columns, asymmetric }: { readonly group: number; readonly columns: number; readonly asymmetric: boolean },
): Scheme {
  const packed = packedGroup(group, columns);
  if (packed === null) throw errors.groupUnpackable(name, group);
  return { group: packed, zeroPoints: asymmetric };
}

/** The group that a matrix's own is packed as; null where it cannot be. */
export function packedGroup(group: number, columns: number): Scheme['group'] | null {
  for (const size of [32, 64, 128] as const) if (group === size) return size;
  // One scale a channel, or several strips to a group.
  return group === columns || group % STRIP_K === 0 ? STRIP_K : null;
}

/**
 * Packs a matrix; `order` permutes its columns (column j of the packed matrix is column order[j] of the given one), as activation order needs it:
 * activations must be permuted alike. Errors: 'group-unpackable', 'scale-not-finite', both naming the matrix; RangeError for arrays of other lengths.
 */
export function pack(
  name: string,
  matrix: CodedMatrix,
  type: HalfType,
  order: Uint32Array | null = null,
): PackedMatrix {
  const { rows, columns, group, packed } = matrix;
  const groups = columns / group;
  const words = Math.ceil(columns / 8);
  if (!Number.isInteger(groups) || packed.length !== rows * words || matrix.scales.length !== rows * groups)
    throw new RangeError(`${name}: ${rows} x ${columns} in groups of ${group}, and arrays of other lengths`);
  const scheme = schemeOf(name, { group, columns, asymmetric: matrix.zeroPoints !== null });
  const size = { n: rows, k: columns };
  const strips = new Uint8Array(packedBytes(size, scheme));
  const view = new DataView(strips.buffer);
  const factors = new Float32Array(rowTiles(size) * STRIP_ROWS).fill(1);
  const scales = scaleTable(name, matrix, type);
  factors.set(scales.factors);
  packCodes(new Uint32Array(strips.buffer), size, scheme, (row) => {
    const own = packed.subarray(row * words, (row + 1) * words);
    return order === null ? own : permuted(own, order);
  });
  for (let row = 0; row < rows; row++) {
    const inStrip = row % STRIP_ROWS;
    // A group that spans several strips is repeated in each.
    for (let k = 0; k < columns; k += scheme.group) {
      const index = row * groups + Math.floor((order === null ? k : order[k]!) / group);
      const at = stripOffset(row, k, size, scheme) + scalePlace(inStrip, (k % STRIP_K) / scheme.group, scheme);
      view.setUint16(at, scales.stored[index]!, true);
      if (matrix.zeroPoints !== null)
        view.setUint16(at + ROW_PAIRS_BYTES, toBits(type, matrix.zeroPoints[index]!), true);
    }
  }
  return { ...size, scheme, type, strips, factors };
}

/** Words of a row of a strip before it is packed; and of all its rows. */
const ROW_WORDS = STRIP_K / 8;
const STRIP_WORDS = STRIP_ROWS * ROW_WORDS;
/** Eight codes that mean 0 without zero points. */
const EIGHT_ZEROS = 0x8888_8888;

/** Where nibble i of word w of a strip comes from, at 8 w + i: 8 times the word of its 16 rows, and the nibble there. */
const sources: Uint16Array = (() => {
  const result = new Uint16Array(8 * STRIP_WORDS);
  for (let row = 0; row < STRIP_ROWS; row++) {
    for (let k = 0; k < STRIP_K; k++) {
      const { word, nibble } = codePlace(row, k);
      result[2 * word + nibble] = row * STRIP_K + k;
    }
  }
  return result;
})();

/** The codes of all strips; `wordsOf` gives those of a row, eight a word. Gathered word by word: 4 ns a code, where writing nibble by nibble took 13. */
function packCodes(strips: Uint32Array, size: MatrixSize, scheme: Scheme, wordsOf: (row: number) => Uint32Array): void {
  const rows = new Uint32Array(STRIP_WORDS);
  for (let top = 0; top < size.n; top += STRIP_ROWS) {
    const given = Array.from({ length: Math.min(STRIP_ROWS, size.n - top) }, (_, i) => wordsOf(top + i));
    for (let k = 0; k < size.k; k += STRIP_K) {
      rows.fill(EIGHT_ZEROS);
      for (const [i, words] of given.entries()) rows.set(words.subarray(k / 8, (k + STRIP_K) / 8), i * ROW_WORDS);
      const strip = stripOffset(top, k, size, scheme) / 4;
      for (let word = 0; word < STRIP_WORDS; word++) strips[strip + word] = gathered(rows, 8 * word);
    }
  }
}

/** The word of a strip whose nibbles come from `sources` at `first` on. */
function gathered(rows: Uint32Array, first: number): number {
  let word = 0;
  for (let i = 0; i < 8; i++) {
    const source = sources[first + i]!;
    word |= ((rows[source >>> 3]! >>> (4 * (source & 7))) & 15) << (4 * i);
  }
  return word;
}

/** Code j of a row becomes code order[j] of it. */
function permuted(codes: Uint32Array, order: Uint32Array): Uint32Array {
  const result = new Uint32Array(codes.length);
  for (const [k, from] of order.entries())
    result[k >>> 3]! |= ((codes[from >>> 3]! >>> (4 * (from & 7))) & 15) << (4 * (k & 7));
  return result;
}

const toBits = (type: HalfType, value: number): number => (type === 'f16' ? numberToF16(value) : numberToBf16(value));
const toNumber = (type: HalfType, bits: number): number => (type === 'f16' ? f16ToNumber(bits) : bf16ToNumber(bits));

interface ScaleTable {
  /** [rows, groups] bit patterns of the kernel's type. */
  readonly stored: Uint16Array;
  readonly factors: Float32Array;
}

function scaleTable(name: string, matrix: CodedMatrix, type: HalfType): ScaleTable {
  const { rows, columns, group, scales, scaleDtype } = matrix;
  const groups = columns / group;
  const stored = new Uint16Array(scales.length);
  const factors = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const values = Array.from({ length: groups }, (_, g) =>
      toNumber(scaleDtype === 'F16' ? 'f16' : 'bf16', scales[row * groups + g]!),
    );
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw errors.scaleNotFinite(name, row, bad, values[bad]!);
    const largest = Math.max(...values.map(Math.abs));
    const shift = largest === 0 ? 0 : TOP_EXPONENT - Math.floor(Math.log2(largest));
    for (const [g, value] of values.entries()) stored[row * groups + g] = toBits(type, value * 2 ** shift);
    factors[row] = 2 ** -shift;
  }
  return { stored, factors };
}

/** The weights [n, k] that a packed matrix stands for, as numbers; what the padding stands for is left out. */
export function unpack({ n, k, scheme, type, strips, factors }: PackedMatrix): Float64Array {
  const view = new DataView(strips.buffer, strips.byteOffset, strips.byteLength);
  const weights = new Float64Array(n * k);
  for (let row = 0; row < n; row++) {
    for (let column = 0; column < k; column++) {
      const strip = stripOffset(row, column, { n, k }, scheme);
      const { word, nibble } = codePlace(row % STRIP_ROWS, column % STRIP_K);
      const code = (view.getUint32(strip + word, true) >>> (4 * nibble)) & 15;
      const group = Math.floor((column % STRIP_K) / scheme.group);
      const place = strip + scalePlace(row % STRIP_ROWS, group, scheme);
      const scale = toNumber(type, view.getUint16(place, true)) * factors[row]!;
      const zero = scheme.zeroPoints ? toNumber(type, view.getUint16(place + ROW_PAIRS_BYTES, true)) : SYMMETRIC_ZERO;
      weights[row * k + column] = (code - zero) * scale;
    }
  }
  return weights;
}
