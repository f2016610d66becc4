// X^T X of activations, which second-order quantizers want (Frantar et al. 2022, GPTQ), in integers: two tokens a multiplication, twice as fast as f32. Each
// column of 128 tokens is rounded to 12 bits of its largest; what that adds to a sum is 1e-7 of the diagonal, where a ten thousand times as much is added on
// purpose. Columns come in panels of 24, that are 3 right sides of 8 and 6 left sides of 4: more sums
// would not fit the registers beside a product on its way (6 x 8: 61 GFLOP/s).
import { roundToInts } from './simd';

const WIDE: usize = 24;
const LEFT: usize = 4;
const RIGHT: usize = 8;
/** Tokens that share scales: their sums of products of 12 bits fit 32. Two panels of them fit into the first cache: 6 KB each. */
const CHUNK: usize = 128;
/** Bytes of two tokens in a panel, and of a row of sums of it. */
const STEP: usize = WIDE * 4;
/** Bytes of a chunk in a panel: its tokens, then its scales. */
const CHUNK_BYTES: usize = (CHUNK / 2) * STEP + STEP;
const LARGEST: f32 = 2047;

/**
 * Panels [begin, end) of x: packed[panel][chunk] of [CHUNK / 2][24] pairs of i16, then [24] f32 scales; zeros beyond the width and the tokens.
 * @param x [tokens][xStride / 4] f32, readable up to a whole panel
 */
export function gramPack(x: usize, xStride: usize, tokens: usize, width: usize, packed: usize, begin: usize, end: usize): void {
  const chunks = (tokens + CHUNK - 1) / CHUNK;
  for (let panel: usize = begin; panel < end; panel++) {
    const columns = min<usize>(WIDE, width - panel * WIDE);
    for (let chunk: usize = 0; chunk < chunks; chunk++) {
      const from = x + panel * STEP + chunk * CHUNK * xStride, count = min<usize>(CHUNK, tokens - chunk * CHUNK);
      const to = packed + (panel * chunks + chunk) * CHUNK_BYTES, scales = to + (CHUNK / 2) * STEP;
      for (let column: usize = 0; column < WIDE; column += 4) packColumns(from, xStride, count, column, columns, to, scales);
    }
  }
}

/** Four columns of a chunk. */
@inline
function packColumns(from: usize, xStride: usize, count: usize, column: usize, columns: usize, to: usize, scales: usize): void {
  // Which of the four there are.
  const inside = i32x4.lt_s(i32x4.add(i32x4.splat(<i32>column), i32x4(0, 1, 2, 3)), i32x4.splat(<i32>columns));
  let most = f32x4.splat(0);
  let at = from + (column << 2);
  for (let token: usize = 0; token < count; token++, at += xStride) most = f32x4.max(most, f32x4.abs(v128.load(at)));
  most = v128.and(most, inside);
  const scale = f32x4.mul(most, f32x4.splat(1 / LARGEST));
  v128.store(scales + (column << 2), scale);
  // A column of zeros: anything times it is 0.
  const inverse = v128.and(f32x4.div(f32x4.splat(LARGEST), f32x4.max(most, f32x4.splat(1e-30))), inside);
  at = from + (column << 2);
  for (let pair: usize = 0; pair < CHUNK; pair += 2) {
    let word = i32x4.splat(0);
    if (pair < count) {
      word = v128.and(roundToInts(v128.and(v128.load(at), inside), inverse), i32x4.splat(0xffff));
      at += xStride;
      if (pair + 1 < count) {
        word = v128.or(word, i32x4.shl(roundToInts(v128.and(v128.load(at), inside), inverse), 16));
        at += xStride;
      }
    }
    v128.store(to + (pair >> 1) * STEP + (column << 2), word);
  }
}

/**
 * h += x^T x for rows in panels [begin, end), and only columns of the same panel and later ones; h [panels * 24][panels * 24] f32.
 * @param packed as gramPack leaves it
 */
export function gram(packed: usize, tokens: usize, panels: usize, h: usize, begin: usize, end: usize): void {
  const stride = panels * STEP, chunks = (tokens + CHUNK - 1) / CHUNK;
  for (let row: usize = begin; row < end; row++) {
    for (let column: usize = row; column < panels; column++) {
      const tile = h + row * WIDE * stride + column * STEP;
      for (let chunk: usize = 0; chunk < chunks; chunk++) {
        const left = packed + (row * chunks + chunk) * CHUNK_BYTES, right = packed + (column * chunks + chunk) * CHUNK_BYTES;
        for (let i: usize = 0; i < WIDE; i += LEFT)
          for (let j: usize = 0; j < WIDE; j += RIGHT)
            tile4(left + (i << 2), right + (j << 2), tile + i * stride + (j << 2), stride);
      }
    }
  }
}

@inline
function madd16(a: v128, b: v128, sum: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(a, b));
}

/** Four columns of the left panel times eight of the right, over a chunk, added to c. */
@inline
function tile4(a: usize, b: usize, c: usize, stride: usize): void {
  let s00 = i32x4.splat(0), s01 = i32x4.splat(0), s10 = i32x4.splat(0), s11 = i32x4.splat(0);
  let s20 = i32x4.splat(0), s21 = i32x4.splat(0), s30 = i32x4.splat(0), s31 = i32x4.splat(0);
  const end = a + (CHUNK / 2) * STEP;
  for (; a < end; a += STEP) {
    const left = v128.load(b), right = v128.load(b, 16);
    const x0 = v128.load_splat<i32>(a); s00 = madd16(x0, left, s00); s01 = madd16(x0, right, s01);
    const x1 = v128.load_splat<i32>(a, 4); s10 = madd16(x1, left, s10); s11 = madd16(x1, right, s11);
    const x2 = v128.load_splat<i32>(a, 8); s20 = madd16(x2, left, s20); s21 = madd16(x2, right, s21);
    const x3 = v128.load_splat<i32>(a, 12); s30 = madd16(x3, left, s30); s31 = madd16(x3, right, s31);
    b += STEP;
  }
  // Both have come to their scales.
  const left = v128.load(b), right = v128.load(b, 16);
  put(c, s00, s01, a, left, right); put(c + stride, s10, s11, a + 4, left, right);
  put(c + 2 * stride, s20, s21, a + 8, left, right); put(c + 3 * stride, s30, s31, a + 12, left, right);
}

@inline
function put(c: usize, s0: v128, s1: v128, rowScale: usize, left: v128, right: v128): void {
  const scale = v128.load_splat<f32>(rowScale);
  v128.store(c, f32x4.add(v128.load(c), f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(s0), scale), left)));
  v128.store(c, f32x4.add(v128.load(c, 16), f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(s1), scale), right)), 16);
}
