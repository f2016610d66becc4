// A CTA: its shared memory and its barriers. Its warps belong to the team.
import type { Index3 } from '../ptx/machine.ts';
import { Barrier, type MBarrier } from './barriers.ts';
import { SharedMemory } from './memory.ts';
import type { Team } from './team.ts';

export class Cta {
  readonly team: Team;
  readonly index: Index3;
  /** Its number in the cluster. */
  readonly rank: number;
  readonly shared: SharedMemory;
  private readonly barriers: Barrier[] = [];
  /** By byte address. */
  readonly mbarriers: Map<number, MBarrier> = new Map();
  /** All its warps have ended: its shared memory is gone. */
  ended = false;

  constructor(team: Team, index: Index3, rank: number) {
    this.team = team;
    this.index = index;
    this.rank = rank;
    this.shared = team.launch.windows.pop()?.clear() ?? new SharedMemory(team.launch.program.sharedBytes, team.size);
  }

  barrier(id: number): Barrier {
    return (this.barriers[id] ??= new Barrier());
  }
}
