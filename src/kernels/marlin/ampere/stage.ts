// One stage of the Ampere kernel: strips and activations of a unit on their way into shared memory, and into registers. Knows no arithmetic.
import { type Layout, rows, swizzled } from '../../../ptx/layout.ts';
import type { Global, Shared } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import { type B16, type B32, type Int, type Pred, type U32, u32 } from '../../../ptx/values.ts';
import {
  groupBytes,
  HALF_STRIP_BYTES,
  type MatrixSize,
  rowTiles,
  scalePlace,
  type Scheme,
  STRIP_K,
  stripBytes,
  stripsAlongK,
  VECTOR_BYTES,
} from '../layout.ts';
import { K_WARPS, ROW_WARPS, THREADS, type Tiling } from './tiling.ts';

const WORD = 4;
const CHUNK = 16;
/** Elements of a chunk of activations. */
const PER_CHUNK = CHUNK / 2;

/** Strips of one row tile of the matrix follow each other: [row tiles x strips along k, words of a strip]. */
export const stripsLayout = (size: MatrixSize, scheme: Scheme): Layout<'b32'> =>
  rows('b32', [rowTiles(size) * stripsAlongK(size), stripBytes(scheme) / WORD]);
/** [strips, words of a strip]: as in global memory. A warp reads 512 bytes of it at once, so nothing conflicts. */
export const weightTile = ({ strips }: Tiling, scheme: Scheme): Layout<'b32'> =>
  rows('b32', [strips, stripBytes(scheme) / WORD]);
/** [tokens, 128 k] */
export const tokenTile = ({ tokens }: Tiling): Layout<'b16'> => swizzled('b16', [tokens, STRIP_K]);

export interface Operands {
  readonly x: Global<'b16'>;
  readonly strips: Global<'b32'>;
  /** Tokens of x. */
  readonly m: U32;
}

/** Where a CTA is in the matrix: a tile of row tiles, 128 k, and the first of its tokens. */
export interface Unit {
  readonly tile: U32;
  readonly alongK: U32;
  readonly firstToken: U32;
}

/** Calls `copy` with each of `count` numbers, spread over the threads: neighbours get neighbours. */
function spread(k: K, count: number, copy: (index: U32) => void): void {
  for (let first = 0; first < count; first += THREADS) {
    const index = k.thread.add(first);
    if (first + THREADS <= count) copy(index);
    else k.if(index.lt(count), () => copy(index));
  }
}

/** Begins to copy the strips of a unit. Row tiles behind the last are the last again: read, multiplied, and never stored. */
export function fetchStrips(
  k: K,
  { strips }: Operands,
  { tile, alongK }: Unit,
  to: Shared<'b32'>,
  { tiling, size, scheme }: { readonly tiling: Tiling; readonly size: MatrixSize; readonly scheme: Scheme },
): void {
  const [matrix, stage] = [stripsLayout(size, scheme), weightTile(tiling, scheme)];
  const perStrip = stripBytes(scheme) / CHUNK;
  const whole = rowTiles(size) % tiling.strips === 0;
  const firstRowTile = tile.mul(tiling.strips);
  spread(k, tiling.strips * perStrip, (index) => {
    const [strip, word] = [index.div(perStrip), index.mod(perStrip).mul(CHUNK / WORD)];
    const rowTile = whole ? firstRowTile.add(strip) : firstRowTile.add(strip).min(rowTiles(size) - 1);
    const from = matrix.at(rowTile.mul(stripsAlongK(size)).add(alongK), word);
    k.cpAsync(to.at(stage.at(strip, word)), strips.at(from));
  });
}

/**
 * Begins to copy 128 k of each token. Tokens behind the last and k behind the matrix read as zero: zero points and sums of x count them. Where rows of x
 * do not begin at multiples of 16 bytes, elements go through registers.
 */
export function fetchTokens(
  k: K,
  { x, m }: Operands,
  { alongK, firstToken }: Unit,
  to: Shared<'b16'>,
  { tiling, size }: { readonly tiling: Tiling; readonly size: MatrixSize },
): void {
  const stage = tokenTile(tiling);
  const aligned = size.k % PER_CHUNK === 0;
  const width = aligned ? PER_CHUNK : 2;
  const perToken = STRIP_K / width;
  spread(k, tiling.tokens * perToken, (index) => {
    const [row, column] = [index.div(perToken), index.mod(perToken).mul(width)];
    const [token, first] = [firstToken.add(row), alongK.mul(STRIP_K).add(column)];
    const there = (element: U32): Pred => (size.k % STRIP_K === 0 ? token.lt(m) : token.lt(m).and(element.lt(size.k)));
    const [target, from] = [to.at(stage.at(row, column)), x.at(token.mul(size.k).add(first))];
    const zero = u32(0).asB32();
    if (aligned) {
      k.if(
        there(first),
        () => k.cpAsync(target, from),
        () => k.stShared(target, [zero, zero, zero, zero]),
      );
      return;
    }
    const [low, high] = [k.var(zero), k.var(zero)];
    const element = (at: number): B32 => k.ldB16(from.at(at)).pairWith(halfOf(zero));
    k.if(there(first), () => low.set(element(0)));
    k.if(there(first.add(1)), () => high.set(element(1).shl(16)));
    k.stShared(target, [low.or(high)]);
  });
}

const halfOf = (word: B32): B16 => word.asF16x2().lower();

/** Who a warp is: which strips of a tile it takes, and which half of their k. */
export interface Place {
  readonly half: U32;
  readonly rowWarp: U32;
}

export const placeOf = (k: K): Place => ({ half: k.warp.mod(K_WARPS), rowWarp: k.warp.div(K_WARPS) });

/** Strips of a warp. */
export const stripsOfWarp = ({ strips }: Tiling): number => strips / ROW_WARPS;
/** The i-th strip of a warp, counted in the tile. */
export const stripOf = ({ rowWarp }: Place, tiling: Tiling, i: number): U32 => rowWarp.mul(stripsOfWarp(tiling)).add(i);

/** k of a warp: half a strip. */
export const WARP_K: number = STRIP_K / K_WARPS;

/** A lane's words of its half of a strip: one for each step of 16 k. */
export function loadCodes(k: K, strip: Shared<'b32'>, { half }: Place): readonly B32[] {
  const at = half.mul(HALF_STRIP_BYTES / WORD).add(k.lane.mul(VECTOR_BYTES / WORD));
  return k.ldShared(strip.at(at), 4);
}

/** Groups in a warp's half of a strip; it takes only half of a group of 128. */
export const groupsOfWarp = ({ group }: Scheme): number => Math.max(1, WARP_K / group);

/** The scales (or, `behind` them, zero points) of a lane's rows for group i of its half. */
export function loadPair(k: K, strip: Shared<'b32'>, { half }: Place, scheme: Scheme, i: number, behind: number): B32 {
  const first: Int = scheme.group === STRIP_K ? 0 : half.mul((groupsOfWarp(scheme) * groupBytes(scheme)) / WORD);
  const at = k.lane.div(4).add((scalePlace(0, i, scheme) + behind) / WORD);
  return k.ldShared(strip.at(at.add(first)), 1)[0]!;
}

/** Steps of 16 k that one ldmatrix brings: for eight tokens two, else one. */
export const stepsAtOnce = ({ tokens }: Tiling): number => (tokens === 8 ? 2 : 1);

/** Words of ldmatrix for `stepsAtOnce`, from step `step` of a warp's half on: [step][8 tokens][low and high k]. */
export function loadTokens(
  k: K,
  stage: Shared<'b16'>,
  { half }: Place,
  tiling: Tiling,
  step: number,
): readonly (readonly (readonly [B32, B32])[])[] {
  const tile = tokenTile(tiling);
  const firstK = half.mul(WARP_K).add(16 * step);
  const matrices = (row: U32, column: U32, below: number): readonly [readonly [B32, B32], readonly [B32, B32]] => {
    // 16 rows below is the same distance everywhere, as the pattern of the swizzle repeats every 8.
    const [a, b, c, d] = k.ldmatrix(stage.at(tile.at(row, firstK.add(column))).at(tile.index(below, 0)), 4);
    return [
      [a!, b!],
      [c!, d!],
    ];
  };
  if (tiling.tokens === 8) return matrices(k.lane.mod(8), k.lane.div(8).mul(8), 0).map((one) => [one]);
  const row = k.lane.mod(8).add(k.lane.div(16).mul(8));
  const column = k.lane.div(8).mod(2).mul(8);
  return [Array.from({ length: tiling.tokens / 16 }, (_, pair) => matrices(row, column, 16 * pair)).flat()];
}
