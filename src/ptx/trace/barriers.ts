// The part of `k` where threads meet: barriers of the CTA, mbarriers, clusters, and kernels that overlap.
import * as sync from '../isa/sync.ts';
import type { MBarrier, RemoteMBarrier } from '../pointers.ts';
import { type Int, Pred } from '../values.ts';
import { operandOf } from './base.ts';
import { Copies } from './copies.ts';

export class Barriers extends Copies {
  /** All threads of the CTA wait for each other, or `threads` of them at barrier `id` (1 .. 15); what they wrote before is seen by all after. */
  barSync(id?: number, threads?: number): void {
    if (id === undefined || threads === undefined) this.effect(sync.barSync);
    else this.effect(sync.namedBarSync(...named(id, threads)));
  }
  /** Counts as being at barrier `id` without waiting; `threads` counts those who wait as well. */
  barArrive(id: number, threads: number): void {
    this.effect(sync.namedBarArrive(...named(id, threads)));
  }
  /** The lanes of a warp wait for each other and see each other's memory. */
  syncWarp(): void {
    this.effect(sync.warpSync);
  }

  // ---- mbarriers: count arrivals and bytes, phase after phase
  /** Makes an mbarrier whose phases end after `count` arrivals and all bytes they expect. */
  mbarrierInit(barrier: MBarrier, count: Int): void {
    this.effect(sync.initBarrier, [barrier.operand, operandOf(count)]);
  }
  /** Lets bulk copies and the cluster use the mbarriers this thread made; the other threads need a barrier besides. */
  fenceMBarrierInit(): void {
    this.effect(sync.fenceBarrierInit);
  }
  /** One arrival for each active lane. */
  mbarrierArrive(barrier: MBarrier): void {
    this.effect(sync.arrive('shared'), [barrier.operand]);
  }
  /** The same at another CTA's: it says that reads are over. To hand stores over, put k.fence('cluster') before it and behind the wait. */
  mbarrierArriveRemote(barrier: RemoteMBarrier): void {
    this.effect(sync.arrive('cluster'), [barrier.operand]);
  }
  /** Expects `bytes` more of bulk copies in this phase, and arrives. */
  mbarrierArriveExpectTx(barrier: MBarrier, bytes: Int): void {
    this.effect(sync.arriveExpect, [barrier.operand, operandOf(bytes)]);
  }
  /** Goes on once the phase of `parity` is over: 0 for the first, 1 for the second, and so on. On a fresh mbarrier the phase of parity 1 counts as over. */
  mbarrierWait(barrier: MBarrier, parity: Int): void {
    this.effect(sync.waitBarrier, [barrier.operand, operandOf(parity)]);
  }
  mbarrierTestWait(barrier: MBarrier, parity: Int): Pred {
    return new Pred(this.result(sync.testBarrier, [barrier.operand, operandOf(parity)]), this.builder);
  }

  /** What was written to shared memory by stores (this thread's, and others' it knows of by a barrier) may be read by bulk copies and wgmma. */
  fenceProxyAsync(): void {
    this.effect(sync.fenceProxyAsync);
  }

  // ---- clusters
  /** Begins to meet all threads of the cluster. Relaxed: without ordering memory. */
  clusterArrive({ relaxed = false }: { readonly relaxed?: boolean } = {}): void {
    this.effect(sync.arriveCluster(relaxed ? 'relaxed' : 'release'));
  }
  clusterWait(): void {
    this.effect(sync.waitCluster);
  }
  clusterSync(): void {
    this.clusterArrive();
    this.clusterWait();
  }

  // ---- the kernels before and behind this one in the stream
  /** Waits for their memory; what comes before it may overlap with them if the launch asks for it. */
  griddepcontrolWait(): void {
    this.effect(sync.gridWait);
  }
  griddepcontrolLaunchDependents(): void {
    this.effect(sync.gridLaunchDependents);
  }

  /** All warps of a warpgroup take registers ('inc') or give them back ('dec'): a multiple of 8 from 24 to 256 a thread. */
  setmaxnreg(direction: 'inc' | 'dec', registers: number): void {
    if (registers % 8 !== 0 || registers < 24 || registers > 256)
      throw new RangeError(`setmaxnreg ${registers}: a multiple of 8 from 24 to 256`);
    this.effect(sync.setMaxRegisters(registers, direction));
  }
}

function named(id: number, threads: number): readonly [id: number, threads: number] {
  if (!Number.isInteger(id) || id < 1 || id > 15) throw new RangeError(`barrier ${id}: 1 to 15`);
  if (threads % 32 !== 0 || threads < 32) throw new RangeError(`a barrier of ${threads} threads: a multiple of 32`);
  return [id, threads];
}
