// What all values share: an operand, the builder it belongs to, and how an operation on values is emitted, or folded where all are constants.
import * as m from './arithmetic.ts';
import type { Builder } from './builder.ts';
import { evaluate } from './javascript.ts';
import { computedAs, type Op } from './op.ts';
import { type Immediate, isReg, type Operand } from './program.ts';

/** The base of all values; `dtype` is a literal in each class, which is what tsc tells them apart by. */
export abstract class Value {
  abstract readonly dtype: string;
  readonly operand: Operand;
  /** Null for a constant. */
  protected readonly builder: Builder | null;

  constructor(operand: Operand, builder: Builder | null) {
    this.operand = operand;
    this.builder = builder;
  }

  /** The builder of a run-time value, for k. */
  get home(): Builder | null {
    return this.builder;
  }

  /** `a + b`, `a < b` and `${a}` on values are mistakes that tsc mostly catches; this catches the rest while the kernel is built. */
  [Symbol.toPrimitive](): never {
    throw new TypeError(`a run-time ${this.dtype} was used as a TypeScript number or text; use its methods`);
  }
}

export type Make<V extends Value> = new (operand: Operand, builder: Builder | null) => V;

/** Numbers, and bigints for u64. */
type Known = number | bigint;
type Fold = (...operands: Known[]) => Known;
const folders = new Map<Op, Fold>();

/** The meaning of a lane operation as a function, made from the same text that the simulator compiles. */
function folder(op: Op): Fold {
  let fold = folders.get(op);
  if (fold === undefined) {
    if (op.meaning.kind !== 'lane') throw new TypeError(`${op.name} cannot be folded`);
    const compiled = evaluate(['m'], `return (a, b, c, d) => ${op.meaning.expression};`, [m]);
    if (typeof compiled !== 'function') throw new TypeError(`${op.name} has no meaning`);
    const known = (result: unknown): Known => (typeof result === 'bigint' ? result : Number(result));
    fold = (...operands) => known(compiled(...operands));
    folders.set(op, fold);
  }
  return fold;
}

/** The pattern of a folded result, by the kind the operation writes. */
function resultBits(op: Op, value: Known): Known {
  if (typeof value === 'bigint') return BigInt.asUintN(64, value);
  return (computedAs(op, op.dst[0]!) === 'f32' ? m.f32Bits(value) : value | 0) >>> 0;
}

function operandKnown(op: Op, index: number, { bits }: Immediate): Known {
  const kind = computedAs(op, op.src[index]!);
  if (kind === 'u64') return BigInt(bits);
  return kind === 'f32' ? m.f32(Number(bits)) : Number(bits) | 0;
}

/** Emits `op`, or folds it when every operand is a constant. */
export function compute<V extends Value>(make: Make<V>, op: Op, operands: readonly (Value | Immediate)[]): V {
  const sources = operands.map((operand) => (operand instanceof Value ? operand.operand : operand));
  const constants = sources.flatMap((source, i) => (isReg(source) ? [] : [operandKnown(op, i, source)]));
  if (constants.length === sources.length) return new make({ bits: resultBits(op, folder(op)(...constants)) }, null);
  const builder = operands.reduce<Builder | null>(
    (found, operand) => found ?? (operand instanceof Value ? operand.home : null),
    null,
  );
  if (builder === null) throw new TypeError(`${op.name} on a value of no kernel`);
  return new make(builder.value(op, sources), builder);
}

/** A value of the same type in another register. */
export function moved<V extends Value>(value: V, operand: Operand, builder: Builder | null): V {
  const copy: V = Object.create(Object.getPrototypeOf(value), Object.getOwnPropertyDescriptors(value));
  return Object.defineProperties(copy, { operand: { value: operand }, builder: { value: builder } });
}
