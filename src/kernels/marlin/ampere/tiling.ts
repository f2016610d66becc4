// The tile of the Ampere kernel and what follows from it in numbers: who takes what, how the work is cut into stripes, how much memory it needs.
// Pure; knows no instruction.
import { type MatrixSize, rowTiles, type Scheme, STRIP_K, STRIP_ROWS, stripBytes, stripsAlongK } from '../layout.ts';

/** What a CTA takes at a time: `strips` row tiles by 128 k of the weights, for `tokens` tokens. */
export interface Tiling {
  readonly strips: 4 | 8 | 16;
  readonly tokens: 8 | 16 | 32 | 64;
  /** Tiles of the ring, the one in use included. */
  readonly stages: number;
}

export const THREADS = 256;
/** Two warps share a strip, each half of its k; four such pairs share the rows. */
export const K_WARPS = 2;
export const ROW_WARPS: number = THREADS / 32 / K_WARPS;

/** Up to this many tokens the scales come to the sums of a group, beyond to the weights: scaling sums costs in proportion to tokens. */
export const MOST_RAW_TOKENS = 16;

/** Bytes of one stage: strips as they lie in global memory, and activations by tokens. */
export const stageBytes = ({ strips, tokens }: Tiling, scheme: Scheme): number =>
  strips * stripBytes(scheme) + tokens * STRIP_K * 2;

/** A word by which a thread tells its CTA. */
const MESSAGE_BYTES = 4;
export const sharedBytes = (tiling: Tiling, scheme: Scheme): number =>
  tiling.stages * stageBytes(tiling, scheme) + MESSAGE_BYTES;

/** The work of one token tile: units of `strips` row tiles x 128 k, all k of a tile before the next; CTA i takes units [i * stripe, (i + 1) * stripe). */
export interface Stripes {
  /** Tiles of `strips` row tiles. */
  readonly tiles: number;
  readonly unitsPerTile: number;
  readonly units: number;
  readonly stripe: number;
  readonly ctas: number;
}

/** Cut for at most `most` CTAs. */
export function stripesOf(size: MatrixSize, { strips }: Tiling, most: number): Stripes {
  const tiles = Math.ceil(rowTiles(size) / strips);
  const unitsPerTile = stripsAlongK(size);
  const units = tiles * unitsPerTile;
  const stripe = Math.ceil(units / most);
  return { tiles, unitsPerTile, units, stripe, ctas: Math.ceil(units / stripe) };
}

/** Most CTAs that a tile's sums come from. */
export function mostSharers({ tiles, unitsPerTile, stripe }: Stripes): number {
  const ownerOf = (unit: number): number => Math.floor(unit / stripe);
  const sharers = Array.from(
    { length: tiles },
    (_, tile) => ownerOf((tile + 1) * unitsPerTile - 1) - ownerOf(tile * unitsPerTile) + 1,
  );
  return Math.max(...sharers);
}

/** f32 values of a tile's sums. */
export const tileSums = ({ strips, tokens }: Tiling): number => strips * STRIP_ROWS * tokens;

/** Most partial sums that a CTA hands over: of the tile it begins with, and of the one it ends with. */
export const PARTS = 2;

/** What a launch for `m` tokens needs besides its operands. The counters must be zero before the first launch; every launch leaves them so. */
export function workspaceOf(stripes: Stripes, tiling: Tiling, m: number): { partials: number; counters: number } {
  const tokenTiles = Math.ceil(m / tiling.tokens);
  return { partials: tokenTiles * stripes.ctas * PARTS * tileSums(tiling), counters: tokenTiles * stripes.tiles };
}
