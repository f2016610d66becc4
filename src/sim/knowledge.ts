// What a warp knows of others' past: vector clocks (Lamport's happened-before, as FastTrack uses it). A team is the CTAs of a cluster; its actors
// are its warps and its mbarriers, whose time counts phases. Knows no memory.
//
// Coarser than the hardware, on purpose: lanes of a warp know the same. One lane that arrives, releases, waits or acquires does so for all, also
// where the others would need k.syncWarp around it.

/** Clocks of other teams, by team. Shared between warps, so never changed in place. */
type Foreign = ReadonlyMap<number, Int32Array>;

function joinInto(target: Int32Array, from: Int32Array): void {
  for (let i = 0; i < target.length; i++) if (from[i]! > target[i]!) target[i] = from[i]!;
}

function joined(a: Int32Array, b: Int32Array): Int32Array {
  const both = a.slice();
  joinInto(both, b);
  return both;
}

function joinForeign(a: Foreign | null, b: Foreign | null): Foreign | null {
  if (a === b || b === null) return a;
  if (a === null) return b;
  const both = new Map(a);
  for (const [team, clock] of b) {
    const known = both.get(team);
    both.set(team, known === undefined ? clock : joined(known, clock));
  }
  return both;
}

/** How wide the circle is among which a release is seen; compared as numbers. */
export type Reach = 0 | 1 | 2;
export const reachOf: Readonly<Record<'cta' | 'cluster' | 'gpu', Reach>> = { cta: 0, cluster: 1, gpu: 2 };

/** What a release gave away: the releaser's knowledge at that time, in the terms of all teams. */
export interface Released {
  readonly clocks: Foreign;
  /** In the releaser's team: which of its shared memory is fenced for bulk copies and wgmma. */
  readonly fenced: Int32Array;
  readonly reach: Reach;
  readonly team: number;
  readonly rank: number;
}

export class Knowledge {
  readonly team: number;
  readonly rank: number;
  /** Of each actor of the team, up to what time its doings are known. */
  readonly clock: Int32Array;
  /** Of each warp of the team, up to what time its ordinary stores to shared memory are fenced for bulk copies and wgmma. */
  readonly fenced: Int32Array;
  private foreign: Foreign | null = null;

  constructor(team: number, rank: number, actors: number, warps: number) {
    this.team = team;
    this.rank = rank;
    this.clock = new Int32Array(actors);
    this.fenced = new Int32Array(warps);
  }

  copy(): Knowledge {
    const copy = new Knowledge(this.team, this.rank, this.clock.length, this.fenced.length);
    copy.join(this);
    return copy;
  }

  /** Of the same team. */
  join(other: Knowledge): void {
    joinInto(this.clock, other.clock);
    joinInto(this.fenced, other.fenced);
    this.foreign = joinForeign(this.foreign, other.foreign);
  }

  /** Whether what actor `index` of `team` did at `time` is known. */
  knows(team: number, index: number, time: number): boolean {
    const clock = team === this.team ? this.clock : this.foreign?.get(team);
    return clock !== undefined && clock[index]! >= time;
  }

  /** All that is known, to be left at a flag. */
  release(reach: Reach): Released {
    const clocks = new Map(this.foreign ?? []).set(this.team, this.clock.slice());
    return { clocks, fenced: this.fenced.slice(), reach, team: this.team, rank: this.rank };
  }

  /** Takes over what a flag held, if the flag's reach and one's own reach each other. */
  acquire({ clocks, fenced, reach, team, rank }: Released, own: Reach): void {
    const least = Math.min(reach, own);
    if ((least < 2 && team !== this.team) || (least < 1 && rank !== this.rank)) return;
    const others = new Map(clocks);
    const mine = others.get(this.team);
    if (mine !== undefined) joinInto(this.clock, mine);
    if (team === this.team) joinInto(this.fenced, fenced);
    others.delete(this.team);
    if (others.size > 0) this.foreign = joinForeign(this.foreign, others);
  }
}

/** Two releases to one flag, the second by a read-modify-write that continues the first. */
export function joinReleased(a: Released | undefined, b: Released): Released {
  if (a === undefined) return b;
  const reach = a.reach < b.reach ? a.reach : b.reach;
  const fenced = a.team === b.team ? joined(a.fenced, b.fenced) : b.fenced;
  return { ...b, reach, fenced, clocks: joinForeign(a.clocks, b.clocks) ?? b.clocks };
}
