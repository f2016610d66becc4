// Causal attention of many queries on mma.sync, keys and values passing by in tiles (Dao et al. 2022, FlashAttention): four warps of 16 queries, the
// next tile copied while one is used, softmax in f32, weights rounded to f16 for the second product.
import type { FragA, FragB, FragC } from '../../ptx/fragments.ts';
import { kernel } from '../../ptx/kernel.ts';
import { type Layout, rows } from '../../ptx/layout.ts';
import type { Global, Shared } from '../../ptx/pointers.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type F32, f32, pairOfHalves, u32, type U32, type Var } from '../../ptx/values.ts';
import {
  awaitInputs,
  LOG2_E,
  type Overlap,
  PER_LOAD,
  requireMultiple,
  STATE_POSITION,
  STATE_TOKENS,
  stateOf,
  targetOf,
} from '../vectors.ts';
import type { AttentionShape } from './reference.ts';

export type PrefillParams = {
  /** [tokens, heads + 2 kvHeads, headDim], of which the queries are read. */
  readonly qkv: 'f16*';
  /** [kvHeads, context, headDim] */
  readonly keys: 'f16*';
  readonly values: 'f16*';
  /** [tokens, heads, headDim] */
  readonly y: 'f16*';
  readonly state: 'u32*';
};

/** Queries of a CTA, 16 a warp. */
const TILE = 64;
const WARPS = TILE / 16;
const THREADS = 32 * WARPS;
const STAGES = 2;
const LEAST = -1e30;

/** CTAs for the queries of a head. */
export function prefillTiles(tokens: number): number {
  return Math.ceil(tokens / TILE);
}

/** Grid: [prefillTiles(tokens), heads]. Errors: RangeError unless headDim is a multiple of 32 and kvHeads divides heads. */
export function prefillAttention(shape: AttentionShape & Overlap): Program<PrefillParams> {
  const { heads, kvHeads, headDim, context } = shape;
  requireMultiple('the head dimension', headDim, 32);
  requireMultiple('the number of heads', heads, kvHeads);
  // Rows of an odd number of 16 bytes: eight of them, which ldmatrix reads together, lie in different banks.
  const tile = rows('f16', [TILE, headDim], PER_LOAD);
  // Sums of a wide head take half of the registers: the scores of 64 keys would not fit beside them.
  const keyTile = rows('f16', [headDim > 96 ? TILE / 2 : TILE, headDim], PER_LOAD);
  const params: PrefillParams = { qkv: 'f16*', keys: 'f16*', values: 'f16*', y: 'f16*', state: 'u32*' };
  const name = `attention_prefill_${heads}_${kvHeads}_${headDim}_${context}`;
  return kernel({ name, threads: THREADS, target: targetOf(shape), params }, (k, { qkv, keys, values, y, state }) => {
    const [sQ, sK, sV] = [k.shared(tile), k.shared(keyTile, STAGES), k.shared(keyTile, STAGES)];
    awaitInputs(k, shape);
    const [position, tokens] = [stateOf(k, state, STATE_POSITION), stateOf(k, state, STATE_TOKENS)];
    const firstQuery = k.cta.x.mul(TILE);
    const head = k.cta.y;
    const cache = head.div(heads / kvHeads).mul(context * headDim);
    const last = position.add(tokens).sub(1);
    /** The tiles that the last of these queries sees. */
    const tiles = position
      .add(firstQuery.add(TILE).min(tokens))
      .add(keyTile.rows - 1)
      .div(keyTile.rows);

    // Rows behind the end are copies of the last: what they give is never stored, or has no weight.
    const query = qkv.at(head.mul(headDim));
    copyTile(k, tile, sQ, query, (heads + 2 * kvHeads) * headDim, firstQuery, tokens.sub(1));
    const fetch = (index: U32): void => {
      const stage = index.mod(STAGES).mul(keyTile.count);
      copyTile(k, keyTile, sK.at(stage), keys.at(cache), headDim, index.mul(keyTile.rows), last);
      copyTile(k, keyTile, sV.at(stage), values.at(cache), headDim, index.mul(keyTile.rows), last);
    };
    const warp = k.shflIdx(k.warp, 0);
    const [row, column] = [warp.mul(16).add(k.lane.div(4)), k.lane.mod(4).mul(2)];
    /** Of the lane's two rows, eight apart. */
    const places = [0, 8].map((half) => position.add(firstQuery).add(row).add(half));
    const softmax = places.map(() => ({ most: k.var(f32(LEAST)), weight: k.var(f32(0)) }));
    const sums = Array.from({ length: headDim / 8 }, () => k.accumulator());

    const queryAt = (step: number): FragA => {
      const column = k.lane.div(16).mul(8);
      return k.ldmatrixA(sQ.at(tile.at(warp.mul(16).add(k.lane.mod(16)), column.add(16 * step))));
    };

    fetch(u32(0));
    k.cpAsyncCommit();
    k.loop(0, tiles, 1, (index) => {
      k.cpAsyncWait(0);
      // One barrier a tile serves twice: this tile is there for all, and the stage filled next has been read by all.
      k.barSync();
      const next = index.add(1);
      k.if(next.lt(tiles), () => fetch(next));
      k.cpAsyncCommit();
      const stage = index.mod(STAGES).mul(keyTile.count);
      const scores = scoresOf(k, keyTile, queryAt, sK.at(stage));
      const weights = softmax.map((running, half) => {
        const own = scores.map(({ values }, j) =>
          [0, 1].map((i) => {
            const key = index
              .mul(keyTile.rows)
              .add(column)
              .add(8 * j + i);
            return k.select<F32>(
              key.le(places[half]!),
              values[2 * half + i]!.mul(LOG2_E / Math.sqrt(headDim)),
              f32(LEAST),
            );
          }),
        );
        return weigh(k, running, own, sums.map(({ values }) => [values[2 * half]!, values[2 * half + 1]!]).flat());
      });
      addValues(k, keyTile, weights, sV.at(stage), sums);
    });

    for (const [half, { weight }] of softmax.entries()) {
      const total = quadSum(k, weight).rcp();
      const token = firstQuery.add(row).add(8 * half);
      k.if(token.lt(tokens), () => {
        const to = y.at(token.mul(heads).add(head).mul(headDim).add(column));
        for (const [j, { values }] of sums.entries()) {
          const pair = pairOfHalves(values[2 * half]!.mul(total), values[2 * half + 1]!.mul(total));
          k.stGlobal(to.at(8 * j), [pair.asB32()]);
        }
      });
    }
  });
}

/** Begins to copy the rows of a tile out of a matrix, of `pitch` elements a row, from row `first` on; rows behind `last` are that one. */
function copyTile(
  k: K,
  tile: Layout<'f16'>,
  to: Shared<'f16'>,
  from: Global<'f16'>,
  pitch: number,
  first: U32,
  last: U32,
): void {
  // A warp takes 64 bytes of eight rows: whole sectors there, different banks here.
  const blocks = tile.columns / (4 * PER_LOAD);
  for (let pass = 0; pass < (tile.rows * tile.columns) / (PER_LOAD * THREADS); pass++) {
    const block = k.warp.add(pass * WARPS);
    const row = block.div(blocks).mul(8).add(k.lane.mod(8));
    const column = block.mod(blocks).mul(4).add(k.lane.div(8)).mul(PER_LOAD);
    k.cpAsync(to.at(tile.at(row, column)), from.at(first.add(row).min(last).mul(pitch).add(column)));
  }
}

/** Q . K^T of a warp's 16 queries and a tile of keys, 8 keys a fragment. */
function scoresOf(k: K, tile: Layout<'f16'>, queryAt: (step: number) => FragA, keys: Shared<'f16'>): readonly FragC[] {
  const scores = Array.from({ length: tile.rows / 8 }, () => k.accumulator());
  for (let step = 0; step < tile.columns / 16; step++) {
    const query = queryAt(step);
    for (let pair = 0; pair < tile.rows / 16; pair++) {
      const row = k.lane
        .mod(8)
        .add(k.lane.div(16).mul(8))
        .add(16 * pair);
      const column = k.lane
        .div(8)
        .mod(2)
        .mul(8)
        .add(16 * step);
      const [a, b] = k.ldmatrixB2(keys.at(tile.at(row, column)));
      k.mma(scores[2 * pair]!, query, a);
      k.mma(scores[2 * pair + 1]!, query, b);
    }
  }
  return scores;
}

interface Running {
  readonly most: Var<F32>;
  readonly weight: Var<F32>;
}

/** Weights of one row's scores relative to the largest so far; what was summed before is made relative to it as well. */
function weigh(
  k: K,
  { most, weight }: Running,
  scores: readonly (readonly F32[])[],
  sums: readonly Var<F32>[],
): readonly (readonly F32[])[] {
  let largest: F32 = scores.flat().reduce<F32>((a, b) => a.max(b), most);
  for (const mask of [1, 2]) largest = largest.max(k.shflBfly(largest, mask));
  const factor = most.sub(largest).exp2();
  most.set(largest);
  const weights = scores.map((pair) => pair.map((score) => score.sub(largest).exp2()));
  weight.set(weights.flat().reduce<F32>((a, b) => a.add(b), weight.mul(factor)));
  for (const sum of sums) sum.set(sum.mul(factor));
  return weights;
}

/** sums += weights . V; the scores' fragments have just the places that the left operand wants. */
function addValues(
  k: K,
  tile: Layout<'f16'>,
  [upper = [], lower = []]: readonly (readonly (readonly F32[])[])[],
  values: Shared<'f16'>,
  sums: readonly FragC[],
): void {
  const half = (row: readonly (readonly F32[])[], j: number) => pairOfHalves(row[j]![0]!, row[j]![1]!);
  for (let step = 0; step < tile.rows / 16; step++) {
    const weights = k.fragA([
      half(upper, 2 * step),
      half(lower, 2 * step),
      half(upper, 2 * step + 1),
      half(lower, 2 * step + 1),
    ]);
    const row = k.lane.mod(16).add(16 * step);
    for (let pair = 0; pair < sums.length / 2; pair++) {
      const column = k.lane
        .div(16)
        .mul(8)
        .add(16 * pair);
      const words = k.ldmatrix(values.at(tile.at(row, column)), 4, { transposed: true }).map((word) => word.asF16x2());
      const fragments: readonly FragB[] = [k.fragB([words[0]!, words[1]!]), k.fragB([words[2]!, words[3]!])];
      for (const [i, fragment] of fragments.entries()) k.mma(sums[2 * pair + i]!, weights, fragment);
    }
  }
}

/** The sum over the four lanes that share a row. */
function quadSum(k: K, value: F32): F32 {
  return [1, 2].reduce<F32>((sum, mask) => sum.add(k.shflBfly(sum, mask)), value);
}
