// The scalars a kernel computes with: integers, floats, pairs of halves, predicates. A value is a constant, folded here in TypeScript, or a
// register. Arithmetic is methods on values; everything with an effect (memory, other lanes, tensor cores, control flow) is on `k` (trace.ts).
import * as m from './arithmetic.ts';
import * as isa from './isa/lane.ts';
import { type Immediate, isReg } from './program.ts';
import { compute, Value } from './value.ts';

/** Numbers are known when the kernel is built; values when it runs. */
export type Int = U32 | number;

/** A register that loops and branches may change: read it like any value, change it with `set`. */
export type Var<V extends Value> = V & { readonly set: (next: V) => void };

const word = (x: number): Immediate => ({ bits: x >>> 0 });
const int = (x: Int): Value | Immediate => (typeof x === 'number' ? word(x) : x);

/** A truth table of three inputs for lop3; made by `lut`, so that no number passes for one. */
export type Lut = number & { readonly lut: unique symbol };

/** The truth table of a bitwise function: lut((a, b, c) => (a & b) | c) is 0xea. */
export function lut(f: (a: number, b: number, c: number) => number): Lut {
  const table = f(0xf0, 0xcc, 0xaa) & 0xff;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where a number becomes a truth table
  return table as Lut;
}

/** 32 bits that nobody has given a meaning yet: what ldmatrix gives, what lop3 takes. */
export class B32 extends Value {
  readonly dtype = 'b32' as const;

  and(x: B32 | number): B32 {
    return compute(B32, isa.andB32, [this, bits(x)]);
  }
  or(x: B32 | number): B32 {
    return compute(B32, isa.orB32, [this, bits(x)]);
  }
  xor(x: B32 | number): B32 {
    return compute(B32, isa.xorB32, [this, bits(x)]);
  }
  not(): B32 {
    return compute(B32, isa.notB32, [this]);
  }
  shl(n: Int): B32 {
    return compute(B32, isa.shlB32, [this, int(n)]);
  }
  shr(n: Int): B32 {
    return n === 0 ? this : compute(B32, isa.shrU32, [this, int(n)]);
  }
  /** Any bitwise function of three words. */
  lop3(b: B32 | number, c: B32 | number, table: Lut): B32 {
    return compute(B32, isa.lop3, [this, bits(b), bits(c), word(table)]);
  }
  /** Four bytes out of the eight of {b, this}, chosen by the selector's nibbles (prmt). */
  permute(b: B32 | number, selector: B32 | number): B32 {
    return compute(B32, isa.prmt, [this, bits(b), bits(selector)]);
  }
  /** Rotates left by n bits. */
  rotate(n: Int): B32 {
    return compute(B32, isa.funnelLeft, [this, this, int(n)]);
  }
  asU32(): U32 {
    return new U32(this.operand, this.builder);
  }
  asF16x2(): F16x2 {
    return new F16x2(this.operand, this.builder);
  }
  asBf16x2(): Bf16x2 {
    return new Bf16x2(this.operand, this.builder);
  }
  asF32(): F32 {
    return compute(F32, isa.f32OfBits, [this]);
  }
}

const bits = (x: B32 | number): Value | Immediate => (typeof x === 'number' ? word(x) : x);

/** log2 of a power of two known now, else null: multiplications and divisions by one become shifts. */
function shiftOf(x: Int): number | null {
  const n = typeof x === 'number' ? x : x.known;
  return n !== null && n > 0 && Number.isInteger(Math.log2(n)) ? Math.log2(n) : null;
}

export class U32 extends Value {
  readonly dtype = 'u32' as const;

  /** The number, when it is known while the kernel is built. */
  get known(): number | null {
    return isReg(this.operand) ? null : Number(this.operand.bits);
  }
  private is(x: Int, n: number): boolean {
    return (typeof x === 'number' ? x : x.known) === n;
  }
  add(x: Int): U32 {
    return this.is(x, 0) ? this : compute(U32, isa.addU32, [this, int(x)]);
  }
  sub(x: Int): U32 {
    return this.is(x, 0) ? this : compute(U32, isa.subU32, [this, int(x)]);
  }
  mul(x: Int): U32 {
    const shift = shiftOf(x);
    return shift === null ? compute(U32, isa.mulU32, [this, int(x)]) : this.shl(shift);
  }
  /** The upper 32 of the 64 bits of the product. */
  mulHi(x: Int): U32 {
    return compute(U32, isa.mulHiU32, [this, int(x)]);
  }
  /** this * x + y, one instruction. */
  mad(x: Int, y: Int): U32 {
    return compute(U32, isa.madU32, [this, int(x), int(y)]);
  }
  div(x: Int): U32 {
    const shift = shiftOf(x);
    return shift === null ? compute(U32, isa.divU32, [this, int(x)]) : this.shr(shift);
  }
  mod(x: Int): U32 {
    const shift = shiftOf(x);
    return shift === null ? compute(U32, isa.remU32, [this, int(x)]) : this.and(2 ** shift - 1);
  }
  min(x: Int): U32 {
    return compute(U32, isa.minU32, [this, int(x)]);
  }
  max(x: Int): U32 {
    return compute(U32, isa.maxU32, [this, int(x)]);
  }
  and(x: Int): U32 {
    return compute(U32, isa.andB32, [this, int(x)]);
  }
  or(x: Int): U32 {
    return this.is(x, 0) ? this : compute(U32, isa.orB32, [this, int(x)]);
  }
  xor(x: Int): U32 {
    return this.is(x, 0) ? this : compute(U32, isa.xorB32, [this, int(x)]);
  }
  shl(n: Int): U32 {
    return this.is(n, 0) ? this : compute(U32, isa.shlB32, [this, int(n)]);
  }
  shr(n: Int): U32 {
    return this.is(n, 0) ? this : compute(U32, isa.shrU32, [this, int(n)]);
  }
  lt(x: Int): Pred {
    return compute(Pred, isa.ltU32, [this, int(x)]);
  }
  le(x: Int): Pred {
    return compute(Pred, isa.leU32, [this, int(x)]);
  }
  ge(x: Int): Pred {
    return this.lt(x).not();
  }
  gt(x: Int): Pred {
    return this.le(x).not();
  }
  eq(x: Int): Pred {
    return compute(Pred, isa.eqB32, [this, int(x)]);
  }
  ne(x: Int): Pred {
    return compute(Pred, isa.neB32, [this, int(x)]);
  }
  toF32(): F32 {
    return compute(F32, isa.u32ToF32, [this]);
  }
  asB32(): B32 {
    return new B32(this.operand, this.builder);
  }
  asS32(): S32 {
    return new S32(this.operand, this.builder);
  }
  toU64(): U64 {
    return compute(U64, isa.widenU32, [this]);
  }
  /** The whole product. */
  mulWide(x: Int): U64 {
    return compute(U64, isa.mulWideU32, [this, int(x)]);
  }
}

/** 64 bits: sizes and offsets that 32 cannot hold. */
export class U64 extends Value {
  readonly dtype = 'u64' as const;

  add(x: U64 | bigint): U64 {
    return compute(U64, isa.addU64, [this, long(x)]);
  }
  sub(x: U64 | bigint): U64 {
    return compute(U64, isa.subU64, [this, long(x)]);
  }
  mul(x: U64 | bigint): U64 {
    return compute(U64, isa.mulU64, [this, long(x)]);
  }
  shl(n: Int): U64 {
    return compute(U64, isa.shlB64, [this, int(n)]);
  }
  shr(n: Int): U64 {
    return compute(U64, isa.shrU64, [this, int(n)]);
  }
  lt(x: U64 | bigint): Pred {
    return compute(Pred, isa.ltU64, [this, long(x)]);
  }
  low(): U32 {
    return compute(U32, isa.lowWord, [this]);
  }
  high(): U32 {
    return compute(U32, isa.highWord, [this]);
  }
}

const long = (x: U64 | bigint): Value | Immediate => (typeof x === 'bigint' ? { bits: BigInt.asUintN(64, x) } : x);

export class S32 extends Value {
  readonly dtype = 's32' as const;

  add(x: S32 | number): S32 {
    return compute(S32, isa.addU32, [this, signed(x)]);
  }
  sub(x: S32 | number): S32 {
    return compute(S32, isa.subU32, [this, signed(x)]);
  }
  mul(x: S32 | number): S32 {
    return compute(S32, isa.mulU32, [this, signed(x)]);
  }
  min(x: S32 | number): S32 {
    return compute(S32, isa.minS32, [this, signed(x)]);
  }
  max(x: S32 | number): S32 {
    return compute(S32, isa.maxS32, [this, signed(x)]);
  }
  shr(n: Int): S32 {
    return compute(S32, isa.shrS32, [this, int(n)]);
  }
  neg(): S32 {
    return compute(S32, isa.negS32, [this]);
  }
  lt(x: S32 | number): Pred {
    return compute(Pred, isa.ltS32, [this, signed(x)]);
  }
  le(x: S32 | number): Pred {
    return compute(Pred, isa.leS32, [this, signed(x)]);
  }
  toF32(): F32 {
    return compute(F32, isa.s32ToF32, [this]);
  }
  asU32(): U32 {
    return new U32(this.operand, this.builder);
  }
}

const signed = (x: S32 | number): Value | Immediate => (typeof x === 'number' ? word(x) : x);

export class F32 extends Value {
  readonly dtype = 'f32' as const;

  add(x: F32 | number): F32 {
    return compute(F32, isa.addF32, [this, real(x)]);
  }
  sub(x: F32 | number): F32 {
    return compute(F32, isa.subF32, [this, real(x)]);
  }
  mul(x: F32 | number): F32 {
    return compute(F32, isa.mulF32, [this, real(x)]);
  }
  div(x: F32 | number): F32 {
    return compute(F32, isa.divF32, [this, real(x)]);
  }
  /** this * factor + addend, rounded once. */
  fma(factor: F32 | number, addend: F32 | number): F32 {
    return compute(F32, isa.fmaF32, [this, real(factor), real(addend)]);
  }
  min(x: F32 | number): F32 {
    return compute(F32, isa.minF32, [this, real(x)]);
  }
  max(x: F32 | number): F32 {
    return compute(F32, isa.maxF32, [this, real(x)]);
  }
  abs(): F32 {
    return compute(F32, isa.absF32, [this]);
  }
  neg(): F32 {
    return compute(F32, isa.negF32, [this]);
  }
  sqrt(): F32 {
    return compute(F32, isa.sqrtF32, [this]);
  }
  /** 1 / sqrt(this), to 2 ulp. */
  rsqrt(): F32 {
    return compute(F32, isa.rsqrtF32, [this]);
  }
  /** 1 / this, to 1 ulp. */
  rcp(): F32 {
    return compute(F32, isa.rcpF32, [this]);
  }
  /** 2^this, to 2 ulp. */
  exp2(): F32 {
    return compute(F32, isa.ex2F32, [this]);
  }
  log2(): F32 {
    return compute(F32, isa.lg2F32, [this]);
  }
  lt(x: F32 | number): Pred {
    return compute(Pred, isa.ltF32, [this, real(x)]);
  }
  le(x: F32 | number): Pred {
    return compute(Pred, isa.leF32, [this, real(x)]);
  }
  eq(x: F32 | number): Pred {
    return compute(Pred, isa.eqF32, [this, real(x)]);
  }
  toS32(): S32 {
    return compute(S32, isa.f32ToS32, [this]);
  }
  toU32(): U32 {
    return compute(U32, isa.f32ToU32, [this]);
  }
  asB32(): B32 {
    return compute(B32, isa.bitsOfF32, [this]);
  }
  toF16(): B16 {
    return compute(B16, isa.f32ToF16, [this]);
  }
  toBf16(): B16 {
    return compute(B16, isa.f32ToBf16, [this]);
  }
}

const real = (x: F32 | number): Value | Immediate => (typeof x === 'number' ? word(m.f32Bits(x)) : x);

/** 16 bits: half of a pair, on its way to or from memory. */
export class B16 extends Value {
  readonly dtype = 'b16' as const;

  f16ToF32(): F32 {
    return compute(F32, isa.f16ToF32, [this]);
  }
  bf16ToF32(): F32 {
    return compute(F32, isa.bf16ToF32, [this]);
  }
  /** Two halves in one register, this one below. */
  pairWith(upper: B16): B32 {
    return compute(B32, isa.pairOf, [this, upper]);
  }
}

/** Two halves (IEEE binary16) in one register. */
export class F16x2 extends Value {
  readonly dtype = 'f16x2' as const;

  add(x: F16x2): F16x2 {
    return compute(F16x2, isa.addF16x2, [this, x]);
  }
  sub(x: F16x2): F16x2 {
    return compute(F16x2, isa.subF16x2, [this, x]);
  }
  mul(x: F16x2): F16x2 {
    return compute(F16x2, isa.mulF16x2, [this, x]);
  }
  /** this * factor + addend, rounded once. */
  fma(factor: F16x2, addend: F16x2): F16x2 {
    return compute(F16x2, isa.fmaF16x2, [this, factor, addend]);
  }
  min(x: F16x2): F16x2 {
    return compute(F16x2, isa.minF16x2, [this, x]);
  }
  max(x: F16x2): F16x2 {
    return compute(F16x2, isa.maxF16x2, [this, x]);
  }
  lower(): B16 {
    return compute(B16, isa.lowerHalf, [this]);
  }
  upper(): B16 {
    return compute(B16, isa.upperHalf, [this]);
  }
  asB32(): B32 {
    return new B32(this.operand, this.builder);
  }
}

/** Two bfloat16 in one register. */
export class Bf16x2 extends Value {
  readonly dtype = 'bf16x2' as const;

  /** sm_90 and later; before, use fma. */
  add(x: Bf16x2): Bf16x2 {
    return compute(Bf16x2, isa.addBf16x2, [this, x]);
  }
  sub(x: Bf16x2): Bf16x2 {
    return compute(Bf16x2, isa.subBf16x2, [this, x]);
  }
  mul(x: Bf16x2): Bf16x2 {
    return compute(Bf16x2, isa.mulBf16x2, [this, x]);
  }
  fma(factor: Bf16x2, addend: Bf16x2): Bf16x2 {
    return compute(Bf16x2, isa.fmaBf16x2, [this, factor, addend]);
  }
  min(x: Bf16x2): Bf16x2 {
    return compute(Bf16x2, isa.minBf16x2, [this, x]);
  }
  max(x: Bf16x2): Bf16x2 {
    return compute(Bf16x2, isa.maxBf16x2, [this, x]);
  }
  lower(): B16 {
    return compute(B16, isa.lowerHalf, [this]);
  }
  upper(): B16 {
    return compute(B16, isa.upperHalf, [this]);
  }
  /** A bf16 is the upper half of an f32. */
  lowerToF32(): F32 {
    return this.asB32().shl(16).asF32();
  }
  upperToF32(): F32 {
    return this.asB32().and(0xffff0000).asF32();
  }
  asB32(): B32 {
    return new B32(this.operand, this.builder);
  }
}

/** A predicate. It cannot steer a TypeScript `if`: see `then`. */
export class Pred extends Value {
  readonly dtype = 'pred' as const;
  /** Never there and never called: tsc refuses `if (p)` on anything thenable (TS2801), which is what we want of `if (x.lt(n))`. */
  // oxlint-disable-next-line unicorn/no-thenable -- declared for tsc alone; the property never exists
  declare readonly then: (use: (k_if: 'use k.if(pred, () => ...)') => void) => never;

  and(p: Pred): Pred {
    return compute(Pred, isa.andPred, [this, p]);
  }
  or(p: Pred): Pred {
    return compute(Pred, isa.orPred, [this, p]);
  }
  not(): Pred {
    return compute(Pred, isa.notPred, [this]);
  }
}

/** A constant. */
export function u32(x: number): U32 {
  return new U32(word(x), null);
}

export function s32(x: number): S32 {
  return new S32(word(x), null);
}

export function f32(x: number): F32 {
  return new F32(word(m.f32Bits(x)), null);
}

/** A pair of halves; one number for both. */
export function half2(lower: number, upper: number = lower): F16x2 {
  return new F16x2(word(m.packF16(upper, lower)), null);
}

export function bf16x2(lower: number, upper: number = lower): Bf16x2 {
  return new Bf16x2(word(m.packBf16(upper, lower)), null);
}

export function u64(x: bigint): U64 {
  return new U64({ bits: BigInt.asUintN(64, x) }, null);
}

/** Two f32 rounded to a pair of bf16. */
export function pairOfBf16(lower: F32, upper: F32): Bf16x2 {
  return compute(Bf16x2, isa.packBf16, [upper, lower]);
}

/** Two f32 rounded to a pair of halves. */
export function pairOfHalves(lower: F32, upper: F32): F16x2 {
  return compute(F16x2, isa.packF16, [upper, lower]);
}
