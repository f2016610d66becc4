// Rotation, the key/value cache and causal attention with grouped queries, in f32.
//
// Cache of one layer: keys [kvHeads][capacity / 8][headDim][8] (a panel per 8 positions), values [kvHeads][headDim / 8][capacity][8]
// (a panel per 8 dimensions): both products of attention then are rows times panels. capacity and headDim are multiples of 32.
import { exp4, maxLanes, sumLanes } from './simd';
import { PANEL, PANEL_ROWS, panel6, row4 } from './panel';

/**
 * Rotary position embedding (Su et al. 2021, Hugging Face's half-split form) of queries in place, and of keys into the cache; values are copied.
 * @param qkv [tokens][stride / 4] f32: heads, then kvHeads keys, then kvHeads values, headDim each
 * @param cosines, sines [capacity][headDim / 2] f32
 * @param position of the first token
 */
export function ropeAndStore(
  qkv: usize, stride: usize, heads: usize, kvHeads: usize, headDim: usize, cosines: usize, sines: usize,
  keys: usize, values: usize, capacity: usize, position: usize, begin: usize, end: usize,
): void {
  const half = headDim >> 1;
  for (let token: usize = begin; token < end; token++) {
    const at = position + token;
    const cos = cosines + ((at * half) << 2), sin = sines + ((at * half) << 2);
    let q = qkv + token * stride;
    for (let head: usize = 0; head < heads; head++) {
      for (let i: usize = 0; i < half << 2; i += 4) {
        const a = load<f32>(q + i), b = load<f32>(q + (half << 2) + i), c = load<f32>(cos + i), s = load<f32>(sin + i);
        store<f32>(q + i, a * c - b * s);
        store<f32>(q + (half << 2) + i, b * c + a * s);
      }
      q += headDim << 2;
    }
    for (let head: usize = 0; head < kvHeads; head++) {
      const to = keys + (((head * (capacity >> 3) + (at >> 3)) * headDim) << 5) + ((at & 7) << 2);
      for (let i: usize = 0; i < half << 2; i += 4) {
        const a = load<f32>(q + i), b = load<f32>(q + (half << 2) + i), c = load<f32>(cos + i), s = load<f32>(sin + i);
        store<f32>(to + (i << 3), a * c - b * s);
        store<f32>(to + ((i + (half << 2)) << 3), b * c + a * s);
      }
      q += headDim << 2;
    }
    for (let head: usize = 0; head < kvHeads; head++) {
      for (let d: usize = 0; d < headDim; d += 8) {
        const to = values + (((head * (headDim >> 3) + (d >> 3)) * capacity + at) << 5);
        v128.store(to, v128.load(q + (d << 2)));
        v128.store(to, v128.load(q + (d << 2), 16), 16);
      }
      q += headDim << 2;
    }
  }
}

/** Turns `count` scores into weights: e^((s - max) * scale), zeros up to the next multiple of 32; returns their sum. */
@inline
function softmaxRow(scores: usize, count: usize, padded: usize, scale: f32): f32 {
  for (let i = count; i < padded; i++) store<f32>(scores + (i << 2), -Infinity);
  let largest = f32x4.splat(-Infinity);
  for (let i: usize = 0; i < padded << 2; i += 16) largest = f32x4.pmax(largest, v128.load(scores + i));
  const shift = f32x4.splat(maxLanes(largest)), factor = f32x4.splat(scale);
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < padded << 2; i += 16) {
    const weight = exp4(f32x4.mul(f32x4.sub(v128.load(scores + i), shift), factor));
    v128.store(scores + i, weight);
    sum = f32x4.add(sum, weight);
  }
  // exp4 gives the masked ones 1e-38: nothing beside a sum of at least 1, but what is in the cache there may not be multiplied in.
  for (let i = count; i < padded; i++) store<f32>(scores + (i << 2), 0);
  return sumLanes(sum);
}

/**
 * Attention of one token (decode) for kv heads [begin, end). out[head] = softmax(q . keys * scale) . values over positions 0..position.
 * @param scratch room for the scores of one row: capacity f32
 */
export function attentionVector(
  q: usize, heads: usize, kvHeads: usize, headDim: usize, scale: f32, keys: usize, values: usize, capacity: usize, position: usize,
  out: usize, scratch: usize, begin: usize, end: usize,
): void {
  const group = heads / kvHeads, count = position + 1, padded = (count + 31) & ~31;
  for (let kv: usize = begin; kv < end; kv++) {
    const k = keys + ((kv * capacity * headDim) << 2), v = values + ((kv * capacity * headDim) << 2);
    for (let head = kv * group; head < (kv + 1) * group; head++) {
      const row = q + ((head * headDim) << 2), to = out + ((head * headDim) << 2);
      for (let at: usize = 0; at < padded; at += 32) row4(row, k + ((at * headDim) << 2), headDim << 5, headDim, scratch + (at << 2));
      const norm = f32x4.splat(<f32>1 / softmaxRow(scratch, count, padded, scale));
      for (let d: usize = 0; d < headDim; d += 32) {
        row4(scratch, v + ((d * capacity) << 2), capacity << 5, count, to + (d << 2));
        for (let i: usize = 0; i < 128; i += 16) v128.store(to + (d << 2) + i, f32x4.mul(v128.load(to + (d << 2) + i), norm));
      }
    }
  }
}

/**
 * Attention of many tokens (prefill), causal: token t sees positions 0..position + t. Items [begin, end) are (block of 6 tokens, head) pairs,
 * item = block * heads + head.
 * @param q [tokens][qStride / 4] f32, heads x headDim; `out` [tokens][outStride / 4]
 * @param scratch 6 rows of `capacity` f32
 */
export function attentionMatrix(
  q: usize, qStride: usize, tokens: usize, heads: usize, kvHeads: usize, headDim: usize, scale: f32,
  keys: usize, values: usize, capacity: usize, position: usize, out: usize, outStride: usize, scratch: usize, begin: usize, end: usize,
): void {
  const group = heads / kvHeads, row = capacity << 2;
  for (let item: usize = begin; item < end; item++) {
    const token = (item / heads) * PANEL_ROWS, head = item % heads, kv = head / group;
    const last = min<usize>(PANEL_ROWS - 1, tokens - 1 - token);
    const t1 = min<usize>(1, last), t2 = min<usize>(2, last), t3 = min<usize>(3, last), t4 = min<usize>(4, last), t5 = last;
    const count = position + token + 1, longest = count + last;
    const padded = (longest + 31) & ~31;
    const k = keys + ((kv * capacity * headDim) << 2), v = values + ((kv * capacity * headDim) << 2);
    const query = q + token * qStride + ((head * headDim) << 2);
    const s1 = scratch + t1 * row, s2 = scratch + t2 * row, s3 = scratch + t3 * row, s4 = scratch + t4 * row, s5 = scratch + t5 * row;
    for (let at: usize = 0; at < longest; at += PANEL) {
      const to = at << 2;
      panel6(
        query, query + t1 * qStride, query + t2 * qStride, query + t3 * qStride, query + t4 * qStride, query + t5 * qStride,
        k + at * (headDim << 2), headDim,
        scratch + to, s1 + to, s2 + to, s3 + to, s4 + to, s5 + to, false,
      );
    }
    for (let t: usize = 0; t <= last; t++) {
      const scores = scratch + t * row;
      normalize(scores, padded, softmaxRow(scores, count + t, padded, scale));
    }
    const to = out + token * outStride + ((head * headDim) << 2);
    const o1 = to + t1 * outStride, o2 = to + t2 * outStride, o3 = to + t3 * outStride, o4 = to + t4 * outStride, o5 = to + t5 * outStride;
    for (let d: usize = 0; d < headDim << 2; d += PANEL << 2) {
      panel6(scratch, s1, s2, s3, s4, s5, v + d * capacity, longest, to + d, o1 + d, o2 + d, o3 + d, o4 + d, o5 + d, false);
    }
  }
}

/** Divides a row of weights by their sum. */
@inline
function normalize(weights: usize, count: usize, sum: f32): void {
  const factor = f32x4.splat(<f32>1 / sum);
  for (let i: usize = 0; i < count << 2; i += 16) v128.store(weights + i, f32x4.mul(v128.load(weights + i), factor));
}
