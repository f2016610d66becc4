// What kernels of sm_90 share whose CTAs stay for many tiles and are fed by a ring of stages: where a ring stands, in which order tiles are gone
// through, how a stage is let go. Knows no operation.
import type { MBarrier } from '../ptx/pointers.ts';
import type { K } from '../ptx/trace.ts';
import { type Int, type Pred, u32, type U32, type Var } from '../ptx/values.ts';

/** Where a ring stands: its slot, and the parity of the phase that is waited for there. */
export class Ring {
  readonly stage: Var<U32>;
  readonly parity: Var<U32>;
  private readonly k: K;
  private readonly stages: number;

  /** `parity`: 1 for who fills, since all stages are empty at first; 0 for who reads. */
  constructor(k: K, stages: number, parity: 0 | 1) {
    this.k = k;
    this.stages = stages;
    this.stage = k.var(u32(0));
    this.parity = k.var(u32(parity));
  }

  advance(): void {
    const next = this.stage.add(1);
    const round = next.eq(this.stages);
    this.stage.set(this.k.select(round, u32(0), next));
    this.parity.set(this.k.select(round, this.parity.xor(1), this.parity));
  }
}

const times = (x: Int, factor: number): Int => (typeof x === 'number' ? x * factor : x.mul(factor));

/** The tile of a number: `most` rows of tiles are gone through column by column, then the next rows. */
export function placeOf(
  tile: U32,
  rows: number,
  columns: Int,
  most: number,
): { readonly row: U32; readonly column: U32 } {
  const group = Math.min(most, rows);
  const size = times(columns, group);
  const first = tile.div(size).mul(group);
  const inGroup = tile.mod(size);
  // The last group may have fewer rows.
  const height: Int = rows % group === 0 ? group : u32(rows).sub(first).min(group);
  return { row: first.add(inGroup.mod(height)), column: inGroup.div(height) };
}

/**
 * One arrival of the warp at the barrier of each of the first `cluster` CTAs of the cluster, or at its own; where `when` holds. That is one branch: with
 * one inside another, ptxas serialises products under way around it (C7513).
 */
export function release(k: K, barrier: MBarrier, cluster: number, when: Pred | null = null): void {
  const one = cluster === 1 ? k.lane.eq(0) : k.lane.lt(cluster);
  k.if(when === null ? one : one.and(when), () => {
    if (cluster === 1) k.mbarrierArrive(barrier);
    else k.mbarrierArriveRemote(k.mapaMBarrier(barrier, k.lane));
  });
}
