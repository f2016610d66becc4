// The CTAs of a cluster (one without clusters), which run together: their warps, the copies under way, and the order in which they run.
import type { Random } from '../base/random.ts';
import type { Index3 } from '../ptx/machine.ts';
import type { Program, Where } from '../ptx/program.ts';
import { Barrier, MBarrier } from './barriers.ts';
import type { Compiled } from './compile.ts';
import type { Counters } from './counters.ts';
import { Cta } from './cta.ts';
import type { Findings } from './findings.ts';
import { Knowledge } from './knowledge.ts';
import type { GlobalMemory, SharedMemory } from './memory.ts';
import { endBulkCopy } from './shadow/shared.ts';
import { Warp } from './warp.ts';
import type { RegisterFile } from './warp/registers.ts';

/** What all of a launch have in common. */
export interface Launch {
  readonly program: Program;
  readonly compiled: Compiled;
  readonly grid: Index3;
  readonly global: GlobalMemory;
  readonly parameters: ReadonlyMap<string, number>;
  readonly findings: Findings;
  readonly counters: Counters;
  /** Counts whatever another warp might wait for: when it stands still, nobody gets anywhere. */
  progress: number;
  /** Registers and shared memory of warps and CTAs that have ended: making them anew costs more than a short kernel. */
  readonly files: RegisterFile[];
  readonly windows: SharedMemory[];
  /** It has stood still for a while: loops look whether they still change anything. */
  doubtful: boolean;
}

/** A bulk copy under way into the shared memory of one CTA. */
export interface BulkCopy {
  readonly cta: Cta;
  readonly at: number;
  readonly bytes: number;
  readonly barrier: MBarrier;
  readonly where: Where;
  readonly write: () => void;
}

interface Running {
  readonly warp: Warp;
  readonly steps: Generator<void, void>;
}

export class Team {
  readonly launch: Launch;
  readonly serial: number;
  readonly ctas: readonly Cta[];
  readonly warps: readonly Warp[];
  readonly clusterBarrier: Barrier = new Barrier();
  readonly copies: BulkCopy[] = [];
  private readonly mbarriers: MBarrier[] = [];
  private readonly running: Running[];

  constructor(launch: Launch, serial: number, indices: readonly Index3[]) {
    this.launch = launch;
    this.serial = serial;
    this.ctas = indices.map((index, rank) => new Cta(this, index, rank));
    this.warps = this.ctas.flatMap((cta) =>
      Array.from({ length: this.warpsPerCta }, (_, index) => new Warp(cta, index)),
    );
    this.running = this.warps.map((warp) => ({ warp, steps: launch.compiled.start(warp) }));
  }

  get warpsPerCta(): number {
    return this.launch.program.threads / 32;
  }
  get size(): number {
    return this.warpsPerCta * this.launch.program.cluster;
  }
  get ended(): boolean {
    return this.running.length === 0;
  }
  /** Nothing of it can go on, unless another team changes something. */
  get stuck(): boolean {
    return (
      this.copies.length === 0 && this.running.every(({ warp }) => warp.waiting?.ready() === false || warp.isStill)
    );
  }
  /** Those that have not ended. */
  get left(): readonly Warp[] {
    return this.running.map(({ warp }) => warp);
  }

  get warpsLeft(): number {
    return this.running.length;
  }

  nothing(rank: number): Knowledge {
    const mbarriers = this.launch.program.mbarriers * this.launch.program.cluster;
    return new Knowledge(this.serial, rank, this.size + mbarriers, this.size);
  }

  nameOf(actor: number): string {
    if (actor >= this.size) return `the mbarrier at shared byte ${this.mbarriers[actor - this.size]!.address}`;
    return this.warps[actor]!.name;
  }

  /** A new mbarrier at a place; null when there are more than the program has room for. */
  makeMBarrier(cta: Cta, address: number, count: number): MBarrier | null {
    const before = cta.mbarriers.get(address);
    const room = this.launch.program.mbarriers * this.launch.program.cluster;
    if (before === undefined && this.mbarriers.length === room) return null;
    const actor = before?.actor ?? this.size + this.mbarriers.length;
    const barrier = new MBarrier(actor, address, count, this.nothing(cta.rank));
    this.mbarriers[actor - this.size] = barrier;
    cta.mbarriers.set(address, barrier);
    return barrier;
  }

  /** Lets a warp run until it waits, or a copy end, drawn from `random`; false when nothing can. */
  step(random: Random): boolean {
    const { running, copies } = this;
    if (copies.length > 0 && random.integer(4) === 0) {
      this.endCopy(random.integer(copies.length));
      return true;
    }
    const first = random.integer(running.length);
    for (let i = 0; i < running.length; i++) {
      const at = (first + i) % running.length;
      const { warp, steps } = running[at]!;
      if (warp.waiting !== null && !warp.waiting.ready()) continue;
      if (steps.next().done === true) this.endWarp(at, warp);
      return true;
    }
    if (copies.length === 0) return false;
    this.endCopy(random.integer(copies.length));
    return true;
  }

  private endWarp(at: number, warp: Warp): void {
    const { home } = warp;
    this.running.splice(at, 1);
    warp.end();
    this.launch.files.push(warp.file);
    this.launch.progress++;
    home.ended = this.running.every((other) => other.warp.home !== home);
    if (home.ended) this.endCta(home);
  }

  /** All its warps have ended: copies that nobody waited for come to memory that is gone. */
  private endCta(cta: Cta): void {
    for (const { where, barrier } of this.copies.filter((copy) => copy.cta === cta)) {
      const detail = `the CTA ends while a copy for ${this.nameOf(barrier.actor)} is under way`;
      this.launch.findings.report('unwaited-copy', where, detail);
    }
    const others = this.copies.filter((copy) => copy.cta !== cta);
    this.copies.splice(0, this.copies.length, ...others);
    this.launch.windows.push(cta.shared);
  }

  private endCopy(at: number): void {
    const { cta, at: to, bytes, barrier, write } = this.copies[at]!;
    this.copies.splice(at, 1);
    write();
    endBulkCopy(cta.shared, to, bytes, barrier.actor, barrier.phase + 1);
    barrier.complete(bytes);
    this.launch.counters.sharedWritten += bytes;
    this.launch.progress++;
  }
}
