// Attention of one query a sequence: warps share the positions among them, lanes the dimensions of a key; each warp leaves a partial softmax, and a
// second kernel merges them in a fixed order. The grid is that of the whole context, so that one graph serves every position.
import { kernel } from '../../ptx/kernel.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type F32, f32, type U32, type Var } from '../../ptx/values.ts';
import {
  awaitInputs,
  floatsOf,
  laneSum,
  LOG2_E,
  type Overlap,
  PER_LOAD,
  requireMultiple,
  STATE_POSITION,
  stateOf,
  storeFloats,
  targetOf,
} from '../vectors.ts';
import type { AttentionShape } from './reference.ts';

export type DecodeParams = {
  /** [heads + 2 kvHeads, headDim], of which the queries are read. */
  readonly qkv: 'f16*';
  /** [kvHeads, context, headDim] */
  readonly keys: 'f16*';
  readonly values: 'f16*';
  /** [heads, splits * WARPS, headDim + 4]: weighted values, then their largest score and the sum of their weights. */
  readonly partial: 'f32*';
  readonly state: 'u32*';
};

export type CombineParams = {
  readonly partial: 'f32*';
  /** [heads, headDim] */
  readonly y: 'f16*';
  readonly state: 'u32*';
};

export interface DecodeShape extends AttentionShape, Overlap {
  /** CTAs that share the positions of a sequence. */
  readonly splits: number;
}

const WARPS = 4;
const THREADS = 32 * WARPS;
/** Keys, and values, that a lane has under way. */
const UNROLL = 4;
/** Queries of a CTA at most: each takes 18 registers a lane. */
const MOST_QUERIES = 8;
/** Below every score, and finite, so that differences are numbers. */
const LEAST = -1e30;
/** Behind the values of a partial; four, so that it stays aligned. */
const EXTRA = 4;

/** Lanes of a key; where the dimension is no power of two, some of them idle. */
function lanesOf(headDim: number): number {
  return 2 ** Math.ceil(Math.log2(headDim / PER_LOAD));
}

/** Positions that the warps of a CTA take in one turn. */
function turnOf(headDim: number): number {
  return (WARPS * UNROLL * 32) / lanesOf(headDim);
}

/** Query heads of a CTA: those of one key head, or an equal part of them. */
function queriesOf({ heads, kvHeads }: AttentionShape): number {
  const group = heads / kvHeads;
  for (let parts = 1; ; parts++) if (group % parts === 0 && group / parts <= MOST_QUERIES) return group / parts;
}

/** As many as keep all multiprocessors at work, and no more than there are turns in the context. */
export function decodeSplits(shape: AttentionShape, multiprocessors: number): number {
  const ctas = shape.heads / queriesOf(shape);
  return Math.max(
    1,
    Math.min(Math.ceil((2 * multiprocessors) / ctas), Math.ceil(shape.context / turnOf(shape.headDim))),
  );
}

export function decodeGrid(shape: DecodeShape): readonly [splits: number, heads: number] {
  return [shape.splits, shape.heads / queriesOf(shape)];
}

/** Bytes of the partial softmaxes. */
export function partialBytes({ heads, headDim, splits }: DecodeShape): number {
  return 4 * heads * splits * WARPS * (headDim + EXTRA);
}

/** How `length` positions are shared: `each` to a CTA, a whole number of turns, so that `active` CTAs have some. */
function shares(length: U32, { headDim, splits }: DecodeShape): { readonly each: U32; readonly active: U32 } {
  const turn = turnOf(headDim);
  const turns = length.add(turn - 1).div(turn);
  const turnsEach = turns.add(splits - 1).div(splits);
  return { each: turnsEach.mul(turn), active: turns.add(turnsEach).sub(1).div(turnsEach) };
}

interface Query {
  /** This lane's dimensions, scaled so that scores are powers of two. */
  readonly values: readonly F32[];
  readonly most: Var<F32>;
  readonly weight: Var<F32>;
  readonly sums: readonly Var<F32>[];
}

/** Grid: decodeGrid(shape). Errors: RangeError unless headDim is a multiple of 8 up to 256 and kvHeads divides heads. */
export function decodeAttention(shape: DecodeShape): Program<DecodeParams> {
  const { heads, kvHeads, headDim, context, splits } = shape;
  requireMultiple('the head dimension', headDim, PER_LOAD);
  requireMultiple('the number of heads', heads, kvHeads);
  const [queries, lanes, turn] = [queriesOf(shape), lanesOf(headDim), turnOf(headDim)];
  const keysOfLoad = 32 / lanes;
  const parts = heads / kvHeads / queries;
  const params: DecodeParams = { qkv: 'f16*', keys: 'f16*', values: 'f16*', partial: 'f32*', state: 'u32*' };
  const name = `attention_decode_${heads}_${kvHeads}_${headDim}_${context}_${splits}`;
  return kernel(
    { name, threads: THREADS, target: targetOf(shape), params },
    (k, { qkv, keys, values, partial, state }) => {
      awaitInputs(k, shape);
      const length = stateOf(k, state, STATE_POSITION).add(1);
      const { each } = shares(length, shape);
      const begin = k.cta.x.mul(each);
      k.if(begin.lt(length), () => {
        const end = begin.add(each).min(length);
        const warp = k.shflIdx(k.warp, 0);
        const [keyOfLoad, part] = [k.lane.div(lanes), k.lane.mod(lanes)];
        const dim = part.mul(PER_LOAD).min(headDim - PER_LOAD);
        const firstHead = k.cta.y.mul(queries);
        const all = Array.from({ length: queries }, (_, i) => {
          const loaded = floatsOf(k.ldGlobal(qkv.at(firstHead.add(i).mul(headDim).add(dim)), 4));
          return newQuery(k, loaded, k.select(part.lt(headDim / PER_LOAD), f32(LOG2_E / Math.sqrt(headDim)), f32(0)));
        });
        const head = k.cta.y.div(parts).mul(context);
        k.loop(begin.add(warp.mul(keysOfLoad * UNROLL)), end, turn, (first) => {
          const places = Array.from({ length: UNROLL }, (_, i) => first.add(keyOfLoad).add(i * keysOfLoad));
          const from = places.map((place) =>
            head
              .add(place.min(length.sub(1)))
              .mul(headDim)
              .add(dim),
          );
          const keyWords = from.map((at) => k.ldGlobal(keys.at(at), 4));
          const valueWords = from.map((at) => k.ldGlobal(values.at(at), 4));
          const valid = places.map((place) => place.lt(end));
          const loadedKeys = keyWords.map((words) => floatsOf(words));
          const weights = all.map((query) => {
            const scores = loadedKeys.map((key, i) =>
              k.select(valid[i]!, laneSum(k, dot(query.values, key), lanes), f32(LEAST)),
            );
            const most = scores.reduce<F32>((most, score) => most.max(score), query.most);
            rescale(query, most);
            return scores.map((score, i) => k.select(valid[i]!, score.sub(most).exp2(), f32(0)));
          });
          for (const [i, words] of valueWords.entries()) {
            const value = floatsOf(words);
            for (const [q, { weight, sums }] of all.entries()) {
              weight.set(weight.add(weights[q]![i]!));
              for (const [d, sum] of sums.entries()) sum.set(weights[q]![i]!.fma(value[d]!, sum));
            }
          }
        });
        for (const [i, query] of all.entries()) {
          mergeLanes(k, query, lanes);
          const place = firstHead
            .add(i)
            .mul(splits * WARPS)
            .add(k.cta.x.mul(WARPS))
            .add(warp);
          const to = partial.at(place.mul(headDim + EXTRA));
          k.if(k.lane.lt(headDim / PER_LOAD), () => {
            storeFloats(k, to.at(dim), query.sums.slice(0, 4));
            storeFloats(k, to.at(dim.add(4)), query.sums.slice(4));
          });
          k.if(k.lane.eq(0), () => storeFloats(k, to.at(headDim), [query.most, query.weight, f32(0), f32(0)]));
        }
      });
    },
  );
}

function newQuery(k: K, loaded: readonly F32[], scale: F32): Query {
  return {
    values: loaded.map((value) => value.mul(scale)),
    most: k.var(f32(LEAST)),
    weight: k.var(f32(0)),
    sums: loaded.map(() => k.var(f32(0))),
  };
}

function dot(a: readonly F32[], b: readonly F32[]): F32 {
  return a.reduce<F32>((sum, value, i) => value.fma(b[i]!, sum), f32(0));
}

/** From now on weights are relative to `most`. */
function rescale({ most: before, weight, sums }: Query, most: F32): void {
  const factor = before.sub(most).exp2();
  before.set(most);
  weight.set(weight.mul(factor));
  for (const sum of sums) sum.set(sum.mul(factor));
}

/** Brings together what lanes of the same dimensions have of different keys. */
function mergeLanes(k: K, query: Query, lanes: number): void {
  const { most, weight, sums } = query;
  for (let mask = lanes; mask < 32; mask *= 2) {
    rescale(query, most.max(k.shflBfly<F32>(most, mask)));
    for (const value of [weight, ...sums]) value.set(value.add(k.shflBfly<F32>(value, mask)));
  }
}

/** Partials whose loads are under way together. */
const TOGETHER = 8;

/** Merges the partial softmaxes of a head. Grid: [heads]. */
export function combineAttention(shape: DecodeShape): Program<CombineParams> {
  const { heads, headDim, splits } = shape;
  requireMultiple('the head dimension', headDim, 32);
  const pitch = headDim + EXTRA;
  const params: CombineParams = { partial: 'f32*', y: 'f16*', state: 'u32*' };
  const name = `attention_combine_${heads}_${headDim}_${splits}`;
  return kernel({ name, threads: headDim, target: targetOf(shape), params }, (k, { partial, y, state }) => {
    awaitInputs(k, shape);
    const count = shares(stateOf(k, state, STATE_POSITION).add(1), shape).active.mul(WARPS);
    const mine = partial.at(k.cta.x.mul(splits * WARPS * pitch));
    const most = k.var(f32(LEAST));
    k.loop(0, count, 32, (first) => {
      const place = first.add(k.lane).min(count.sub(1));
      most.set(most.max(k.ldF32(mine.at(place.mul(pitch).add(headDim)))));
    });
    for (let mask = 16; mask >= 1; mask /= 2) most.set(most.max(k.shflBfly<F32>(most, mask)));
    const [weight, sum] = [k.var(f32(0)), k.var(f32(0))];
    k.loop(0, count, TOGETHER, (first) => {
      const places = Array.from({ length: TOGETHER }, (_, i) => first.add(i));
      const loaded = places.map((place) => {
        const from = mine.at(place.min(count.sub(1)).mul(pitch));
        return {
          value: k.ldF32(from.at(k.thread)),
          its: k.ldF32(from.at(headDim)),
          total: k.ldF32(from.at(headDim + 1)),
        };
      });
      for (const [i, { value, its, total }] of loaded.entries()) {
        const factor = k.select(places[i]!.lt(count), its.sub(most).exp2(), f32(0));
        weight.set(factor.fma(total, weight));
        sum.set(factor.fma(value, sum));
      }
    });
    k.stB16(y.at(k.cta.x.mul(headDim).add(k.thread)), sum.div(weight).toF16());
  });
}
