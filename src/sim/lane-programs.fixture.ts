// For each lane instruction a program that applies it to words of memory, and operands that reach its edges: for tests here and on a GPU.
import { Random } from '../base/random.ts';
import { numberToBf16, numberToF16 } from '../base/f16.ts';
import { Builder } from '../ptx/builder.ts';
import * as lane from '../ptx/isa/lane.ts';
import { parameter } from '../ptx/isa/warp.ts';
import { classOf, type Kind, type Op } from '../ptx/op.ts';
import type { Operand, Program } from '../ptx/program.ts';
import { K } from '../ptx/trace.ts';
import { Global } from '../ptx/pointers.ts';
import { B32, F32 } from '../ptx/values.ts';

export type LaneParams = { readonly [P in 'a' | 'b' | 'c' | 'd' | 'out' | 'high']: 'b32*' };
const inputs = ['a', 'b', 'c', 'd'] as const;

/** All but those on addresses, which loads try (instruction-programs/memory.fixture.ts). */
export const laneOps: readonly Op[] = Object.values(lane).filter((op) => ![...op.dst, ...op.src].includes('global'));

/** What each input holds: an operand, or half of one of 64 bits, the lower half first. */
export const inputKinds = ({ src }: Pick<Op, 'src'>): readonly Kind[] =>
  src.flatMap((kind) => (kind === 'u64' ? [kind, kind] : [kind]));

/** How far the chip may be from the meaning: the errors that PTX ISA 9.7.3 states for .approx, as a share of the value. */
export const tolerances: ReadonlyMap<Op, number> = new Map([
  [lane.rsqrtF32, 2 ** -22],
  [lane.rcpF32, 2 ** -22],
  [lane.ex2F32, 2 ** -21],
  [lane.lg2F32, 2 ** -21],
]);

/** out[thread] = op(a[thread], ...), one CTA of 256 threads at `cta * 256`; of 64 bits the upper word goes to high[thread]. */
export function laneProgram(op: Op, name: string): Program<LaneParams> {
  const builder = new Builder('sm_90');
  const k = new K(builder);
  const pointer = (p: string): Global<'b32'> =>
    new Global('b32', builder.value(parameter(p, 'global', 'u64'), []), builder);
  const pointers = new Map([...inputs, 'out' as const, 'high' as const].map((p) => [p, pointer(p)]));
  const at = k.cta.x.mul(256).add(k.thread);
  const input = inputs.values();
  const next = (): B32 => k.ldGlobal(pointers.get(input.next().value ?? 'a')!.at(at), 1)[0]!;
  const sources = op.src.map((kind) =>
    kind === 'u64' ? builder.value(lane.wordsU64, [next().operand, next().operand]) : operand(builder, kind, next()),
  );
  // Shifts by a constant table (lop3) and the like take an immediate: the last operand of lop3 must be one.
  if (op === lane.lop3) sources[3] = { bits: 0x6a };
  const result = builder.reg(classOf[op.dst[0]!]);
  builder.emit(op, [result], sources);
  const store = (to: 'out' | 'high', kind: Kind, reg: Operand): void =>
    k.stGlobal(pointers.get(to)!.at(at), [word(builder, kind, reg)]);
  if (op.dst[0] === 'u64') {
    store('out', 'u32', builder.value(lane.lowWord, [result]));
    store('high', 'u32', builder.value(lane.highWord, [result]));
  } else store('out', op.dst[0]!, result);
  return {
    name,
    params: { a: 'b32*', b: 'b32*', c: 'b32*', d: 'b32*', out: 'b32*', high: 'b32*' },
    threads: 256,
    cluster: 1,
    sharedBytes: 0,
    mbarriers: 0,
    target: 'sm_90',
    regs: builder.regs,
    body: builder.body,
  };
}

function operand(builder: Builder, kind: Kind, bits: B32): Operand {
  if (kind === 'f32') return bits.asF32().operand;
  if (kind === 'pred') return builder.value(lane.neB32, [bits.and(1).operand, { bits: 0 }]);
  return kind === 'b16' ? builder.value(lane.lowerHalf, [bits.operand]) : bits.operand;
}

function word(builder: Builder, kind: Kind, result: Operand): B32 {
  if (kind === 'f32') return new F32(result, builder).asB32();
  if (kind === 'pred') return new B32(builder.value(lane.selectB32, [{ bits: 1 }, { bits: 0 }, result]), builder);
  return new B32(kind === 'b16' ? builder.value(lane.pairOf, [result, result]) : result, builder);
}

const f32Edges = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2.5,
  -2.5,
  2 ** -149,
  -(2 ** -126),
  2 ** 127,
  3.4e38,
  Infinity,
  -Infinity,
  Number.NaN,
  2 ** 31,
  2 ** 32,
  -(2 ** 31),
  1e-20,
  65504,
  65519.9,
  65520,
  88,
  -150,
];
const intEdges = [0, 1, 2, 7, 31, 32, 33, 63, 64, 255, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fffe, 0x0f0f_0f0f];
const halfEdges = [
  0,
  -0,
  1,
  -1,
  0.5,
  65504,
  -65504,
  2 ** -24,
  2 ** -14,
  1024.5,
  2048,
  Infinity,
  -Infinity,
  Number.NaN,
  0.1,
];

/** `count` words for an operand of a kind: all edges first, then random patterns, half of them of moderate size. */
function laneInputs(kind: Kind, count: number, random: Random): Uint32Array {
  const bits = new Uint32Array(count);
  const floats = new Float32Array(bits.buffer);
  for (let i = 0; i < count; i++) {
    const edge = random.integer(4) === 0;
    if (kind === 'f32') {
      if (edge) floats[i] = f32Edges[random.integer(f32Edges.length)]!;
      else if (random.integer(2) === 0) floats[i] = random.normal() * 10 ** (random.integer(9) - 4);
      else bits[i] = random.u32();
    } else if (kind === 'f16x2' || kind === 'bf16x2' || kind === 'b16') {
      const half = kind === 'bf16x2' ? numberToBf16 : numberToF16;
      const draw = (): number =>
        random.integer(3) === 0
          ? half(halfEdges[random.integer(halfEdges.length)]!)
          : random.integer(2) === 0
            ? half(random.normal() * 4)
            : random.u32() & 0xffff;
      bits[i] = (draw() | (draw() << 16)) >>> 0;
    } else bits[i] = edge ? intEdges[random.integer(intEdges.length)]! : random.u32();
  }
  return bits;
}

/** `count` words for each input, those that the operation does not read included. */
export function laneArgs(op: Op, count: number, random: Random): Readonly<Record<'a' | 'b' | 'c' | 'd', Uint32Array>> {
  const kinds = inputKinds(op);
  const [a, b, c, d] = inputs.map((_, i) => laneInputs(kinds[i] ?? 'b32', count, random));
  return { a: a!, b: b!, c: c!, d: d! };
}
