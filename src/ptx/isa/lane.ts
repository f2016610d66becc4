// Instructions that a lane computes alone: one entry an instruction, spelling and meaning side by side (PTX ISA 9.7.1 - 9.7.9).
import type { Kind, Op } from '../op.ts';
import type { Target } from '../program.ts';

interface LaneOptions {
  readonly registersOnly?: readonly number[];
  readonly needs?: Target;
  readonly version?: number;
  readonly format?: Op['format'];
  readonly raw?: boolean;
}

function lane(name: string, dst: Kind, src: readonly Kind[], expression: string, options: LaneOptions = {}): Op {
  const { registersOnly = [], needs = 'sm_80', version = 7.0, format, raw = false } = options;
  return {
    name,
    dst: [dst],
    src,
    registersOnly,
    needs,
    version,
    meaning: { kind: 'lane', expression, raw },
    ...(format === undefined ? {} : { format }),
  };
}

/** f16x2 and bf16x2 arithmetic has no immediates (ptxas: "Arguments mismatch"). */
const noImmediates: LaneOptions = { registersOnly: [0, 1, 2] };

// ---- integers
export const addU32: Op = lane('add.u32', 'u32', ['u32', 'u32'], 'a + b');
export const subU32: Op = lane('sub.u32', 'u32', ['u32', 'u32'], 'a - b');
export const mulU32: Op = lane('mul.lo.u32', 'u32', ['u32', 'u32'], 'Math.imul(a, b)');
export const mulHiU32: Op = lane('mul.hi.u32', 'u32', ['u32', 'u32'], 'm.mulHigh(a, b)');
export const madU32: Op = lane('mad.lo.u32', 'u32', ['u32', 'u32', 'u32'], 'Math.imul(a, b) + c');
export const divU32: Op = lane('div.u32', 'u32', ['u32', 'u32'], '(b === 0 ? -1 : (a >>> 0) / (b >>> 0))');
export const remU32: Op = lane('rem.u32', 'u32', ['u32', 'u32'], '(b === 0 ? -1 : (a >>> 0) % (b >>> 0))');
export const minU32: Op = lane('min.u32', 'u32', ['u32', 'u32'], 'Math.min(a >>> 0, b >>> 0)');
export const maxU32: Op = lane('max.u32', 'u32', ['u32', 'u32'], 'Math.max(a >>> 0, b >>> 0)');
export const minS32: Op = lane('min.s32', 's32', ['s32', 's32'], 'Math.min(a, b)');
export const maxS32: Op = lane('max.s32', 's32', ['s32', 's32'], 'Math.max(a, b)');
export const negS32: Op = lane('neg.s32', 's32', ['s32'], '-a');
export const shrS32: Op = lane('shr.s32', 's32', ['s32', 'u32'], 'm.shrSigned(a, b)');
export const andB32: Op = lane('and.b32', 'b32', ['b32', 'b32'], 'a & b');
export const orB32: Op = lane('or.b32', 'b32', ['b32', 'b32'], 'a | b');
export const xorB32: Op = lane('xor.b32', 'b32', ['b32', 'b32'], 'a ^ b');
export const notB32: Op = lane('not.b32', 'b32', ['b32'], '~a');
export const shlB32: Op = lane('shl.b32', 'b32', ['b32', 'u32'], 'm.shl(a, b)');
export const shrU32: Op = lane('shr.u32', 'u32', ['u32', 'u32'], 'm.shrUnsigned(a, b)');
export const funnelLeft: Op = lane('shf.l.wrap.b32', 'b32', ['b32', 'b32', 'u32'], 'm.funnelLeft(a, b, c)');
export const funnelRight: Op = lane('shf.r.wrap.b32', 'b32', ['b32', 'b32', 'u32'], 'm.funnelRight(a, b, c)');
export const lop3: Op = lane('lop3.b32', 'b32', ['b32', 'b32', 'b32', 'b32'], 'm.lop3(a, b, c, d)');
export const prmt: Op = lane('prmt.b32', 'b32', ['b32', 'b32', 'b32'], 'm.prmt(a, b, c)');
export const popc: Op = lane('popc.b32', 'u32', ['b32'], 'm.popc(a)');
export const clz: Op = lane('clz.b32', 'u32', ['b32'], 'm.clz(a)');

// ---- 64-bit integers
export const widenU32: Op = lane('cvt.u64.u32', 'u64', ['u32'], 'BigInt(a >>> 0)');
export const mulWideU32: Op = lane('mul.wide.u32', 'u64', ['u32', 'u32'], 'BigInt(a >>> 0) * BigInt(b >>> 0)');
export const addU64: Op = lane('add.u64', 'u64', ['u64', 'u64'], 'a + b');
export const subU64: Op = lane('sub.u64', 'u64', ['u64', 'u64'], 'a - b');
export const mulU64: Op = lane('mul.lo.u64', 'u64', ['u64', 'u64'], 'a * b');
export const shlB64: Op = lane('shl.b64', 'u64', ['u64', 'u32'], '(b >>> 0 > 63 ? 0n : a << BigInt(b >>> 0))');
export const shrU64: Op = lane('shr.u64', 'u64', ['u64', 'u32'], '(b >>> 0 > 63 ? 0n : a >> BigInt(b >>> 0))');
export const ltU64: Op = lane('setp.lt.u64', 'pred', ['u64', 'u64'], '(a < b ? 1 : 0)');
export const lowWord: Op = lane('cvt.u32.u64', 'u32', ['u64'], 'Number(a & 0xffffffffn)');
export const highWord: Op = lane('mov.b64', 'u32', ['u64'], 'Number(a >> 32n)', {
  format: ([d], [s]) => `{ .reg .b32 %low; mov.b64 {%low, ${d}}, ${s}; }`,
});
export const wordsU64: Op = lane('mov.b64', 'u64', ['b32', 'b32'], '(BigInt(b >>> 0) << 32n) | BigInt(a >>> 0)', {
  registersOnly: [0, 1],
  format: ([d], [low, high]) => `mov.b64 ${d}, {${low}, ${high}};`,
});

// ---- f32
export const addF32: Op = lane('add.rn.f32', 'f32', ['f32', 'f32'], 'a + b');
export const subF32: Op = lane('sub.rn.f32', 'f32', ['f32', 'f32'], 'a - b');
export const mulF32: Op = lane('mul.rn.f32', 'f32', ['f32', 'f32'], 'a * b');
export const fmaF32: Op = lane('fma.rn.f32', 'f32', ['f32', 'f32', 'f32'], 'm.fusedSum(a * b, c)');
export const minF32: Op = lane('min.f32', 'f32', ['f32', 'f32'], 'm.min32(a, b)');
export const maxF32: Op = lane('max.f32', 'f32', ['f32', 'f32'], 'm.max32(a, b)');
export const absF32: Op = lane('abs.f32', 'f32', ['f32'], 'Math.abs(a)');
export const negF32: Op = lane('neg.f32', 'f32', ['f32'], '-a');
export const divF32: Op = lane('div.rn.f32', 'f32', ['f32', 'f32'], 'a / b');
export const sqrtF32: Op = lane('sqrt.rn.f32', 'f32', ['f32'], 'Math.sqrt(a)');
// The approximate ones differ from these meanings in the last bits; tests compare them within the error the PTX ISA states.
export const rsqrtF32: Op = lane('rsqrt.approx.f32', 'f32', ['f32'], '1 / Math.sqrt(a)');
export const rcpF32: Op = lane('rcp.approx.f32', 'f32', ['f32'], '1 / a');
export const ex2F32: Op = lane('ex2.approx.f32', 'f32', ['f32'], '2 ** a');
export const lg2F32: Op = lane('lg2.approx.f32', 'f32', ['f32'], 'Math.log2(a)');

// ---- pairs of 16-bit floats
export const addF16x2: Op = lane('add.rn.f16x2', 'f16x2', ['f16x2', 'f16x2'], 'm.f16x2.add(a, b)', noImmediates);
export const subF16x2: Op = lane('sub.rn.f16x2', 'f16x2', ['f16x2', 'f16x2'], 'm.f16x2.sub(a, b)', noImmediates);
export const mulF16x2: Op = lane('mul.rn.f16x2', 'f16x2', ['f16x2', 'f16x2'], 'm.f16x2.mul(a, b)', noImmediates);
export const fmaF16x2: Op = lane(
  'fma.rn.f16x2',
  'f16x2',
  ['f16x2', 'f16x2', 'f16x2'],
  'm.f16x2.fma(a, b, c)',
  noImmediates,
);
export const minF16x2: Op = lane('min.f16x2', 'f16x2', ['f16x2', 'f16x2'], 'm.f16x2.min(a, b)', noImmediates);
export const maxF16x2: Op = lane('max.f16x2', 'f16x2', ['f16x2', 'f16x2'], 'm.f16x2.max(a, b)', noImmediates);
export const fmaBf16x2: Op = lane(
  'fma.rn.bf16x2',
  'bf16x2',
  ['bf16x2', 'bf16x2', 'bf16x2'],
  'm.bf16x2.fma(a, b, c)',
  noImmediates,
);
export const minBf16x2: Op = lane('min.bf16x2', 'bf16x2', ['bf16x2', 'bf16x2'], 'm.bf16x2.min(a, b)', noImmediates);
export const maxBf16x2: Op = lane('max.bf16x2', 'bf16x2', ['bf16x2', 'bf16x2'], 'm.bf16x2.max(a, b)', noImmediates);
// add, sub and mul of bf16x2 exist from sm_90 on; before, fma with 1 or -0 does the same.
const hopperPairs: LaneOptions = { registersOnly: [0, 1], needs: 'sm_90', version: 7.8 };
export const addBf16x2: Op = lane('add.rn.bf16x2', 'bf16x2', ['bf16x2', 'bf16x2'], 'm.bf16x2.add(a, b)', hopperPairs);
export const subBf16x2: Op = lane('sub.rn.bf16x2', 'bf16x2', ['bf16x2', 'bf16x2'], 'm.bf16x2.sub(a, b)', hopperPairs);
export const mulBf16x2: Op = lane('mul.rn.bf16x2', 'bf16x2', ['bf16x2', 'bf16x2'], 'm.bf16x2.mul(a, b)', hopperPairs);

// ---- conversions
export const u32ToF32: Op = lane('cvt.rn.f32.u32', 'f32', ['u32'], '(a >>> 0)');
export const s32ToF32: Op = lane('cvt.rn.f32.s32', 'f32', ['s32'], 'a');
export const f32ToS32: Op = lane('cvt.rni.s32.f32', 's32', ['f32'], 'm.toS32(a)');
export const f32ToU32: Op = lane('cvt.rni.u32.f32', 'u32', ['f32'], 'm.toU32(a)');
export const packF16: Op = lane('cvt.rn.f16x2.f32', 'f16x2', ['f32', 'f32'], 'm.packF16(a, b)');
export const packBf16: Op = lane('cvt.rn.bf16x2.f32', 'bf16x2', ['f32', 'f32'], 'm.packBf16(a, b)');
export const f16ToF32: Op = lane('cvt.f32.f16', 'f32', ['b16'], 'm.f16(a)');
export const bf16ToF32: Op = lane('cvt.f32.bf16', 'f32', ['b16'], 'm.bf16(a)', { version: 7.1 });
export const f32ToF16: Op = lane('cvt.rn.f16.f32', 'b16', ['f32'], 'm.f16Bits(a)');
export const f32ToBf16: Op = lane('cvt.rn.bf16.f32', 'b16', ['f32'], 'm.bf16Bits(a)');
export const lowerHalf: Op = lane('mov.b32', 'b16', ['b32'], '(a & 0xffff)', {
  format: ([d], [s]) => `{ .reg .b16 %high; mov.b32 {${d}, %high}, ${s}; }`,
});
export const upperHalf: Op = lane('mov.b32', 'b16', ['b32'], '(a >>> 16)', {
  format: ([d], [s]) => `{ .reg .b16 %low; mov.b32 {%low, ${d}}, ${s}; }`,
});
export const pairOf: Op = lane('mov.b32', 'b32', ['b16', 'b16'], '((a & 0xffff) | (b << 16))', {
  registersOnly: [0, 1],
  format: ([d], [low, high]) => `mov.b32 ${d}, {${low}, ${high}};`,
});

// ---- moves, choices, comparisons
export const movB32: Op = lane('mov.b32', 'b32', ['b32'], 'a');
export const movB16: Op = lane('mov.b16', 'b16', ['b16'], 'a');
export const movF32: Op = lane('mov.f32', 'f32', ['f32'], 'a', { raw: true });
export const movB64: Op = lane('mov.b64', 'u64', ['u64'], 'a');
export const movPred: Op = lane('mov.pred', 'pred', ['pred'], 'a');
export const bitsOfF32: Op = lane('mov.b32', 'b32', ['f32'], 'a', { registersOnly: [0], raw: true });
export const f32OfBits: Op = lane('mov.b32', 'f32', ['b32'], 'a', { registersOnly: [0], raw: true });
export const selectB32: Op = lane('selp.b32', 'b32', ['b32', 'b32', 'pred'], '(c ? a : b)');
export const selectF32: Op = lane('selp.f32', 'f32', ['f32', 'f32', 'pred'], '(c ? a : b)', { raw: true });

export const ltU32: Op = lane('setp.lt.u32', 'pred', ['u32', 'u32'], '(a >>> 0 < b >>> 0 ? 1 : 0)');
export const leU32: Op = lane('setp.le.u32', 'pred', ['u32', 'u32'], '(a >>> 0 <= b >>> 0 ? 1 : 0)');
export const eqB32: Op = lane('setp.eq.u32', 'pred', ['u32', 'u32'], '((a | 0) === (b | 0) ? 1 : 0)');
export const neB32: Op = lane('setp.ne.u32', 'pred', ['u32', 'u32'], '((a | 0) !== (b | 0) ? 1 : 0)');
export const ltS32: Op = lane('setp.lt.s32', 'pred', ['s32', 's32'], '((a | 0) < (b | 0) ? 1 : 0)');
export const leS32: Op = lane('setp.le.s32', 'pred', ['s32', 's32'], '((a | 0) <= (b | 0) ? 1 : 0)');
export const ltF32: Op = lane('setp.lt.f32', 'pred', ['f32', 'f32'], '(a < b ? 1 : 0)');
export const leF32: Op = lane('setp.le.f32', 'pred', ['f32', 'f32'], '(a <= b ? 1 : 0)');
export const eqF32: Op = lane('setp.eq.f32', 'pred', ['f32', 'f32'], '(a === b ? 1 : 0)');
export const andPred: Op = lane('and.pred', 'pred', ['pred', 'pred'], 'a & b');
export const orPred: Op = lane('or.pred', 'pred', ['pred', 'pred'], 'a | b');
export const notPred: Op = lane('not.pred', 'pred', ['pred'], '1 - a');

// ---- addresses
/** 64-bit address plus index times bytes an element, as 64 bits: buffers may be larger than 4 GB. The simulator keeps addresses as doubles, exact below 2^53. */
export const addressAdd: Op = lane('mad.wide.u32', 'global', ['global', 'u32', 'u32'], 'a + (b >>> 0) * (c >>> 0)', {
  format: ([d], [base, index, bytes]) => `mad.wide.u32 ${d}, ${index}, ${bytes}, ${base};`,
});
