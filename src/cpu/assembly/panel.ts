// The f32 product that 16-bit weights and attention share: rows of A times a panel of B.
// A panel is 8 columns of B, [k][8] f32, so that one step of k is two vectors; A's rows are read as they lie.
import { madd } from './simd';

export const PANEL: usize = 8;

/** Rows of A that are taken together: 12 sums, which hide the latency of the additions, two vectors of the panel and one weight. */
export const PANEL_ROWS: usize = 6;

/** Six rows of C (f32, 8 columns each) from six rows of A: c[i][0..7] = sum over k of a[i][k] * panel[k][0..7]. `count` steps of k. */
@inline
export function panel6(
  a0: usize, a1: usize, a2: usize, a3: usize, a4: usize, a5: usize,
  panel: usize, count: usize,
  c0: usize, c1: usize, c2: usize, c3: usize, c4: usize, c5: usize, add: bool,
): void {
  let s00 = f32x4.splat(0), s01 = f32x4.splat(0), s10 = f32x4.splat(0), s11 = f32x4.splat(0);
  let s20 = f32x4.splat(0), s21 = f32x4.splat(0), s30 = f32x4.splat(0), s31 = f32x4.splat(0);
  let s40 = f32x4.splat(0), s41 = f32x4.splat(0), s50 = f32x4.splat(0), s51 = f32x4.splat(0);
  const end = panel + (count << 5);
  for (; panel < end; panel += 32) {
    const left = v128.load(panel), right = v128.load(panel, 16);
    const x0 = v128.load_splat<f32>(a0); s00 = madd(x0, left, s00); s01 = madd(x0, right, s01);
    const x1 = v128.load_splat<f32>(a1); s10 = madd(x1, left, s10); s11 = madd(x1, right, s11);
    const x2 = v128.load_splat<f32>(a2); s20 = madd(x2, left, s20); s21 = madd(x2, right, s21);
    const x3 = v128.load_splat<f32>(a3); s30 = madd(x3, left, s30); s31 = madd(x3, right, s31);
    const x4 = v128.load_splat<f32>(a4); s40 = madd(x4, left, s40); s41 = madd(x4, right, s41);
    const x5 = v128.load_splat<f32>(a5); s50 = madd(x5, left, s50); s51 = madd(x5, right, s51);
    a0 += 4; a1 += 4; a2 += 4; a3 += 4; a4 += 4; a5 += 4;
  }
  // All loads before all stores: when fewer than six rows are real the others repeat the last one, and must not add to it again.
  if (add) {
    s00 = f32x4.add(s00, v128.load(c0)); s01 = f32x4.add(s01, v128.load(c0, 16));
    s10 = f32x4.add(s10, v128.load(c1)); s11 = f32x4.add(s11, v128.load(c1, 16));
    s20 = f32x4.add(s20, v128.load(c2)); s21 = f32x4.add(s21, v128.load(c2, 16));
    s30 = f32x4.add(s30, v128.load(c3)); s31 = f32x4.add(s31, v128.load(c3, 16));
    s40 = f32x4.add(s40, v128.load(c4)); s41 = f32x4.add(s41, v128.load(c4, 16));
    s50 = f32x4.add(s50, v128.load(c5)); s51 = f32x4.add(s51, v128.load(c5, 16));
  }
  v128.store(c0, s00); v128.store(c0, s01, 16);
  v128.store(c1, s10); v128.store(c1, s11, 16);
  v128.store(c2, s20); v128.store(c2, s21, 16);
  v128.store(c3, s30); v128.store(c3, s31, 16);
  v128.store(c4, s40); v128.store(c4, s41, 16);
  v128.store(c5, s50); v128.store(c5, s51, 16);
}

/** All rows of A times a panel. `aStride`, `cStride`: bytes from a row to the next. */
@inline
export function panelRows(a: usize, aStride: usize, rows: usize, panel: usize, count: usize, c: usize, cStride: usize, add: bool): void {
  for (let row: usize = 0; row < rows; row += PANEL_ROWS) {
    const last = rows - 1 - row;
    const i1 = row + min<usize>(1, last), i2 = row + min<usize>(2, last), i3 = row + min<usize>(3, last);
    const i4 = row + min<usize>(4, last), i5 = row + min<usize>(5, last);
    panel6(
      a + row * aStride, a + i1 * aStride, a + i2 * aStride, a + i3 * aStride, a + i4 * aStride, a + i5 * aStride,
      panel, count,
      c + row * cStride, c + i1 * cStride, c + i2 * cStride, c + i3 * cStride, c + i4 * cStride, c + i5 * cStride, add,
    );
  }
}

/** One row of A times four panels `step` bytes apart: c[0..31], eight sums in flight. */
@inline
export function row4(a: usize, panel: usize, step: usize, count: usize, c: usize): void {
  let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0), s5 = f32x4.splat(0), s6 = f32x4.splat(0), s7 = f32x4.splat(0);
  let p1 = panel + step, p2 = p1 + step, p3 = p2 + step;
  const end = a + (count << 2);
  for (; a < end; a += 4) {
    const x = v128.load_splat<f32>(a);
    s0 = madd(x, v128.load(panel), s0); s1 = madd(x, v128.load(panel, 16), s1);
    s2 = madd(x, v128.load(p1), s2); s3 = madd(x, v128.load(p1, 16), s3);
    s4 = madd(x, v128.load(p2), s4); s5 = madd(x, v128.load(p2, 16), s5);
    s6 = madd(x, v128.load(p3), s6); s7 = madd(x, v128.load(p3, 16), s7);
    panel += 32; p1 += 32; p2 += 32; p3 += 32;
  }
  v128.store(c, s0); v128.store(c, s1, 16); v128.store(c, s2, 32); v128.store(c, s3, 48);
  v128.store(c, s4, 64); v128.store(c, s5, 80); v128.store(c, s6, 96); v128.store(c, s7, 112);
}
