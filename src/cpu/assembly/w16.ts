// Products with 16-bit weights (f16 or bf16), computed in f32.
// f16 weights arrive multiplied by a power of two that leaves none of them subnormal (the host does it, exactly), so a half becomes a float
// by moving bits, with the exponent too small by 112; `scale` (2^112 over that power) is applied to the sums. For bf16 it is 1.
import { HALF_MASK, halfMask, madd, sumLanes } from './simd';
import { PANEL, panelRows } from './panel';

/** Four f32 from halves in the upper bits of their lanes: an f16's sign and magnitude move to f32's places, copies of the sign are cleared. */
@inline
function widen(upper: v128, bf16: bool, mask: v128): v128 {
  return bf16 ? upper : v128.and(i32x4.shr_s(upper, 3), mask);
}

@inline
function widenLow(halves: v128, bf16: bool, mask: v128): v128 {
  return widen(v128.shuffle<i16>(i16x8.splat(0), halves, 0, 8, 1, 9, 2, 10, 3, 11), bf16, mask);
}

@inline
function widenHigh(halves: v128, bf16: bool, mask: v128): v128 {
  return widen(v128.shuffle<i16>(i16x8.splat(0), halves, 4, 12, 5, 13, 6, 14, 7, 15), bf16, mask);
}

/**
 * y[row] (+)= w[row] . x for rows [begin, end), one token.
 * @param w [rows][stride / 2] halves, stride a multiple of 16 bytes with zeros beyond K
 * @param x [stride / 2] f32
 * @param add 1 to add to y, 0 to overwrite
 */
export function w16Vector(w: usize, stride: usize, bf16: bool, scale: f32, x: usize, y: usize, add: bool, begin: usize, end: usize): void {
  if (bf16) vector(w, stride, true, scale, x, y, add, begin, end);
  else vector(w, stride, false, scale, x, y, add, begin, end);
}

/** `bf16` is a literal where this is inlined: a choice inside the loop would halve the speed. */
@inline
function vector(w: usize, stride: usize, bf16: bool, scale: f32, x: usize, y: usize, add: bool, begin: usize, end: usize): void {
  const mask = halfMask();
  // Row after row, so that the weights are one stream; four pairs of sums hide the latency of the additions.
  for (let row: usize = begin; row < end; row++) {
    let from = w + row * stride, a = x;
    let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
    const stop = from + stride, wholeStop = from + (stride & ~31);
    for (; from < wholeStop; from += 32) {
      const left = v128.load(from), right = v128.load(from, 16);
      s0 = madd(widenLow(left, bf16, mask), v128.load(a), s0);
      s1 = madd(widenHigh(left, bf16, mask), v128.load(a, 16), s1);
      s2 = madd(widenLow(right, bf16, mask), v128.load(a, 32), s2);
      s3 = madd(widenHigh(right, bf16, mask), v128.load(a, 48), s3);
      a += 64;
    }
    if (from < stop) {
      const left = v128.load(from);
      s0 = madd(widenLow(left, bf16, mask), v128.load(a), s0);
      s1 = madd(widenHigh(left, bf16, mask), v128.load(a, 16), s1);
    }
    put(y + (row << 2), sumLanes(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3))) * scale, add);
  }
}

@inline
function put(address: usize, value: f32, add: bool): void {
  store<f32>(address, add ? load<f32>(address) + value : value);
}

/**
 * y[token][row] (+)= w[row] . x[token] for panels [begin, end) of 8 rows, many tokens. Each panel is widened once into `scratch`
 * ([stride / 2][8] f32) and used for all tokens.
 * @param x [tokens][xStride / 4] f32; `y` [tokens][yStride / 4] f32 with yStride covering whole panels
 * @param rows rows of w; a last panel of fewer than 8 repeats the last row, and the repeats land beyond the row's end inside yStride
 */
export function w16Matrix(
  w: usize, stride: usize, rows: usize, bf16: bool, scale: f32,
  x: usize, xStride: usize, tokens: usize, y: usize, yStride: usize, add: bool,
  scratch: usize, begin: usize, end: usize,
): void {
  const count = stride >> 1;
  for (let panel: usize = begin; panel < end; panel++) {
    for (let column: usize = 0; column < PANEL; column++) {
      widenColumn(w + min(panel * PANEL + column, rows - 1) * stride, stride, bf16, scale, scratch + (column << 2));
    }
    const out = y + (panel << 5);
    panelRows(x, xStride, tokens, scratch, count, out, yStride, add);
  }
}

/** One row of halves into one column of a panel, scaled. */
@inline
function widenColumn(row: usize, stride: usize, bf16: bool, scale: f32, target: usize): void {
  const end = row + stride;
  for (; row < end; row += 2) {
    const half = <i32>load<i16>(row);
    const bits = bf16 ? half << 16 : (half << 13) & HALF_MASK;
    store<f32>(target, reinterpret<f32>(bits) * scale);
    target += 32;
  }
}

/** Rows of a 16-bit table by token id: y[i] = table[ids[i]], widened to f32. Rows as in w16Vector; y rows are yStride bytes. */
export function w16Rows(w: usize, stride: usize, bf16: bool, scale: f32, ids: usize, count: usize, y: usize, yStride: usize): void {
  for (let i: usize = 0; i < count; i++) {
    let row = w + <usize>load<u32>(ids + (i << 2)) * stride;
    const end = row + stride;
    for (let out = y + i * yStride; row < end; row += 2) {
      const half = <i32>load<i16>(row);
      const bits = bf16 ? half << 16 : (half << 13) & HALF_MASK;
      store<f32>(out, reinterpret<f32>(bits) * scale);
      out += 4;
    }
  }
}
