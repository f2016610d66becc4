// Tilings of the 4-bit product on wgmma, and what follows from one: threads, registers, shared memory, tiles, the grid. Plain numbers for the
// kernel, its plan and its callers.
import { type MatrixSize, STRIP_K, STRIP_ROWS, stripBytes, type Scheme, stripsAlongK } from '../layout.ts';

export interface TileTiling {
  /** Consumers: each multiplies 64 channels of the CTA's. */
  readonly warpgroups: 2 | 4;
  /** Of a tile, 8, 16 ... 256: columns of the product. */
  readonly tokens: number;
  /** Slots of the ring. */
  readonly stages: number;
  /** k of a stage. */
  readonly stageK: 128 | 256;
  /** CTAs of a cluster that share a tile's k, and add up their sums. */
  readonly split: 1 | 2 | 4;
  /** CTAs of a cluster with the same tokens and different channels: each copies its part of the tokens to all. */
  readonly multicast: 1 | 2;
  /** Tiles of channels that run next to each other, so that what they read is read again from the second-level cache. */
  readonly group: number;
  /** No more tokens than those of a tile: each weight is read once, and may leave the second-level cache first. */
  readonly once: boolean;
}

export const WARPGROUP = 128;
export const WARPGROUP_ROWS = 64;
/** k of a box of tokens: 128 bytes, what a swizzle spans. */
export const BOX_K = 64;
/** Tokens that a warp stores at a time, and the bytes it turns them in. */
export const PASS_TOKENS = 32;
export const PASS_BYTES: number = PASS_TOKENS * STRIP_ROWS * 2;
const MBARRIER_BYTES = 8;

/**
 * Registers a thread has at first are 65536 by all threads, in eights: 168 of 384 threads, 96 of 640. The copying warpgroup gives most of its own
 * to the others: 40 x 128 + 232 x 256 = 168 x 384, and 32 x 128 + 112 x 512 = 96 x 640. Without, products of 224 tokens and more, and stages of 256 k
 * on four warpgroups, are serialised for want of registers (C7512).
 */
export const registers: Readonly<
  Record<TileTiling['warpgroups'], { readonly copy: number; readonly product: number }>
> = { 2: { copy: 40, product: 232 }, 4: { copy: 32, product: 112 } };

/** Sums of four warpgroups: with more than 32 registers of them, 112 do not suffice for the rest. */
const MOST_TOKENS: Readonly<Record<TileTiling['warpgroups'], number>> = { 2: 256, 4: 64 };

export const threadsOf = ({ warpgroups }: TileTiling): number => WARPGROUP * (1 + warpgroups);
export const clusterOf = ({ split, multicast }: TileTiling): number => split * multicast;
export const rowsOf = ({ warpgroups }: Pick<TileTiling, 'warpgroups'>): number => WARPGROUP_ROWS * warpgroups;
/** Strips of 128 k that a strip of rows takes of a stage. */
export const depthOf = ({ stageK }: TileTiling): number => stageK / STRIP_K;

/** Bytes of a stage: strips and boxes of tokens. */
export function stageBytes(tiling: TileTiling, scheme: Scheme): { readonly weights: number; readonly tokens: number } {
  const strips = (rowsOf(tiling) / STRIP_ROWS) * depthOf(tiling);
  return { weights: strips * stripBytes(scheme), tokens: tiling.tokens * tiling.stageK * 2 };
}

/** Sums that a CTA takes from each other CTA of its cluster, in bytes. */
export const exchangeBytes = (tiling: TileTiling): number =>
  tiling.split === 1 ? 0 : (rowsOf(tiling) * tiling.tokens * 4) / tiling.split;

/** Shared memory of a CTA, as the kernel allocates it. */
export function sharedBytes(tiling: TileTiling, scheme: Scheme): number {
  const { weights, tokens } = stageBytes(tiling, scheme);
  const { stages, warpgroups, split } = tiling;
  const staging = warpgroups * 4 * PASS_BYTES;
  return stages * (tokens + weights + 2 * MBARRIER_BYTES) + staging + exchangeBytes(tiling) * (split - 1);
}

/** Stages of k of a matrix. */
export const stagesOfK = (size: MatrixSize, tiling: TileTiling): number =>
  Math.ceil(stripsAlongK(size) / depthOf(tiling));

/** Tiles of channels; one is that of a whole cluster where it shares tokens. */
export const tilesOfRows = ({ n }: MatrixSize, tiling: TileTiling): number =>
  Math.ceil(n / (rowsOf(tiling) * tiling.multicast));

/** CTAs to launch for m tokens: one for each multiprocessor but no more than there are tiles; or, where k is split, a cluster for each tile. */
export function tileGrid(m: number, size: MatrixSize, tiling: TileTiling, multiprocessors: number): number {
  const cluster = clusterOf(tiling);
  const tiles = tilesOfRows(size, tiling) * Math.ceil(m / tiling.tokens);
  return (tiling.split > 1 ? tiles : Math.min(Math.floor(multiprocessors / cluster), tiles)) * cluster;
}

/** Why a matrix cannot be multiplied with a tiling; null when it can. */
export function tilingRefusal(size: MatrixSize, tiling: TileTiling): string | null {
  const { n, k } = size;
  const { warpgroups, tokens, split, multicast, stageK } = tiling;
  if (n % 8 !== 0 || k % 8 !== 0) return `rows of ${k} or ${n} numbers of 16 bits are no multiple of 16 bytes`;
  if (tokens % 8 !== 0 || tokens < 8 || tokens > 256) return `${tokens} tokens: 8, 16, ... 256`;
  if (tokens > MOST_TOKENS[warpgroups]) return `${tokens} tokens leave ${warpgroups} warpgroups too few registers`;
  if (split > 1 && multicast > 1) return 'a cluster shares either k or tokens';
  if (tokens % (8 * split * multicast) !== 0)
    return `${tokens} tokens are not shared by ${split * multicast} CTAs in eights`;
  if (stripsAlongK(size) % depthOf(tiling) !== 0) return `${k} k are no whole stages of ${stageK}`;
  if (stagesOfK(size, tiling) < split) return `${k} k are fewer stages than ${split} CTAs`;
  return null;
}
