// X^T X of activations, which second-order quantizers want (Frantar et al. 2022, GPTQ): columns in panels of 24, that are 3 right sides of 8 and 4 left
// sides of 6, so that the tile is that of panel.ts.
import { madd } from './simd';

const WIDE: usize = 24;
const LEFT: usize = 6;
const RIGHT: usize = 8;
/** Bytes of a token in a panel, and of a sum's row of it. */
const STEP: usize = WIDE * 4;
/** Two panels of so many tokens fit into the first cache: 12 KB each. */
const CHUNK: usize = 128;

/**
 * Panels [begin, end) of x: packed[panel][token][24], zeros beyond the width.
 * @param x [tokens][xStride / 4] f32
 */
export function gramPack(x: usize, xStride: usize, tokens: usize, width: usize, packed: usize, begin: usize, end: usize): void {
  for (let panel: usize = begin; panel < end; panel++) {
    const columns = min<usize>(WIDE, width - panel * WIDE);
    let to = packed + panel * tokens * STEP, from = x + panel * STEP;
    for (let token: usize = 0; token < tokens; token++) {
      if (columns == WIDE) {
        v128.store(to, v128.load(from)); v128.store(to, v128.load(from, 16), 16);
        v128.store(to, v128.load(from, 32), 32); v128.store(to, v128.load(from, 48), 48);
        v128.store(to, v128.load(from, 64), 64); v128.store(to, v128.load(from, 80), 80);
      } else {
        for (let column: usize = 0; column < WIDE; column++)
          store<f32>(to + (column << 2), column < columns ? load<f32>(from + (column << 2)) : 0);
      }
      to += STEP; from += xStride;
    }
  }
}

/**
 * h += x^T x for rows in panels [begin, end), and only columns of the same panel and later ones; h [panels * 24][panels * 24] f32.
 * @param packed as gramPack leaves it
 */
export function gram(packed: usize, tokens: usize, panels: usize, h: usize, begin: usize, end: usize): void {
  const stride = panels * STEP;
  for (let row: usize = begin; row < end; row++) {
    for (let column: usize = row; column < panels; column++) {
      const left = packed + row * tokens * STEP, right = packed + column * tokens * STEP;
      const tile = h + row * WIDE * stride + column * STEP;
      for (let token: usize = 0; token < tokens; token += CHUNK) {
        const count = min<usize>(CHUNK, tokens - token), skip = token * STEP;
        for (let i: usize = 0; i < WIDE; i += LEFT)
          for (let j: usize = 0; j < WIDE; j += RIGHT)
            tile6(left + skip + (i << 2), right + skip + (j << 2), count, tile + i * stride + (j << 2), stride);
      }
    }
  }
}

/** Six columns of the left panel times eight of the right, added to c. */
@inline
function tile6(a: usize, b: usize, count: usize, c: usize, stride: usize): void {
  let s00 = f32x4.splat(0), s01 = f32x4.splat(0), s10 = f32x4.splat(0), s11 = f32x4.splat(0);
  let s20 = f32x4.splat(0), s21 = f32x4.splat(0), s30 = f32x4.splat(0), s31 = f32x4.splat(0);
  let s40 = f32x4.splat(0), s41 = f32x4.splat(0), s50 = f32x4.splat(0), s51 = f32x4.splat(0);
  const end = a + count * STEP;
  for (; a < end; a += STEP) {
    const left = v128.load(b), right = v128.load(b, 16);
    const x0 = v128.load_splat<f32>(a); s00 = madd(x0, left, s00); s01 = madd(x0, right, s01);
    const x1 = v128.load_splat<f32>(a, 4); s10 = madd(x1, left, s10); s11 = madd(x1, right, s11);
    const x2 = v128.load_splat<f32>(a, 8); s20 = madd(x2, left, s20); s21 = madd(x2, right, s21);
    const x3 = v128.load_splat<f32>(a, 12); s30 = madd(x3, left, s30); s31 = madd(x3, right, s31);
    const x4 = v128.load_splat<f32>(a, 16); s40 = madd(x4, left, s40); s41 = madd(x4, right, s41);
    const x5 = v128.load_splat<f32>(a, 20); s50 = madd(x5, left, s50); s51 = madd(x5, right, s51);
    b += STEP;
  }
  put(c, s00, s01); put(c + stride, s10, s11); put(c + 2 * stride, s20, s21);
  put(c + 3 * stride, s30, s31); put(c + 4 * stride, s40, s41); put(c + 5 * stride, s50, s51);
}

@inline
function put(c: usize, left: v128, right: v128): void {
  v128.store(c, f32x4.add(v128.load(c), left));
  v128.store(c, f32x4.add(v128.load(c, 16), right), 16);
}
