// The packed form of a 2:4 sparse matrix: where its kept values lie, and where the words that say which were kept. For host and kernel alike.
// Knows neither how a matrix is packed nor how it is multiplied.
import { metadataPlace } from '../../ptx/isa/fragments.ts';
import { blocked, type Layout, rows } from '../../ptx/layout.ts';

/** Of every GROUP consecutive values of a row KEPT are kept. */
export const GROUP = 4;
export const KEPT = 2;
/** A block of 64 rows and 64 k is the unit of metadata: a warp loads its words at once, WORDS a lane. */
export const BLOCK = 64;
export const WORDS = 4;
export const LANES = 32;
const FRAGMENT = 16;

/** [m, k / 2]: the kept values of a row, in order of k. */
export function keptLayout(m: number, k: number): Layout<'f16'> {
  return rows('f16', [m, (k * KEPT) / GROUP]);
}

/**
 * [m / 2, k / 16]: 32 lanes by 4 words for each block of 64 rows and 64 k. A block is 512 bytes in one piece, 16 of them a lane. Errors: RangeError
 * unless m and k are multiples of 64.
 */
export function metadataLayout(m: number, k: number): Layout<'b32'> {
  return blocked('b32', [(m / BLOCK) * LANES, (k / BLOCK) * WORDS], [LANES, WORDS]);
}

/** Where the place of a kept value is written. */
export interface PlaceBits {
  /** Whose word it is. */
  readonly lane: number;
  /** Which of the lane's words: fragment `word` has rows 16 word .. 16 word + 15 of the block. */
  readonly word: number;
  /** The lower of its two bits. */
  readonly bit: number;
}

/**
 * Of a block: row 0 .. 63, `kept` 0 .. 31 along it. Both steps of 32 k share a fragment's word, the first has it in lanes 0 and 1 of each four
 * (selector 0), the second in lanes 2 and 3 (selector 1), so that every lane has one.
 */
export function placeBits(row: number, kept: number): PlaceBits {
  const { lane, bit } = metadataPlace(row % FRAGMENT, kept % FRAGMENT);
  const selector = Math.floor(kept / FRAGMENT);
  return { lane: lane + 2 * selector, word: Math.floor(row / FRAGMENT), bit };
}
