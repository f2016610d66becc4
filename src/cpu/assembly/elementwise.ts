// Everything of a Llama block that is neither a product nor attention: norms, rotation, activation, rounding of activations.
import { exp4, madd, maxLanes, roundToInts, sumLanes } from './simd';

/**
 * RMS norm (Zhang and Sennrich 2019) of rows [begin, end): y = x * gain / sqrt(mean(x^2) + epsilon).
 * Rows are `stride` bytes, `width` f32 of which count; width is padded to 4 with zeros in x and gain.
 */
export function rmsNorm(x: usize, gain: usize, epsilon: f32, y: usize, width: usize, stride: usize, begin: usize, end: usize): void {
  const bytes = ((width + 3) & ~3) << 2;
  for (let row: usize = begin; row < end; row++) {
    const from = x + row * stride, to = y + row * stride;
    let sum = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) {
      const v = v128.load(from + i);
      sum = madd(v, v, sum);
    }
    const factor = f32x4.splat(1 / sqrt<f32>(sumLanes(sum) / <f32>width + epsilon));
    for (let i: usize = 0; i < bytes; i += 16) v128.store(to + i, f32x4.mul(f32x4.mul(v128.load(from + i), factor), v128.load(gain + i)));
  }
}

/** y = silu(gate) * up for rows [begin, end); a row of x holds gate then up, `width` f32 each; silu(v) = v / (1 + e^-v). */
export function siluMultiply(x: usize, xStride: usize, y: usize, yStride: usize, width: usize, begin: usize, end: usize): void {
  const bytes = width << 2;
  for (let row: usize = begin; row < end; row++) {
    const gate = x + row * xStride, to = y + row * yStride;
    for (let i: usize = 0; i < bytes; i += 16) {
      const g = v128.load(gate + i);
      const sigmoid = f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), exp4(f32x4.neg(g))));
      v128.store(to + i, f32x4.mul(f32x4.mul(g, sigmoid), v128.load(gate + bytes + i)));
    }
  }
}

/** y[row] += bias for rows [begin, end); `bytes` of a row, a multiple of 16. */
export function addRows(y: usize, stride: usize, bias: usize, bytes: usize, begin: usize, end: usize): void {
  for (let row: usize = begin; row < end; row++) {
    const to = y + row * stride;
    for (let i: usize = 0; i < bytes; i += 16) v128.store(to + i, f32x4.add(v128.load(to + i), v128.load(bias + i)));
  }
}

/**
 * Rounds tokens [begin, end) to the int8 rows that the 4-bit product reads (see w4.ts): per token and chunk of `chunkWords` words
 * the scale is max|x| / limit, and a 16-bit value v is split into v = 256 * high + low with both in -128..127.
 * @param rowsPerTile rows that lie side by side in a tile: 12 for the matrix, 1 << tokenShift for the vector kernels
 */
export function roundActivations(
  x: usize, xStride: usize, words: usize, chunkWords: usize, tokenShift: usize, rowsPerTile: usize,
  out: usize, rowScales: usize, minusSums: usize, begin: usize, end: usize,
): void {
  const chunks = (words + chunkWords - 1) / chunkWords;
  const tokensPerTile = rowsPerTile >> tokenShift;
  // 127 * 256 + 127 = 32639 is the largest value whose two bytes are both in range.
  const limit: f32 = tokenShift == 1 ? 32639 : 127;
  const step = rowsPerTile << 3;
  for (let token: usize = begin; token < end; token++) {
    const tile = token / tokensPerTile, row = (token % tokensPerTile) << tokenShift;
    let to = out + tile * words * step + (row << 2);
    let from = x + token * xStride;
    for (let chunk: usize = 0; chunk < chunks; chunk++) {
      const count = min(chunkWords, words - chunk * chunkWords);
      let largest = f32x4.splat(0);
      // Magnitudes compare as integers; so a NaN is the largest, becomes the scale, and is not lost.
      for (let i: usize = 0; i < count << 5; i += 16) largest = i32x4.max_s(largest, f32x4.abs(v128.load(from + i)));
      const peak = maxLanes(largest);
      const inverse = f32x4.splat(peak > 0 ? limit / peak : 0);
      let sum = i32x4.splat(0), highSum = i32x4.splat(0);
      for (let i: usize = 0; i < count; i++) {
        const a = roundToInts(v128.load(from), inverse);
        const b = roundToInts(v128.load(from, 16), inverse);
        from += 32;
        sum = i32x4.add(sum, i32x4.add(a, b));
        if (tokenShift == 1) {
          const half = i32x4.splat(128);
          const ah = i32x4.shr_s(i32x4.add(a, half), 8), bh = i32x4.shr_s(i32x4.add(b, half), 8);
          highSum = i32x4.add(highSum, i32x4.add(ah, bh));
          storeWord(to, step >> 1, ah, bh);
          storeWord(to + 4, step >> 1, i32x4.sub(a, i32x4.shl(ah, 8)), i32x4.sub(b, i32x4.shl(bh, 8)));
        } else storeWord(to, step >> 1, a, b);
        to += step;
      }
      const at = ((tile * chunks + chunk) * rowsPerTile + row) << 2;
      const total = sumInts(sum), scale = peak / limit;
      if (tokenShift == 1) {
        const high = sumInts(highSum);
        store<f32>(rowScales + at, scale * 256); store<i32>(minusSums + at, high * -8);
        store<f32>(rowScales + at, scale, 4); store<i32>(minusSums + at, (high * 256 - total) * 8, 4);
      } else {
        store<f32>(rowScales + at, scale); store<i32>(minusSums + at, total * -8);
      }
    }
  }
}

/** Eight integers (k = 0..3 in a, 4..7 in b) as bytes: the even ones to `to`, the odd ones `oddOffset` bytes on. */
@inline
function storeWord(to: usize, oddOffset: usize, a: v128, b: v128): void {
  const bytes = v128.shuffle<i8>(a, b, 0, 8, 16, 24, 4, 12, 20, 28, 0, 0, 0, 0, 0, 0, 0, 0);
  store<i32>(to, i32x4.extract_lane(bytes, 0));
  store<i32>(to + oddOffset, i32x4.extract_lane(bytes, 1));
}

@inline
function sumInts(v: v128): i32 {
  return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}

/** Inputs that share a scale in a packed row; so many bytes and the scale. */
const PACKED: usize = 128;
const PACKED_BYTES: usize = 4 + PACKED;

/**
 * Tokens [begin, end) in a quarter of their room: per 128 numbers an f32 scale, max|x| / 127, and bytes. Rounding what comes back gives the same bytes.
 * @param to [tokens][ceil(width / 128)][4 + 128] bytes; width is a multiple of 8
 */
export function packRows(x: usize, xStride: usize, width: usize, to: usize, begin: usize, end: usize): void {
  const chunks = (width + PACKED - 1) / PACKED;
  for (let token: usize = begin; token < end; token++) {
    const row = x + token * xStride;
    for (let chunk: usize = 0; chunk < chunks; chunk++) {
      const from = row + (chunk * PACKED << 2), count = min(PACKED, width - chunk * PACKED);
      const out = to + (token * chunks + chunk) * PACKED_BYTES;
      let largest = f32x4.splat(0);
      for (let i: usize = 0; i < count << 2; i += 16) largest = i32x4.max_s(largest, f32x4.abs(v128.load(from + i)));
      const peak = maxLanes(largest), inverse = f32x4.splat(peak > 0 ? 127 / peak : 0);
      store<f32>(out, peak / 127);
      for (let i: usize = 0; i < count; i += 8) {
        const a = roundToInts(v128.load(from + (i << 2)), inverse), b = roundToInts(v128.load(from + (i << 2), 16), inverse);
        const narrow = i16x8.narrow_i32x4_s(a, b);
        v128.store64_lane(out + 4 + i, i8x16.narrow_i16x8_s(narrow, narrow), 0);
      }
    }
  }
}

/** The way back. */
export function unpackRows(from: usize, width: usize, x: usize, xStride: usize, begin: usize, end: usize): void {
  const chunks = (width + PACKED - 1) / PACKED;
  for (let token: usize = begin; token < end; token++) {
    const row = x + token * xStride;
    for (let chunk: usize = 0; chunk < chunks; chunk++) {
      const out = row + (chunk * PACKED << 2), count = min(PACKED, width - chunk * PACKED);
      const packed = from + (token * chunks + chunk) * PACKED_BYTES;
      const scale = f32x4.splat(load<f32>(packed));
      for (let i: usize = 0; i < count; i += 8) {
        const halves = i16x8.extend_low_i8x16_s(v128.load64_zero(packed + 4 + i));
        v128.store(out + (i << 2), f32x4.mul(scale, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(halves))));
        v128.store(out + (i << 2), f32x4.mul(scale, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(halves))), 16);
      }
    }
  }
}
