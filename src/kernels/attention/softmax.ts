// Softmaxes in the making (Milakov and Gimelshein 2018): sums weighted relative to the largest score so far, which several can build and then merge.
// Knows no cache and no grid.
import type { K } from '../../ptx/trace.ts';
import { type B32, type F32, f32, type Pred, type U32, u32, type Var } from '../../ptx/values.ts';
import { floatsOf, laneSum } from '../vectors.ts';

/** Below every score, and finite, so that differences are numbers. */
export const LEAST = -1e30;

/** As much of a softmax as somebody has seen. */
export interface Softmax {
  readonly most: Var<F32>;
  readonly weight: Var<F32>;
  readonly sums: readonly Var<F32>[];
}

/** A lane's dimensions of one query, scaled so that scores are powers of two, and what it has seen. */
export interface Query extends Softmax {
  readonly values: readonly F32[];
}

/** A lane's dimensions of a position. */
export interface Position {
  readonly key: readonly F32[];
  readonly value: readonly B32[];
  readonly valid: Pred;
}

export function newSoftmax(k: K, dimensions: number): Softmax {
  return {
    most: k.var(f32(LEAST)),
    weight: k.var(f32(0)),
    sums: Array.from({ length: dimensions }, () => k.var(f32(0))),
  };
}

/** Takes positions into all queries; `lanes` lanes share a key. */
export function absorb(k: K, queries: readonly Query[], lanes: number, positions: readonly Position[]): void {
  const weights = queries.map((query) => {
    const scores = positions.map(({ key, valid }) =>
      k.select(valid, laneSum(k, dot(query.values, key), lanes), f32(LEAST)),
    );
    const most = scores.reduce<F32>((most, score) => most.max(score), query.most);
    rescale(query, most);
    return scores.map((score, i) => k.select(positions[i]!.valid, score.sub(most).exp2(), f32(0)));
  });
  for (const [i, { value: words }] of positions.entries()) {
    const value = floatsOf(words);
    for (const [q, { weight, sums }] of queries.entries()) {
      weight.set(weight.add(weights[q]![i]!));
      for (const [d, sum] of sums.entries()) sum.set(weights[q]![i]!.fma(value[d]!, sum));
    }
  }
}

function dot(a: readonly F32[], b: readonly F32[]): F32 {
  return a.reduce<F32>((sum, value, i) => value.fma(b[i]!, sum), f32(0));
}

/** From now on weights are relative to `most`. */
function rescale({ most: before, weight, sums }: Softmax, most: F32): void {
  const factor = before.sub(most).exp2();
  before.set(most);
  weight.set(weight.mul(factor));
  for (const sum of sums) sum.set(sum.mul(factor));
}

/** Brings together what lanes of the same dimensions have of different keys. */
export function mergeLanes(k: K, softmax: Softmax, lanes: number): void {
  const { most, weight, sums } = softmax;
  for (let mask = lanes; mask < 32; mask *= 2) {
    rescale(softmax, most.max(k.shflBfly<F32>(most, mask)));
    for (const value of [weight, ...sums]) value.set(value.add(k.shflBfly<F32>(value, mask)));
  }
}

/** What another has of one dimension. */
export interface Part {
  readonly value: F32;
  readonly most: F32;
  readonly weight: F32;
}

/** Takes parts into a softmax of one dimension, in order. */
export function merge(into: Softmax, parts: readonly Part[]): void {
  const largest = parts.reduce<F32>((most, part) => most.max(part.most), into.most);
  rescale(into, largest);
  for (const { value, most, weight } of parts) {
    const factor = most.sub(largest).exp2();
    into.weight.set(factor.fma(weight, into.weight));
    for (const sum of into.sums) sum.set(factor.fma(value, sum));
  }
}

/** Parts whose loads are under way together, for each of so many dimensions of a thread. */
const TOGETHER = 8;
const DIMENSIONS = 4;

/** Merges, for each of `items` dimensions, which the threads of a CTA share, `count` parts in their order. */
export function mergeParts(
  k: K,
  {
    items,
    threads,
    count,
    load,
    store,
  }: {
    readonly items: number;
    readonly threads: number;
    readonly count: U32;
    readonly load: (item: U32, part: U32) => Part;
    readonly store: (item: U32, merged: Softmax) => void;
  },
): void {
  const each = Math.min(DIMENSIONS, Math.ceil(items / threads));
  k.loop(k.thread, u32(items), threads * each, (first) => {
    const own = Array.from({ length: each }, (_, i) => first.add(i * threads));
    const softmaxes = own.map(() => newSoftmax(k, 1));
    k.loop(0, count, TOGETHER, (begin) => {
      const places = Array.from({ length: TOGETHER }, (_, i) => begin.add(i));
      const loaded = own.map((item) =>
        places.map((place) => {
          const part = load(item.min(items - 1), place.min(count.sub(1)));
          return { ...part, most: k.select(place.lt(count), part.most, f32(LEAST)) };
        }),
      );
      for (const [i, parts] of loaded.entries()) merge(softmaxes[i]!, parts);
    });
    for (const [i, item] of own.entries()) k.if(item.lt(items), () => store(item, softmaxes[i]!));
  });
}
