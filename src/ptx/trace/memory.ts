// The part of `k` for memory that a thread reads and writes itself: allocation, loads, stores, atomics, and their order.
import type { Scope } from '../machine.ts';
import * as memory from '../isa/memory.ts';
import * as sync from '../isa/sync.ts';
import * as warp from '../isa/warp.ts';
import type { Layout } from '../layout.ts';
import { Global, MBarrier, Remote, RemoteMBarrier, Shared } from '../pointers.ts';
import { elemBytes, type ElemType } from '../program.ts';
import { moved } from '../value.ts';
import { B16, B32, type Bf16x2, type F16x2, F32, type Int, type S32, U32 } from '../values.ts';
import { operandOf } from './base.ts';
import { Control } from './control.ts';

/** Reads through the non-coherent path, and what the first-level cache keeps of it. */
export interface LoadOptions {
  readonly readOnly?: boolean;
  readonly hint?: memory.CacheHint;
}

/** One, two or four words, which must be aligned to all of them. */
export type Words = readonly [B32] | readonly [B32, B32] | readonly [B32, B32, B32, B32];
type Atomic = U32 | S32 | F32 | F16x2 | Bf16x2;
type Counter = U32 | S32;
/** Where an atomic operation may work. */
type Place = Global<ElemType> | Shared<ElemType> | Remote<ElemType>;

/** Relaxed orders nothing else; release hands over what this thread did before, acquire takes over what a release gave. Default scope: the GPU. */
export interface AtomicOptions {
  readonly order?: sync.AtomicOrder;
  readonly scope?: Scope;
}

const MBARRIER_BYTES = 8;
/** What the pattern of a 128-byte swizzle spans: 8 rows. */
const PATTERN_BYTES = 1024;

const spaceOf = (at: Place): 'global' | 'shared' | 'cluster' => (at.dtype === 'remote' ? 'cluster' : at.dtype);

export class Memory extends Control {
  // ---- allocation
  /** Where tiles begin, in bytes from the start of shared memory. */
  private readonly starts = new Map<Shared<ElemType>, number>();

  private allocate(bytes: number, alignment: number): number {
    const start = Math.ceil(this.builder.sharedBytes / alignment) * alignment;
    this.builder.sharedBytes = start + bytes;
    return start;
  }

  private sharedAt(start: number): U32 {
    return this.special(warp.sharedBase).add(start);
  }

  /** Shared memory for `stages` tiles of a layout, uninitialised; aligned to 1024 bytes where tiles are a multiple of that, so that hardware swizzles fit, else to 128. */
  shared<T extends ElemType>(tile: Layout<T>, stages = 1): Shared<T> {
    const bytes = tile.count * elemBytes[tile.elem];
    const start = this.allocate(bytes * stages, bytes % PATTERN_BYTES === 0 ? PATTERN_BYTES : 128);
    const shared = new Shared(tile.elem, this.sharedAt(start).operand, this.builder);
    this.starts.set(shared, start);
    return shared;
  }

  /** The memory from where `first` begins once more, for other tiles: all who used it must have met at a barrier, and its bulk copies be over. */
  sharedOver<T extends ElemType>(first: Shared<ElemType>, tile: Layout<T>, stages = 1): Shared<T> {
    const start = this.starts.get(first);
    if (start === undefined) throw new TypeError('sharedOver takes what k.shared gave');
    this.builder.sharedBytes = Math.max(this.builder.sharedBytes, start + tile.count * elemBytes[tile.elem] * stages);
    return new Shared(tile.elem, first.operand, this.builder);
  }

  /** Room for mbarriers; each must be made (k.mbarrierInit) by one thread before any other uses it. */
  mbarriers(count: number): MBarrier {
    this.builder.mbarriers += count;
    return new MBarrier(this.sharedAt(this.allocate(MBARRIER_BYTES * count, MBARRIER_BYTES)).operand, this.builder);
  }

  // ---- loads and stores
  /** Words at an address: 1, 2 or 4 of 32 bits, which must be aligned to all of them. */
  ldGlobal(from: Global<ElemType>, words: 1 | 2 | 4, options: LoadOptions = {}): readonly B32[] {
    return this.words(memory.load('global', words, 'b32', options), from);
  }
  ldShared(from: Shared<ElemType>, words: 1 | 2 | 4): readonly B32[] {
    return this.words(memory.load('shared', words, 'b32'), from);
  }
  /** Out of another CTA's shared memory. */
  ldRemote(from: Remote<ElemType>, words: 1 | 2 | 4): readonly B32[] {
    return this.words(memory.load('cluster', words, 'b32'), from);
  }
  private words(op: Parameters<Memory['results']>[0], from: Place): readonly B32[] {
    return this.results(op, [from.operand]).map((reg) => new B32(reg, this.builder));
  }

  stGlobal(to: Global<ElemType>, values: Words): void {
    this.put('global', to, values);
  }
  stShared(to: Shared<ElemType>, values: Words): void {
    this.put('shared', to, values);
  }
  stRemote(to: Remote<ElemType>, values: Words): void {
    this.put('cluster', to, values);
  }
  private put(space: 'global' | 'shared' | 'cluster', to: Place, values: Words): void {
    this.effect(memory.store(space, values.length, 'b32'), [to.operand, ...values.map((value) => value.operand)]);
  }

  /** One f32 of global memory. */
  ldF32(from: Global<'f32'>, options: LoadOptions = {}): F32 {
    return new F32(this.result(memory.load('global', 1, 'f32', options), [from.operand]), this.builder);
  }
  stF32(to: Global<'f32'>, value: F32): void {
    this.effect(memory.store('global', 1, 'f32'), [to.operand, value.operand]);
  }

  /** One 16-bit element. */
  ldB16(from: Global<'f16' | 'bf16' | 'b16'>, options: LoadOptions = {}): B16 {
    return new B16(this.result(memory.load('global', 1, 'b16', options), [from.operand]), this.builder);
  }
  stB16(to: Global<'f16' | 'bf16' | 'b16'>, value: B16): void {
    this.effect(memory.store('global', 1, 'b16'), [to.operand, value.operand]);
  }

  /** Brings the line of an address into a cache. */
  prefetch(from: Global<ElemType>, level: 'L1' | 'L2' = 'L2'): void {
    this.effect(memory.prefetch(level), [from.operand]);
  }

  // ---- ordered accesses: flags by which threads tell each other
  /** Reads a flag; what its writer did before a release to it is seen by all that comes after. */
  ldAcquire(from: Global<'u32'>, scope: Scope = 'gpu'): U32 {
    return new U32(this.result(memory.loadOrdered('global', 'u32', 'acquire', scope), [from.operand]), this.builder);
  }
  /** Reads what others may write meanwhile, and learns nothing else by it. */
  ldRelaxed(from: Global<'u32'>, scope: Scope = 'gpu'): U32 {
    return new U32(this.result(memory.loadOrdered('global', 'u32', 'relaxed', scope), [from.operand]), this.builder);
  }
  stRelease(to: Global<'u32'>, value: Int, scope: Scope = 'gpu'): void {
    this.effect(memory.storeOrdered('global', 'u32', 'release', scope), [to.operand, operandOf(value)]);
  }
  stRelaxed(to: Global<'u32'>, value: Int, scope: Scope = 'gpu'): void {
    this.effect(memory.storeOrdered('global', 'u32', 'relaxed', scope), [to.operand, operandOf(value)]);
  }
  /** Makes relaxed accesses around it release and acquire (fence.acq_rel). */
  fence(scope: Scope = 'gpu'): void {
    this.effect(sync.fence(scope));
  }

  /** Adds and gives what was there. */
  atomAdd<V extends Atomic>(at: Place, value: V, options?: AtomicOptions): V {
    return this.atom('add', at, value, options);
  }
  atomMin<V extends Counter>(at: Place, value: V, options?: AtomicOptions): V {
    return this.atom('min', at, value, options);
  }
  atomMax<V extends Counter>(at: Place, value: V, options?: AtomicOptions): V {
    return this.atom('max', at, value, options);
  }
  atomExch(at: Place, value: U32, options?: AtomicOptions): U32 {
    return this.atom('exch', at, value, options);
  }
  private atom<V extends Atomic>(
    f: sync.AtomicFunction,
    at: Place,
    value: V,
    { order = 'relaxed', scope = 'gpu' }: AtomicOptions = {},
  ): V {
    const op = sync.atom(spaceOf(at), f, value.dtype, order, scope);
    return moved(value, this.result(op, [at.operand, value.operand]), this.builder);
  }
  /** Writes `value` where memory equals `expected`; gives what was there. */
  atomCas(at: Place, expected: Int, value: Int, { order = 'relaxed', scope = 'gpu' }: AtomicOptions = {}): U32 {
    const op = sync.atomCas(spaceOf(at), order, scope);
    return new U32(this.result(op, [at.operand, operandOf(expected), operandOf(value)]), this.builder);
  }
  /** Adds and reads nothing. f16x2, bf16x2 and f32 sums depend on the order of arrival. */
  redAdd(
    at: Place,
    value: Atomic,
    { order = 'relaxed', scope = 'gpu' }: { readonly order?: 'relaxed' | 'release'; readonly scope?: Scope } = {},
  ): void {
    this.effect(sync.red(spaceOf(at), 'add', value.dtype, order, scope), [at.operand, value.operand]);
  }

  // ---- clusters
  /** The same place in the shared memory of CTA `rank` of the cluster. */
  mapa<T extends ElemType>(at: Shared<T>, rank: Int): Remote<T> {
    return new Remote(at.elem, this.builder.value(sync.mapa, [at.operand, operandOf(rank)]), this.builder);
  }
  mapaMBarrier(at: MBarrier, rank: Int): RemoteMBarrier {
    return new RemoteMBarrier(this.builder.value(sync.mapa, [at.operand, operandOf(rank)]), this.builder);
  }
}
