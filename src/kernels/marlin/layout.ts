// The packed 4-bit weights: where each code, scale and zero point lies in bytes. One format for every kernel and every number of tokens. The same
// numbers serve the packer and the kernels; knows neither.
import { fragmentA } from '../../ptx/isa/fragments.ts';

/**
 * Weights of y = x W^T, W [N, K]. A strip is 16 rows (output channels) x 128 k: 1024 bytes of codes, then its scales (and zero points). Strips of the
 * same 16 rows follow each other along k, so that a warp reads one stream; row tiles follow each other. N and K are padded with codes that mean 0.
 */
export const STRIP_ROWS = 16;
export const STRIP_K = 128;
/** k of one matrix instruction: its A fragment is one word of eight codes a lane. */
export const STEP_K = 16;
export const STEPS: number = STRIP_K / STEP_K;

/** A lane reads its words as two vectors of four steps, 512 bytes a warp each. */
export const VECTOR_STEPS = 4;
export const VECTOR_BYTES = 16;
export const HALF_STRIP_BYTES: number = 32 * VECTOR_BYTES;
export const CODE_BYTES: number = (STRIP_ROWS * STRIP_K) / 2;

/** Two 16-bit values for each g = 0 .. 7: of row g and of row g + 8. */
export const PAIR_BYTES = 4;
export const ROW_PAIRS_BYTES: number = 8 * PAIR_BYTES;

/** What a matrix is packed with. */
export interface Scheme {
  /** Weights along k that share a scale: 32, 64 or 128; larger groups, and one scale a channel, are packed as 128 with scales repeated. */
  readonly group: 32 | 64 | 128;
  /** Each group has a zero point of its own; otherwise it is 8. */
  readonly zeroPoints: boolean;
}

export const groupsOf = ({ group }: Scheme): number => STRIP_K / group;

/** Bytes of scales, and of zero points if there are any, of one group of a strip. */
export const groupBytes = ({ zeroPoints }: Scheme): number => (zeroPoints ? 2 : 1) * ROW_PAIRS_BYTES;

export const stripBytes = (scheme: Scheme): number => CODE_BYTES + groupsOf(scheme) * groupBytes(scheme);

export interface MatrixSize {
  readonly n: number;
  readonly k: number;
}

export const rowTiles = ({ n }: MatrixSize): number => Math.ceil(n / STRIP_ROWS);
export const stripsAlongK = ({ k }: MatrixSize): number => Math.ceil(k / STRIP_K);
export const packedBytes = (size: MatrixSize, scheme: Scheme): number =>
  rowTiles(size) * stripsAlongK(size) * stripBytes(scheme);

/** First byte of the strip with row `row` and column `k` of the matrix. */
export function stripOffset(row: number, k: number, size: MatrixSize, scheme: Scheme): number {
  const strip = Math.floor(row / STRIP_ROWS) * stripsAlongK(size) + Math.floor(k / STRIP_K);
  return strip * stripBytes(scheme);
}

/**
 * Where in a strip the code of row 0 .. 15 and k 0 .. 127 lies: a byte offset of its word, and which nibble. The eight codes of a word are a lane's
 * A fragment: nibble r of the lower half is the even k of register r, of the upper half the odd one.
 */
export function codePlace(row: number, k: number): { readonly word: number; readonly nibble: number } {
  const step = Math.floor(k / STEP_K);
  const { register, lane, upper } = fragmentA(row, k % STEP_K);
  const half = Math.floor(step / VECTOR_STEPS);
  return {
    word: half * HALF_STRIP_BYTES + lane * VECTOR_BYTES + (step % VECTOR_STEPS) * 4,
    nibble: register + (upper ? 4 : 0),
  };
}

/** Where in a strip the 16-bit scale of row 0 .. 15 and group lies, in bytes; the zero point lies ROW_PAIRS_BYTES behind it. */
export function scalePlace(row: number, group: number, scheme: Scheme): number {
  return CODE_BYTES + group * groupBytes(scheme) + (row & 7) * PAIR_BYTES + (row >> 3) * 2;
}
