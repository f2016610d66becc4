// One stage of the Ampere kernel: strips and activations of a unit on their way into shared memory, and into registers. Knows no arithmetic.
import { type Layout, rows, swizzled } from '../../../ptx/layout.ts';
import type { Global, Shared } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import { type B16, type B32, type Int, type Pred, type U32, u32 } from '../../../ptx/values.ts';
import {
  groupBytes,
  HALF_STRIP_BYTES,
  type MatrixSize,
  ROW_PAIRS_BYTES,
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

/** Where a CTA is in the matrix: a tile of row tiles, and 128 k. */
export interface Unit {
  readonly tile: U32;
  readonly alongK: U32;
}

/** Shared memory of a stage. */
export interface Stage {
  readonly weights: Shared<'b32'>;
  readonly tokens: Shared<'b16'>;
}

/** What fetches and reads depend on. */
export interface Form {
  readonly tiling: Tiling;
  readonly size: MatrixSize;
  readonly scheme: Scheme;
}

/** Runs `body` in the threads whose number in pass `pass` is below `count`. */
function within(k: K, pass: number, count: number, body: () => void): void {
  if ((pass + 1) * THREADS <= count) body();
  else k.if(k.thread.lt(count - pass * THREADS), body);
}

/**
 * Begins to copy the strips of a unit. Row tiles behind the last are the last again: read, multiplied, and never stored. What all units have in common is
 * computed when the function is made, before the loop.
 */
export function stripFetcher(
  k: K,
  { strips }: Operands,
  { tiling, size, scheme }: Form,
): (unit: Unit, to: Shared<'b32'>) => void {
  const [matrix, stage] = [stripsLayout(size, scheme), weightTile(tiling, scheme)];
  const perStrip = stripBytes(scheme) / CHUNK;
  const count = tiling.strips * perStrip;
  const whole = rowTiles(size) % tiling.strips === 0;
  const sources = Array.from({ length: Math.ceil(count / THREADS) }, (_, pass) => {
    const index = k.thread.add(pass * THREADS);
    const [strip, word] = [index.div(perStrip), index.mod(perStrip).mul(CHUNK / WORD)];
    const from = (inTile: U32): U32 => matrix.at(inTile.mul(stripsAlongK(size)), word);
    const always = whole ? from(strip) : null;
    return (last: U32): U32 => always ?? from(strip.min(last));
  });
  // Strips follow each other in a stage without gaps: a thread's chunks are all at the same distance.
  const first = stage.at(0, k.thread.mul(CHUNK / WORD));
  return ({ tile, alongK }, to) => {
    const firstRowTile = tile.mul(tiling.strips);
    const from = strips.at(matrix.at(firstRowTile.mul(stripsAlongK(size)).add(alongK), 0));
    const last = u32(rowTiles(size) - 1).sub(firstRowTile);
    const target = to.at(first);
    for (const [pass, source] of sources.entries()) {
      const behind = (pass * THREADS * CHUNK) / WORD;
      within(k, pass, count, () => k.cpAsync(target.at(behind), from.at(source(last))));
    }
  };
}

/**
 * Begins to copy 128 k of each token. Tokens behind the last and k behind the matrix read as zero: zero points and sums of x count them. Where rows of x
 * do not begin at multiples of 16 bytes, elements go through registers.
 */
export function tokenFetcher(
  k: K,
  { x, m }: Operands,
  firstToken: U32,
  { tiling, size }: Form,
): (unit: Unit, to: Shared<'b16'>) => void {
  const stage = tokenTile(tiling);
  const activations = rows('b16', [1, size.k]);
  const aligned = size.k % PER_CHUNK === 0;
  const width = aligned ? PER_CHUNK : 2;
  const perToken = STRIP_K / width;
  const count = tiling.tokens * perToken;
  const perPass = THREADS / perToken;

  const [row, column] = [k.thread.div(perToken), k.thread.mod(perToken).mul(width)];
  const token = firstToken.add(row);
  const [first, inStage] = [activations.at(token, column), stage.at(row, column)];
  const zero = u32(0).asB32();
  return ({ alongK }, to) => {
    const firstK = alongK.mul(STRIP_K);
    const [from, target] = [x.at(first.add(firstK)), to.at(inStage)];
    const pass = (below: number): void => {
      const there = (i: number): Pred => {
        const isToken = token.add(below).lt(m);
        return size.k % STRIP_K === 0 ? isToken : isToken.and(firstK.add(column).add(i).lt(size.k));
      };
      const source = from.at(activations.index(below, 0));
      // The pattern of the swizzle repeats every 8 rows.
      const place = below % 8 === 0 ? target.at(stage.index(below, 0)) : to.at(stage.at(row.add(below), column));
      if (aligned) {
        k.if(
          there(0),
          () => k.cpAsync(place, source),
          () => k.stShared(place, [zero, zero, zero, zero]),
        );
        return;
      }
      const [low, high] = [k.var(zero), k.var(zero)];
      const element = (i: number): B32 => k.ldB16(source.at(i)).pairWith(halfOf(zero));
      k.if(there(0), () => low.set(element(0)));
      k.if(there(1), () => high.set(element(1).shl(16)));
      k.stShared(place, [low.or(high)]);
    };
    for (let i = 0; i * THREADS < count; i++) within(k, i, count, () => pass(i * perPass));
  };
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

/** Groups in a warp's half of a strip; it takes only half of a group of 128. */
export const groupsOfWarp = ({ group }: Scheme): number => Math.max(1, WARP_K / group);

/** Steps of 16 k that one ldmatrix brings: for eight tokens two, else one. */
export const stepsAtOnce = ({ tokens }: Tiling): number => (tokens === 8 ? 2 : 1);

/** How a warp reads a stage. Strips are counted within the warp, groups and steps within its half of them. */
export interface Reader {
  /** A lane's words of a strip: one for each step of 16 k. */
  readonly codes: (stage: Stage, strip: number) => readonly B32[];
  /** Of the lane's rows, g and g + 8. */
  readonly scales: (stage: Stage, strip: number, group: number) => B32;
  readonly zeros: (stage: Stage, strip: number, group: number) => B32;
  /** Words of ldmatrix for `stepsAtOnce`, from `step` on: [step][8 tokens][low and high k]. */
  readonly tokens: (stage: Stage, step: number) => readonly (readonly (readonly [B32, B32])[])[];
}

/** Places in a stage are the same in all of them: they are computed here, before the loop. */
export function readerOf(k: K, { half, rowWarp }: Place, { tiling, scheme }: Omit<Form, 'size'>): Reader {
  const [weights, tile] = [weightTile(tiling, scheme), tokenTile(tiling)];
  const first = weights.at(stripOf({ half, rowWarp }, tiling, 0), 0);
  const code = first.add(half.mul(HALF_STRIP_BYTES / WORD)).add(k.lane.mul(VECTOR_BYTES / WORD));
  // A group of 128 belongs to both halves.
  const groups: Int = scheme.group === STRIP_K ? 0 : half.mul((groupsOfWarp(scheme) * groupBytes(scheme)) / WORD);
  const pair = first.add(k.lane.div(4)).add(groups);
  const pairAt = (stage: Stage, strip: number, bytes: number): B32 =>
    k.ldShared(stage.weights.at(pair).at(weights.index(strip, bytes / WORD)), 1)[0]!;

  const eight = tiling.tokens === 8;
  const row = eight ? k.lane.mod(8) : k.lane.mod(8).add(k.lane.div(16).mul(8));
  const column = (eight ? k.lane.div(8) : k.lane.div(8).mod(2)).mul(8).add(half.mul(WARP_K));
  const places = Array.from({ length: WARP_K / 16 }, (_, step) => tile.at(row, column.add(16 * step)));
  const matrices = (stage: Stage, step: number, below: number): readonly [readonly [B32, B32], readonly [B32, B32]] => {
    // 16 rows below is the same distance everywhere, as the pattern of the swizzle repeats every 8.
    const [a, b, c, d] = k.ldmatrix(stage.tokens.at(places[step]!).at(tile.index(below, 0)), 4);
    return [
      [a!, b!],
      [c!, d!],
    ];
  };

  return {
    codes: (stage, strip) => k.ldShared(stage.weights.at(code).at(weights.index(strip, 0)), 4),
    scales: (stage, strip, group) => pairAt(stage, strip, scalePlace(0, group, scheme)),
    zeros: (stage, strip, group) => pairAt(stage, strip, scalePlace(0, group, scheme) + ROW_PAIRS_BYTES),
    tokens: (stage, step) =>
      eight
        ? matrices(stage, step, 0).map((one) => [one])
        : [Array.from({ length: tiling.tokens / 16 }, (_, two) => matrices(stage, step, 16 * two)).flat()],
  };
}
