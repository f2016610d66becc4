// Attention of one query a sequence, with what comes before and after it: queries and the new key are rotated, key and value go into the cache, CTAs share
// the positions, warps and lanes those of a CTA, and the CTA that comes last merges what all have. The grid is that of the whole context, so that one
// graph serves every position.
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import type { Global } from '../../ptx/pointers.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type F32, f32, type U32, u32 } from '../../ptx/values.ts';
import {
  awaitInputs,
  floatsOf,
  halvesOf,
  loadFloats,
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
import { absorb, merge, mergeLanes, mergeParts, newSoftmax, type Softmax } from './softmax.ts';

export type DecodeParams = {
  /** [heads + 2 kvHeads, headDim]: queries, the new key, the new value; not rotated yet. */
  readonly qkv: 'f16*';
  /** [kvHeads, context, headDim]; the new one is added. */
  readonly keys: 'f16*';
  readonly values: 'f16*';
  /** [context, headDim / 2] */
  readonly cosines: 'f32*';
  readonly sines: 'f32*';
  /** [heads, splits, headDim + 4]: weighted values, then their largest score and the sum of their weights. */
  readonly partial: 'f32*';
  /** [decodeGrid's second]: CTAs that have handed over; zero before the first launch and after each. */
  readonly counters: 'u32*';
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
  return 4 * heads * splits * (headDim + EXTRA);
}

/** Bytes of the counters. */
export function counterBytes(shape: DecodeShape): number {
  return 4 * decodeGrid(shape)[1];
}

/** How `length` positions are shared: `each` to a CTA, a whole number of turns, so that `active` CTAs have some. */
function shares(length: U32, { headDim, splits }: DecodeShape): { readonly each: U32; readonly active: U32 } {
  const turn = turnOf(headDim);
  const turns = length.add(turn - 1).div(turn);
  const turnsEach = turns.add(splits - 1).div(splits);
  return { each: turnsEach.mul(turn), active: turns.add(turnsEach).sub(1).div(turnsEach) };
}

/** Grid: decodeGrid(shape). Errors: RangeError unless headDim is a multiple of 32 up to 256 and kvHeads divides heads. */
export function decodeAttention(shape: DecodeShape): Program<DecodeParams> {
  const { heads, kvHeads, headDim, context, splits } = shape;
  requireMultiple('the head dimension', headDim, 32);
  requireMultiple('the number of heads', heads, kvHeads);
  const [queries, lanes, turn] = [queriesOf(shape), lanesOf(headDim), turnOf(headDim)];
  const keysOfLoad = 32 / lanes;
  const parts = heads / kvHeads / queries;
  const pitch = headDim + EXTRA;
  const partTile = rows('f32', [queries * WARPS, pitch]);
  const params: DecodeParams = {
    qkv: 'f16*',
    keys: 'f16*',
    values: 'f16*',
    cosines: 'f32*',
    sines: 'f32*',
    partial: 'f32*',
    counters: 'u32*',
    y: 'f16*',
    state: 'u32*',
  };
  const name = `attention_decode_${heads}_${kvHeads}_${headDim}_${context}_${splits}`;
  return kernel(
    { name, threads: THREADS, target: targetOf(shape), params },
    (k, { qkv, keys, values, cosines, sines, partial, counters, y, state }) => {
      const [sParts, message] = [k.shared(partTile), k.shared(rows('u32', [1, 1]))];
      awaitInputs(k, shape);
      const position = stateOf(k, state, STATE_POSITION);
      const length = position.add(1);
      const { each, active } = shares(length, shape);
      const begin = k.cta.x.mul(each);
      const firstHead = k.cta.y.mul(queries);
      k.if(begin.lt(length), () => {
        const end = begin.add(each).min(length);
        const warp = k.shflIdx(k.warp, 0);
        const [keyOfLoad, part] = [k.lane.div(lanes), k.lane.mod(lanes)];
        const dim = part.mul(PER_LOAD).min(headDim - PER_LOAD);
        const hasDim = part.lt(headDim / PER_LOAD);
        const turned = rotation(k, dim, position, headDim, { cosines, sines });
        const scale = k.select(hasDim, f32(LOG2_E / Math.sqrt(headDim)), f32(0));
        const all = Array.from({ length: queries }, (_, i) => {
          const rotated = turned(qkv.at(firstHead.add(i).mul(headDim)));
          return { ...newSoftmax(k, PER_LOAD), values: rotated.map((value) => value.mul(scale)) };
        });
        const kvHead = k.cta.y.div(parts);

        // Another CTA may be storing the new position into the cache just now: its key and value come from where they were made.
        k.if(end.eq(length), () =>
          k.if(warp.eq(0), () => {
            const ofHead = (kind: number) => qkv.at(kvHead.add(heads + kind * kvHeads).mul(headDim));
            const key = halvesOf(turned(ofHead(0)));
            const value = k.ldGlobal(ofHead(1).at(dim), 4);
            const first = keyOfLoad.eq(0);
            absorb(k, all, lanes, [{ key: floatsOf(key), value, valid: first }]);
            k.if(k.cta.y.mod(parts).eq(0), () =>
              k.if(first, () =>
                k.if(hasDim, () => {
                  const place = kvHead.mul(context).add(position).mul(headDim).add(dim);
                  k.stGlobal(keys.at(place), [key[0]!, key[1]!, key[2]!, key[3]!]);
                  k.stGlobal(values.at(place), [value[0]!, value[1]!, value[2]!, value[3]!]);
                }),
              ),
            );
          }),
        );
        const cached = end.min(position);
        k.loop(begin.add(warp.mul(keysOfLoad * UNROLL)), cached, turn, (first) => {
          const places = Array.from({ length: UNROLL }, (_, i) => first.add(keyOfLoad).add(i * keysOfLoad));
          const from = places.map((place) =>
            kvHead
              .mul(context)
              .add(place.min(cached.sub(1)))
              .mul(headDim)
              .add(dim),
          );
          const keyWords = from.map((at) => k.ldGlobal(keys.at(at), 4));
          const valueWords = from.map((at) => k.ldGlobal(values.at(at), 4));
          const loaded = places.map((place, i) => ({
            key: floatsOf(keyWords[i]!),
            value: valueWords[i]!,
            valid: place.lt(cached),
          }));
          absorb(k, all, lanes, loaded);
        });
        for (const [i, query] of all.entries()) {
          mergeLanes(k, query, lanes);
          const to = sParts.at(partTile.at(warp.add(i * WARPS), 0));
          const stored = (at: U32, four: readonly F32[]): void => {
            const [a, b, c, d] = four.map((value) => value.asB32());
            k.stShared(to.at(at), [a!, b!, c!, d!]);
          };
          k.if(k.lane.lt(headDim / PER_LOAD), () => {
            // First the lower four dimensions of all lanes: stores of 16 bytes side by side meet different banks.
            stored(part.mul(4), query.sums.slice(0, 4));
            stored(part.mul(4).add(headDim / 2), query.sums.slice(4));
          });
          k.if(k.lane.eq(0), () => stored(u32(headDim), [query.most, query.weight, f32(0), f32(0)]));
        }
        k.barSync();

        // ---- the warps' parts, a thread a dimension at a time
        const store = (head: U32, at: U32, { weight, sums }: Softmax): void =>
          k.stB16(y.at(head.mul(headDim).add(at)), sums[0]!.div(weight).toF16());
        const partOf = (head: U32, split: U32) => partial.at(head.mul(splits).add(split).mul(pitch));
        k.loop(k.thread, u32(queries * headDim), THREADS, (item) => {
          const [query, word] = [item.div(headDim), item.mod(headDim)];
          const inHalf = word.mod(headDim / 2);
          const at = inHalf
            .div(4)
            .mul(8)
            .add(inHalf.mod(4))
            .add(word.div(headDim / 2).mul(4));
          const merged = newSoftmax(k, 1);
          const ofWarp = Array.from({ length: WARPS }, (_, i) => {
            const from = sParts.at(query.mul(WARPS).add(i).mul(pitch));
            const load = (index: U32 | number): F32 => k.ldShared(from.at(index), 1)[0]!.asF32();
            return { value: load(word), most: load(headDim), weight: load(headDim + 1) };
          });
          merge(merged, ofWarp);
          const head = firstHead.add(query);
          k.if(
            active.eq(1),
            () => store(head, at, merged),
            () => {
              const to = partOf(head, k.cta.x);
              k.stF32(to.at(at), merged.sums[0]!);
              k.if(at.eq(0), () => storeFloats(k, to.at(headDim), [merged.most, merged.weight, f32(0), f32(0)]));
            },
          );
        });

        // ---- the CTAs' parts, in the one that comes last
        k.if(active.gt(1), () => {
          // The barrier hands the stores of all threads to the one that counts, which hands them on with what it adds.
          k.barSync();
          const counter = counters.at(k.cta.y);
          k.if(k.thread.eq(0), () => {
            const before = k.atomAdd(counter, u32(1), { order: 'acq_rel' });
            k.stShared(message, [before.asB32()]);
          });
          k.barSync();
          const before = k.ldShared(message, 1)[0]!.asU32();
          k.if(before.eq(active.sub(1)), () => {
            k.if(k.thread.eq(0), () => k.stRelaxed(counter, 0));
            const place = (item: U32) => [firstHead.add(item.div(headDim)), item.mod(headDim)] as const;
            mergeParts(k, {
              items: queries * headDim,
              threads: THREADS,
              count: active,
              load: (item, split) => {
                const [head, at] = place(item);
                const from = partOf(head, split);
                return {
                  value: k.ldF32(from.at(at)),
                  most: k.ldF32(from.at(headDim)),
                  weight: k.ldF32(from.at(headDim + 1)),
                };
              },
              store: (item, merged) => store(...place(item), merged),
            });
          });
        });
      });
    },
  );
}

/** Rotates a lane's dimensions of a head, from `dim` on, to `position`: pairs (i, i + headDim / 2) turn together. */
function rotation(
  k: K,
  dim: U32,
  position: U32,
  headDim: number,
  { cosines, sines }: { readonly cosines: Global<'f32'>; readonly sines: Global<'f32'> },
): (head: Global<'f16'>) => readonly F32[] {
  const half = headDim / 2;
  const isFirst = dim.lt(half);
  const other = k.select(isFirst, dim.add(half), dim.sub(half));
  const angles = position.mul(half).add(k.select(isFirst, dim, other));
  const table = (from: Global<'f32'>) => [0, 4].flatMap((at) => loadFloats(k, from.at(angles.add(at))));
  const cos = table(cosines);
  const sin = table(sines).map((value) => k.select(isFirst, value.neg(), value));
  return (head) => {
    const [own, others] = [dim, other].map((at) => floatsOf(k.ldGlobal(head.at(at), 4)));
    return own!.map((value, i) => others![i]!.fma(sin[i]!, value.mul(cos[i]!)));
  };
}
