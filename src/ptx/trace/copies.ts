// The part of `k` for copies that go on while the program does: by groups (cp.async), and in bulk by mbarriers.
import * as copies from '../isa/async.ts';
import type { Global, MBarrier, Shared, Tensor } from '../pointers.ts';
import type { ElemType, Operand } from '../program.ts';
import type { Int } from '../values.ts';
import { operandOf } from './base.ts';
import { Memory } from './memory.ts';

export interface BulkLoadOptions {
  /** What the second-level cache does with the lines; default: as it likes. */
  readonly evict?: copies.Eviction;
  /** The CTAs of the cluster that get a copy, as a mask of ranks; each one's mbarrier at the same place is told. */
  readonly multicast?: number;
}

const optionsOf = ({ evict, multicast }: BulkLoadOptions): copies.BulkOptions => ({
  ...(evict === undefined ? {} : { evict }),
  multicast: multicast !== undefined,
});
const maskOf = ({ multicast }: BulkLoadOptions): Operand[] => (multicast === undefined ? [] : [{ bits: multicast }]);

export class Copies extends Memory {
  /** Begins to copy 4, 8 or 16 bytes a lane (all of them aligned to that) into shared memory; nobody may read them before a wait and a barrier. */
  cpAsync<T extends ElemType>(to: Shared<T>, from: Global<NoInfer<T>>, bytes: 4 | 8 | 16 = 16): void {
    this.effect(copies.copyAsync(bytes), [to.operand, from.operand]);
  }
  /** Closes the group of copies begun since the last commit. */
  cpAsyncCommit(): void {
    this.effect(copies.commitCopies);
  }
  /** Waits until at most `pending` of the thread's groups are under way: its own copies are then there, those of others after a barrier. */
  cpAsyncWait(pending: number): void {
    this.effect(copies.waitCopies(pending));
  }

  // ---- bulk: each active lane begins one copy, so one lane should (k.if(k.lane.eq(0), ...))
  /** Copies `bytes` bytes, a multiple of 16, between places aligned to 16. `barrier` must expect them (k.mbarrierArriveExpectTx); whoever waits for its phase may read. */
  cpAsyncBulk<T extends ElemType>(
    to: Shared<T>,
    from: Global<NoInfer<T>>,
    bytes: Int,
    barrier: MBarrier,
    options: BulkLoadOptions = {},
  ): void {
    const sources = [to.operand, from.operand, operandOf(bytes), barrier.operand, ...maskOf(options)];
    this.effect(copies.bulkLoad(optionsOf(options)), sources);
  }
  /** Copies the box of a matrix that begins at (row, column), swizzled as the parameter declares; rows and columns outside of it come as 0. The column must be a multiple of 16 bytes. */
  cpAsyncBulkTensor<T extends ElemType>(
    to: Shared<T>,
    from: Tensor<NoInfer<T>>,
    [row, column]: readonly [row: Int, column: Int],
    barrier: MBarrier,
    options: BulkLoadOptions = {},
  ): void {
    const place = [operandOf(column), operandOf(row)];
    const sources = [to.operand, from.operand, ...place, barrier.operand, ...maskOf(options)];
    this.effect(copies.boxLoad(optionsOf(options)), sources);
  }

  /** Copies out of shared memory, which must be fenced (k.fenceProxyAsync) and stay as it is until the group is waited for. */
  cpAsyncBulkStore<T extends ElemType>(to: Global<T>, from: Shared<NoInfer<T>>, bytes: Int): void {
    this.effect(copies.bulkStore, [to.operand, from.operand, operandOf(bytes)]);
  }
  /** Stores the box that begins at (row, column), neither negative; what lies outside of the matrix is left out. The column is a multiple of 16 bytes. */
  cpAsyncBulkTensorStore<T extends ElemType>(
    to: Tensor<T>,
    [row, column]: readonly [row: Int, column: Int],
    from: Shared<NoInfer<T>>,
  ): void {
    this.effect(copies.boxStore, [to.operand, operandOf(column), operandOf(row), from.operand]);
  }
  /** Closes the group of bulk stores begun since the last commit. */
  cpAsyncBulkCommit(): void {
    this.effect(copies.commitBulk);
  }
  /** Waits until at most `pending` groups of bulk stores are under way; `read`: have still to read shared memory. */
  cpAsyncBulkWait(pending: number, { read = false }: { readonly read?: boolean } = {}): void {
    this.effect(copies.waitBulk(pending, read));
  }
  /** Brings `bytes` bytes into the second-level cache. */
  cpAsyncBulkPrefetch(from: Global<ElemType>, bytes: Int): void {
    this.effect(copies.bulkPrefetch, [from.operand, operandOf(bytes)]);
  }
}
