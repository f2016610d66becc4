// `k`, what a kernel function is given: everything with an effect. Memory, other lanes, tensor cores, control flow.
import type { Builder } from './builder.ts';
import type { FragA, FragB, FragC } from './fragments.ts';
import * as lane from './isa/lane.ts';
import * as matrix from './isa/matrix.ts';
import * as memory from './isa/memory.ts';
import * as warp from './isa/warp.ts';
import type { Layout } from './layout.ts';
import { classOf, type Op } from './op.ts';
import { elemBytes, type ElemType, type Operand, type Reg } from './program.ts';
import { B32, Bf16x2, F16x2, F32, Global, type Int, Pred, S32, Shared, U32, u32, type Value } from './values.ts';
import { here } from './where.ts';

/** A register that loops and branches may change: read it like any value, change it with `set`. */
export type Var<V extends Value> = V & { readonly set: (next: V) => void };

type Mutable = U32 | S32 | B32 | F32 | F16x2 | Bf16x2 | Pred;

/** Reads through the non-coherent path, and what the first-level cache keeps of it. */
export interface LoadOptions {
  readonly readOnly?: boolean;
  readonly hint?: memory.CacheHint;
}

const operandOf = (x: Int): Operand => (typeof x === 'number' ? u32(x) : x).operand;

export class K {
  private readonly builder: Builder;

  constructor(builder: Builder) {
    this.builder = builder;
  }

  private special(op: Op): U32 {
    return new U32(this.builder.value(op, []), this.builder);
  }

  // ---- who am I
  get thread(): U32 {
    return this.special(warp.threadIndex);
  }
  get lane(): U32 {
    return this.thread.mod(32);
  }
  get warp(): U32 {
    return this.thread.div(32);
  }
  get cta(): { readonly x: U32; readonly y: U32; readonly z: U32 } {
    return { x: this.special(warp.ctaX), y: this.special(warp.ctaY), z: this.special(warp.ctaZ) };
  }
  get grid(): { readonly x: U32; readonly y: U32 } {
    return { x: this.special(warp.gridX), y: this.special(warp.gridY) };
  }

  // ---- control flow
  /** Runs `then` in the lanes where p holds, `otherwise` in the others. */
  if(p: Pred, then: () => void, otherwise?: () => void): void {
    const where = here();
    const condition = this.register(p);
    this.builder.push({
      kind: 'if',
      condition,
      body: this.builder.block(then),
      otherwise: otherwise === undefined ? null : this.builder.block(otherwise),
      where,
    });
  }

  /** A loop at run time (a TypeScript `for` unrolls): from, from + step, ... while below `to`. */
  loop(from: Int, to: Int, step: number, body: (i: U32) => void): void {
    const where = here();
    let index: Reg | null = null;
    const stmts = this.builder.block(() => {
      index = this.builder.reg('b32');
      body(new U32(index, this.builder));
    });
    if (index === null) throw new TypeError('a loop without an index');
    this.builder.push({ kind: 'loop', index, from: operandOf(from), to: operandOf(to), step, body: stmts, where });
  }

  /** Runs `body` as long as `test` gives a predicate that holds. */
  while(test: () => Pred, body: () => void): void {
    const where = here();
    let condition: Reg | null = null;
    const testStmts = this.builder.block(() => {
      condition = this.register(test());
    });
    if (condition === null) throw new TypeError('a loop without a test');
    this.builder.push({ kind: 'while', test: testStmts, condition, body: this.builder.block(body), where });
  }

  private register(p: Pred): Reg {
    const { operand } = p;
    if ('id' in operand) return operand;
    throw new TypeError('the predicate is known while the kernel is built: use a TypeScript if');
  }

  /** A register with a first value, which inner blocks may set. */
  var<V extends Mutable>(first: V): Var<V> {
    const move = moveOf(first);
    const reg = this.builder.variable(classOf[move.dst[0]!]);
    this.builder.emit(move, [reg], [first.operand]);
    const set = (next: V): void => this.builder.emit(move, [reg], [next.operand]);
    const value: V = Object.create(Object.getPrototypeOf(first), Object.getOwnPropertyDescriptors(first));
    return Object.assign(
      Object.defineProperties(value, { operand: { value: reg }, builder: { value: this.builder } }),
      { set },
    );
  }

  /** yes where p holds, no elsewhere. */
  select<V extends U32 | S32 | B32 | F16x2 | Bf16x2 | F32>(p: Pred, yes: V, no: V): V {
    const op = yes.dtype === 'f32' ? lane.selectF32 : lane.selectB32;
    const reg = this.builder.value(op, [yes.operand, no.operand, p.operand]);
    const value: V = Object.create(Object.getPrototypeOf(yes), Object.getOwnPropertyDescriptors(yes));
    return Object.defineProperties(value, { operand: { value: reg }, builder: { value: this.builder } });
  }

  // ---- memory
  /** Shared memory for `stages` tiles of a layout, aligned to 128 bytes; uninitialised. */
  shared<T extends ElemType>(tile: Layout<T>, stages = 1): Shared<T> {
    const start = Math.ceil(this.builder.sharedBytes / 128) * 128;
    this.builder.sharedBytes = start + tile.count * elemBytes[tile.elem] * stages;
    const base = new U32(this.builder.value(warp.sharedBase, []), this.builder);
    return new Shared(tile.elem, base.add(start).operand, this.builder);
  }

  private results(op: Op, sources: readonly Operand[]): Reg[] {
    const dst = op.dst.map((kind) => this.builder.reg(classOf[kind]));
    this.builder.emit(op, dst, sources);
    return dst;
  }

  /** Words at an address: 1, 2 or 4 of 32 bits, which must be aligned to all of them. */
  ldGlobal(from: Global<ElemType>, words: 1 | 2 | 4, options: LoadOptions = {}): readonly B32[] {
    return this.results(memory.load('global', words, 'b32', options), [from.operand]).map(
      (reg) => new B32(reg, this.builder),
    );
  }
  ldShared(from: Shared<ElemType>, words: 1 | 2 | 4): readonly B32[] {
    return this.results(memory.load('shared', words, 'b32'), [from.operand]).map((reg) => new B32(reg, this.builder));
  }
  stGlobal(to: Global<ElemType>, values: readonly [B32] | readonly [B32, B32] | readonly [B32, B32, B32, B32]): void {
    this.builder.emit(
      memory.store('global', values.length, 'b32'),
      [],
      [to.operand, ...values.map((value) => value.operand)],
    );
  }
  stShared(to: Shared<ElemType>, values: readonly [B32] | readonly [B32, B32] | readonly [B32, B32, B32, B32]): void {
    this.builder.emit(
      memory.store('shared', values.length, 'b32'),
      [],
      [to.operand, ...values.map((value) => value.operand)],
    );
  }

  /** One f32 of global memory. */
  ldF32(from: Global<'f32'>, options: LoadOptions = {}): F32 {
    return new F32(this.results(memory.load('global', 1, 'f32', options), [from.operand])[0]!, this.builder);
  }
  stF32(to: Global<'f32'>, value: F32): void {
    this.builder.emit(memory.store('global', 1, 'f32'), [], [to.operand, value.operand]);
  }

  /** Begins to copy 4, 8 or 16 bytes a lane (all of them aligned to that) into shared memory; nobody may read them before a wait and a barrier. */
  cpAsync<T extends ElemType>(to: Shared<T>, from: Global<NoInfer<T>>, bytes: 4 | 8 | 16 = 16): void {
    this.builder.emit(memory.copyAsync[bytes], [], [to.operand, from.operand]);
  }
  /** Closes the group of copies begun since the last commit. */
  cpAsyncCommit(): void {
    this.builder.emit(memory.commitCopies, [], []);
  }
  /** Waits until at most `pending` of the thread's groups are under way: its own copies are then there, those of others after a barrier. */
  cpAsyncWait(pending: number): void {
    this.builder.emit(memory.waitCopies(pending), [], []);
  }

  /** All threads of the CTA wait for each other; what they wrote before is seen by all after. */
  barSync(): void {
    this.builder.emit(warp.barSync, [], []);
  }

  // ---- other lanes
  /** The value of lane ^ mask. */
  shflBfly<V extends U32 | B32 | F32>(value: V, mask: Int): V {
    return this.shuffled(value, 'bfly', mask);
  }
  /** The value of lane `source`. */
  shflIdx<V extends U32 | B32 | F32>(value: V, source: Int): V {
    return this.shuffled(value, 'idx', source);
  }
  private shuffled<V extends U32 | B32 | F32>(value: V, mode: warp.ShuffleMode, by: Int): V {
    const bits = value.dtype === 'f32' ? value.asB32().operand : value.operand;
    const [reg] = this.results(warp.shuffle[mode], [bits, operandOf(by)]);
    const moved = new B32(reg!, this.builder);
    const result = value.dtype === 'f32' ? moved.asF32().operand : moved.operand;
    const copy: V = Object.create(Object.getPrototypeOf(value), Object.getOwnPropertyDescriptors(value));
    return Object.defineProperties(copy, { operand: { value: result } });
  }

  // ---- tensor cores
  /** A 16 x 16 fragment of A: lane l gives the address of row l % 16, columns 8 (l / 16) on. */
  ldmatrixA(from: Shared<'f16'>): FragA {
    const [a, b, c, d] = this.results(matrix.ldmatrix[4], [from.operand]).map((reg) => new F16x2(reg, this.builder));
    return { role: 'A 16x16', type: 'f16', values: [a!, b!, c!, d!] };
  }
  /** A 16 x 8 fragment of B from rows of its transpose: lane l gives the address of row l % 8, columns 8 (l / 8 % 2) on. */
  ldmatrixB(from: Shared<'f16'>): FragB {
    const [a, b] = this.results(matrix.ldmatrix[2], [from.operand]).map((reg) => new F16x2(reg, this.builder));
    return { role: 'B 16x8', type: 'f16', values: [a!, b!] };
  }
  /** A fragment of sums, all zero. */
  accumulator(): FragC {
    const zero = (): Var<F32> => this.var(new F32({ bits: 0 }, null));
    return { role: 'C 16x8', values: [zero(), zero(), zero(), zero()] };
  }
  /** acc += a . b */
  mma<T extends 'f16' | 'bf16'>(acc: FragC, a: FragA<T>, b: FragB<T>): void {
    const sums = acc.values.map((value) => value.operand);
    this.builder.emit(
      matrix.mma[a.type],
      sums.flatMap((sum) => ('id' in sum ? [sum] : [])),
      [...a.values.map((v) => v.operand), ...b.values.map((v) => v.operand), ...sums],
    );
  }
}

function moveOf(value: Mutable): Op {
  if (value.dtype === 'f32') return lane.movF32;
  return value.dtype === 'pred' ? lane.movPred : lane.movB32;
}
