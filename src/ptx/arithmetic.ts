// Arithmetic that lane meanings use beyond JavaScript's operators: halves in pairs, bit permutation, saturating conversions. Bits in, bits out.
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../base/f16.ts';

const float = new Float32Array(1);
const word = new Int32Array(float.buffer);

/** The value of an f32 bit pattern. */
export function f32(bits: number): number {
  word[0] = bits;
  return float[0]!;
}

/** The bit pattern of the f32 nearest to x, as a signed integer. */
export function f32Bits(x: number): number {
  float[0] = x;
  return word[0]!;
}

/**
 * Nearest number to a * b + c that rounds to 16 bits as the exact sum would. The product of two f16 or bf16 is exact in a double; the sum is
 * not always, so the part that was lost decides ties: round to odd in double, whose 53 bits leave room above 2 * 11 + 2 (Boldo and Melquiond 2008).
 */
export function fusedSum(product: number, c: number): number {
  const sum = product + c;
  if (!Number.isFinite(sum)) return sum;
  const back = sum - product;
  const lost = c - back + (product - (sum - back));
  return lost === 0 ? sum : toOdd(sum, lost);
}

const double = new Float64Array(1);
const halves = new BigUint64Array(double.buffer);

/** The double next to `sum` in direction of `lost` if the last bit of `sum` is even. */
function toOdd(sum: number, lost: number): number {
  double[0] = sum;
  const bits = halves[0]!;
  if ((bits & 1n) === 1n) return sum;
  if (sum === 0) return lost;
  halves[0] = lost > 0 === sum > 0 ? bits + 1n : bits - 1n;
  return double[0];
}

/** Two operands, or three for fma, as bit patterns of pairs. */
type PairOperation = (a: number, b: number, c?: number) => number;
type Pairwise = (a: number, b: number, c: number) => number;

function pairs(toNumber: (bits: number) => number, toBits: (x: number) => number, f: Pairwise): PairOperation {
  return (a, b, c = 0) =>
    toBits(f(toNumber(a & 0xffff), toNumber(b & 0xffff), toNumber(c & 0xffff))) |
    (toBits(f(toNumber(a >>> 16), toNumber(b >>> 16), toNumber(c >>> 16))) << 16);
}

const f16Pairs = (f: Pairwise): PairOperation => pairs(f16ToNumber, f16Result, f);
const bf16Pairs = (f: Pairwise): PairOperation => pairs(bf16ToNumber, bf16Result, f);

/** NaN results are canonical on the GPU: 0x7fff in every 16-bit format (PTX ISA 9.7.4). */
const CANONICAL_NAN = 0x7fff;

function f16Result(x: number): number {
  return Number.isNaN(x) ? CANONICAL_NAN : numberToF16(x);
}

function bf16Result(x: number): number {
  return Number.isNaN(x) ? CANONICAL_NAN : numberToBf16(x);
}

/** The smaller, or the one that is a number; -0 is below +0 (PTX min without .NaN). */
function least(a: number, b: number): number {
  return Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.min(a, b);
}

function greatest(a: number, b: number): number {
  return Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.max(a, b);
}

export type PairArithmetic = Readonly<Record<'add' | 'sub' | 'mul' | 'fma' | 'min' | 'max', PairOperation>>;

export const f16x2: PairArithmetic = {
  add: f16Pairs((a, b) => a + b),
  sub: f16Pairs((a, b) => a - b),
  mul: f16Pairs((a, b) => a * b),
  fma: f16Pairs((a, b, c) => fusedSum(a * b, c)),
  min: f16Pairs(least),
  max: f16Pairs(greatest),
};

export const bf16x2: PairArithmetic = {
  add: bf16Pairs((a, b) => a + b),
  sub: bf16Pairs((a, b) => a - b),
  mul: bf16Pairs((a, b) => a * b),
  fma: bf16Pairs((a, b, c) => fusedSum(a * b, c)),
  min: bf16Pairs(least),
  max: bf16Pairs(greatest),
};

/** min.f32 and max.f32: a NaN loses against a number; two give the canonical NaN. */
export const min32: (a: number, b: number) => number = least;
export const max32: (a: number, b: number) => number = greatest;

/** lop3.b32: bit i of the result is table[4 a_i + 2 b_i + c_i] (PTX ISA, lop3). */
export function lop3(a: number, b: number, c: number, table: number): number {
  let result = 0;
  for (let row = 0; row < 8; row++) {
    if (((table >> row) & 1) === 1) result |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  }
  return result;
}

/** prmt.b32 in its default mode: byte i of the result is byte (selector nibble i) & 7 of {b, a}; bit 3 of the nibble spreads its sign instead. */
export function prmt(a: number, b: number, selector: number): number {
  let result = 0;
  for (let i = 0; i < 4; i++) {
    const pick = (selector >>> (4 * i)) & 15;
    const byte = ((pick & 4 ? b : a) >>> (8 * (pick & 3))) & 0xff;
    result |= (pick & 8 ? (byte & 0x80 ? 0xff : 0) : byte) << (8 * i);
  }
  return result;
}

/** Shifts of PTX clamp: 32 and more shift everything out. */
export function shl(a: number, n: number): number {
  return n >>> 0 > 31 ? 0 : a << n;
}
export function shrUnsigned(a: number, n: number): number {
  return n >>> 0 > 31 ? 0 : a >>> n;
}
export function shrSigned(a: number, n: number): number {
  return a >> (n >>> 0 > 31 ? 31 : n);
}

/** shf.l.wrap / shf.r.wrap on the 64-bit value {high, low}: the upper, respectively lower 32 bits of the shifted value. */
export function funnelLeft(low: number, high: number, n: number): number {
  const s = n & 31;
  return s === 0 ? high : (high << s) | (low >>> (32 - s));
}
export function funnelRight(low: number, high: number, n: number): number {
  const s = n & 31;
  return s === 0 ? low : (low >>> s) | (high << (32 - s));
}

/** Upper 32 bits of an unsigned product. */
export function mulHigh(a: number, b: number): number {
  return Number((BigInt(a >>> 0) * BigInt(b >>> 0)) >> 32n) | 0;
}

/** Number to the nearest integer, ties to even. */
export function roundEven(x: number): number {
  const rounded = Math.round(x);
  return Math.abs(x % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** cvt.rni.s32.f32 and .u32: saturates; NaN gives 0. */
export function toS32(x: number): number {
  return Number.isNaN(x) ? 0 : Math.max(-2147483648, Math.min(2147483647, roundEven(x)));
}
export function toU32(x: number): number {
  return Number.isNaN(x) ? 0 : Math.max(0, Math.min(4294967295, roundEven(x)));
}

/** Two f32 as a pair of halves: the first operand of cvt.rn.f16x2.f32 is the upper half. */
export function packF16(upper: number, lower: number): number {
  return f16Result(lower) | (f16Result(upper) << 16);
}
export function packBf16(upper: number, lower: number): number {
  return bf16Result(lower) | (bf16Result(upper) << 16);
}
export const f16: (bits: number) => number = f16ToNumber;
export const bf16: (bits: number) => number = bf16ToNumber;
export const f16Bits: (x: number) => number = f16Result;
export const bf16Bits: (x: number) => number = bf16Result;
export const clz: (x: number) => number = Math.clz32;

/** Set bits of a word. */
export function popc(x: number): number {
  let count = 0;
  for (let rest = x | 0; rest !== 0; rest &= rest - 1) count++;
  return count;
}
