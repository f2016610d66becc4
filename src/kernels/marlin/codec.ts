// How a word of eight 4-bit codes becomes a matrix fragment inside a kernel. Two ways: raw, where scales come to the sums afterwards (few tokens), and
// scaled, where the fragment holds the weights themselves (many tokens). Knows no layout.
import type { FragA, FragB } from '../../ptx/fragments.ts';
import type { K } from '../../ptx/trace.ts';
import {
  type B32,
  type Bf16x2,
  bf16x2,
  type F16x2,
  type F32,
  half2,
  lut,
  pairOfBf16,
  pairOfHalves,
} from '../../ptx/values.ts';
import type { HalfType } from './pack.ts';

type Four<V> = readonly [V, V, V, V];

const AND = lut((a, b) => a & b);
const AND_OR = lut((a, b, c) => (a & b) | c);

/** Nibbles 0 and 4, and 1 and 5: one of each half of a word. */
const LOW = 0x000f000f;
const HIGH = 0x00f000f0;

/** Masked nibbles of a word, without moving any more than needed: the second and fourth are 16 times as large. */
function nibbles(word: B32): Four<B32> {
  const upper = word.shr(8);
  return [word.lop3(LOW, 0, AND), word.lop3(HIGH, 0, AND), upper.lop3(LOW, 0, AND), upper.lop3(HIGH, 0, AND)];
}

/**
 * Raw codes. A weight is (raw * factor - bias - zero point) * scale, with a factor for the row g and one for the row g + 8 of a lane.
 *
 * f16: the masked nibbles as they are, which read as subnormal f16: code * 2^-24 where they are the lowest bits, code * 2^-20 four bits higher.
 * Registers 0 and 2 of a fragment are row g, 1 and 3 row g + 8, so each row has one factor. Five operations for eight weights.
 *
 * bf16: 128 + code, the code being the lowest bits of the mantissa of 128; sums of subnormal bf16 would be subnormal f32. Seven operations.
 */
export interface RawCodec {
  readonly factors: readonly [row: number, rowBelow: number];
  readonly bias: number;
}

export const rawCodec: Readonly<Record<HalfType, RawCodec>> = {
  f16: { factors: [2 ** 24, 2 ** 20], bias: 0 },
  bf16: { factors: [1, 1], bias: 128 },
};

const BF16_128 = 0x43004300;

export function rawF16(k: K, word: B32): FragA {
  const [a, b, c, d] = nibbles(word);
  return k.fragA([a.asF16x2(), b.asF16x2(), c.asF16x2(), d.asF16x2()]);
}

export function rawBf16(k: K, word: B32): FragA<'bf16'> {
  const at = (shift: number): Bf16x2 => word.shr(shift).lop3(LOW, BF16_128, AND_OR).asBf16x2();
  return k.fragABf16([at(0), at(4), at(8), at(12)]);
}

/** What a kernel over raw codes does differently for the two types. */
export interface RawHalves<T extends HalfType> {
  readonly raw: (k: K, word: B32) => FragA<T>;
  /** A fragment whose elements are one number for the row g, and one for the row g + 8. */
  readonly constant: (k: K, pair: readonly [row: number, rowBelow: number]) => FragA<T>;
  readonly fragB: (k: K, low: B32, high: B32) => FragB<T>;
  /** Two numbers, rounded, in a word. */
  readonly pair: (lower: F32, upper: F32) => B32;
  /** Both halves of a word as f32. */
  readonly toF32: (word: B32) => readonly [lower: F32, upper: F32];
}

export const rawHalves: { readonly [T in HalfType]: RawHalves<T> } = {
  f16: {
    raw: rawF16,
    constant: (k, [row, below]) => k.fragA([half2(row), half2(below), half2(row), half2(below)]),
    fragB: (k, low, high) => k.fragB([low.asF16x2(), high.asF16x2()]),
    pair: (lower, upper) => pairOfHalves(lower, upper).asB32(),
    toF32: (word) => [word.asF16x2().lower().f16ToF32(), word.asF16x2().upper().f16ToF32()],
  },
  bf16: {
    raw: rawBf16,
    constant: (k, [row, below]) => k.fragABf16([bf16x2(row), bf16x2(below), bf16x2(row), bf16x2(below)]),
    fragB: (k, low, high) => k.fragBBf16([low.asBf16x2(), high.asBf16x2()]),
    pair: (lower, upper) => pairOfBf16(lower, upper).asB32(),
    toF32: (word) => [word.asBf16x2().lowerToF32(), word.asBf16x2().upperToF32()],
  },
};

/**
 * What a group's fragments are scaled with: for row g and for row g + 8 a multiplier and an addend, in both halves. A product with the stored scale S
 * gives (code - zero) * S / SCALED_FACTOR.
 */
export interface GroupScale<V> {
  readonly multiply: readonly [row: V, rowBelow: V];
  readonly add: readonly [row: V, rowBelow: V];
}

/** The power of two that sums of scaled fragments are to be multiplied with. */
export const SCALED_FACTOR: Readonly<Record<HalfType, number>> = { f16: 2 ** 24, bf16: 2 ** 30 };

/** One half of a word twice. */
const LOWER_TWICE = 0x1010;
const UPPER_TWICE = 0x3232;

/** From a word {S[g], S[g + 8]}, and one of zero points if there are any. */
export function groupScaleF16(scales: B32, zeros: B32 | null): GroupScale<F16x2> {
  const of = (selector: number): F16x2 => scales.permute(0, selector).asF16x2();
  const [row, below] = [of(LOWER_TWICE), of(UPPER_TWICE)];
  const minusZero = (selector: number): F16x2 =>
    zeros === null
      ? half2(-8 * 2 ** -24)
      : zeros
          .permute(0, selector)
          .asF16x2()
          .mul(half2(-(2 ** -24)));
  return {
    // Registers 1 and 3 hold nibbles 16 times as large.
    multiply: [row, below.mul(half2(1 / 16))],
    add: [row.mul(minusZero(LOWER_TWICE)), below.mul(minusZero(UPPER_TWICE))],
  };
}

/** (code - zero) * S * 2^-24, rounded once: nine operations for eight weights. */
export function scaledF16(k: K, word: B32, { multiply, add }: GroupScale<F16x2>): FragA {
  const [a, b, c, d] = nibbles(word);
  return k.fragA([
    a.asF16x2().fma(multiply[0], add[0]),
    b.asF16x2().fma(multiply[1], add[1]),
    c.asF16x2().fma(multiply[0], add[0]),
    d.asF16x2().fma(multiply[1], add[1]),
  ]);
}

/** bf16: codes moved to bits 3 .. 6 of the mantissa read as code * 2^-130. */
const BF16_CODES = 0x00780078;
const BF16_RAISE = 2 ** 100;

/** a * b; below sm_90 there is no multiplication of bf16 by itself. */
const times = (a: Bf16x2, b: Bf16x2): Bf16x2 => a.fma(b, bf16x2(-0));

export function groupScaleBf16(scales: B32, zeros: B32 | null): GroupScale<Bf16x2> {
  const of = (word: B32, selector: number): Bf16x2 => word.permute(0, selector).asBf16x2();
  const minusZero = (selector: number): Bf16x2 =>
    zeros === null ? bf16x2(-8 * 2 ** -30) : times(of(zeros, selector), bf16x2(-(2 ** -30)));
  const [row, below] = [of(scales, LOWER_TWICE), of(scales, UPPER_TWICE)];
  return {
    multiply: [times(row, bf16x2(BF16_RAISE)), times(below, bf16x2(BF16_RAISE))],
    add: [times(row, minusZero(LOWER_TWICE)), times(below, minusZero(UPPER_TWICE))],
  };
}

/** (code - zero) * S * 2^-30, rounded once: twelve operations for eight weights. */
export function scaledBf16(k: K, word: B32, { multiply, add }: GroupScale<Bf16x2>): FragA<'bf16'> {
  const codes = (moved: B32): Bf16x2 => moved.and(BF16_CODES).asBf16x2();
  return k.fragABf16([
    codes(word.shl(3)).fma(multiply[0], add[0]),
    codes(word.shr(1)).fma(multiply[1], add[1]),
    codes(word.shr(5)).fma(multiply[0], add[0]),
    codes(word.shr(9)).fma(multiply[1], add[1]),
  ]);
}
