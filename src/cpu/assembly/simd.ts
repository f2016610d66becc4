// What every kernel builds on: products that use relaxed SIMD when it was compiled in, and constants that stay in registers.

// Constants of hot loops are loaded, not spelled: V8 rebuilds a literal v128 at each use (3 instructions; 60 instead of 250 GFLOP/s
// in a loop of dot products), but keeps a loaded one in a register. The host writes them here before any kernel runs (heap.ts).
const NIBBLE_MASK_ADDRESS: usize = 64;
const HALF_MASK_ADDRESS: usize = 80;

/** Sign, exponent and mantissa of an f16 after sign extension and a shift by 13; bits 28..30 are copies of the sign and go. */
export const HALF_MASK: i32 = 0x8fffe000;

@inline
export function nibbleMask(): v128 {
  return v128.load(NIBBLE_MASK_ADDRESS);
}

@inline
export function halfMask(): v128 {
  return v128.load(HALF_MASK_ADDRESS);
}

/** sum + activations . weights: sixteen int8 (signed) by sixteen codes (0..127), four neighbouring products into each i32 lane. */
@inline
export function dot(activations: v128, weights: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(activations, weights, sum);
  const low = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(activations), i16x8.extend_low_i8x16_s(weights));
  const high = i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(activations), i16x8.extend_high_i8x16_s(weights));
  return i32x4.add(sum, i32x4.add(v128.shuffle<i32>(low, high, 0, 2, 4, 6), v128.shuffle<i32>(low, high, 1, 3, 5, 7)));
}

/** a * b + c on four f32. Fused where the machine has it; elsewhere rounded twice. */
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Sum of the four f32 lanes. */
@inline
export function sumLanes(v: v128): f32 {
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}

@inline
export function maxLanes(v: v128): f32 {
  return max(max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)), max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)));
}

/** 1.5 x 2^23: added to an f32 below 2^22 it leaves the nearest integer in the low bits of the pattern. */
const ROUND_ADDRESS: usize = 288;

/** x * factor + 1.5 x 2^23; the low 22 bits are round(x * factor), ties to even. nearest and trunc_sat together take ten instructions. */
@inline
export function roundedBits(x: v128, factor: v128): v128 {
  return madd(x, factor, v128.load(ROUND_ADDRESS));
}

/** round(x * factor) as integers, for results below 2^22. */
@inline
export function roundToInts(x: v128, factor: v128): v128 {
  return i32x4.sub(roundedBits(x, factor), v128.load(ROUND_ADDRESS));
}

/** Sixteen bytes each: the constants of exp4 in the order of `expConstants` (heap.ts). */
const EXP_ADDRESS: usize = 96;

/**
 * e^x on four f32, relative error below 2e-7 for -87 <= x <= 88; smaller x gives a number below 1e-37; NaN stays NaN.
 * x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor series to r^7 / 7!; 2^n through the exponent bits.
 */
@inline
export function exp4(x: v128): v128 {
  const clamped = f32x4.pmin(f32x4.pmax(x, v128.load(EXP_ADDRESS)), v128.load(EXP_ADDRESS, 16));
  const shifted = roundedBits(clamped, v128.load(EXP_ADDRESS, 32));
  const n = f32x4.sub(shifted, v128.load(ROUND_ADDRESS));
  // ln 2 in two parts, the first with few bits, so that n * ln 2 is subtracted exactly.
  const r = madd(n, v128.load(EXP_ADDRESS, 64), madd(n, v128.load(EXP_ADDRESS, 48), clamped));
  let p = madd(v128.load(EXP_ADDRESS, 80), r, v128.load(EXP_ADDRESS, 96));
  p = madd(p, r, v128.load(EXP_ADDRESS, 112));
  p = madd(p, r, v128.load(EXP_ADDRESS, 128));
  p = madd(p, r, v128.load(EXP_ADDRESS, 144));
  p = madd(p, r, v128.load(EXP_ADDRESS, 160));
  const one = v128.load(EXP_ADDRESS, 176);
  p = madd(madd(p, r, one), r, one);
  // 2^n: the exponent field of 1.0 plus n.
  return f32x4.mul(p, i32x4.add(i32x4.shl(shifted, 23), one));
}
