// A CTA: its warps, its shared memory, and the order in which the warps run.
import type { Random } from '../base/random.ts';
import type { Index3 } from '../ptx/machine.ts';
import type { Reg } from '../ptx/program.ts';
import type { Compiled } from './compile.ts';
import type { Findings } from './findings.ts';
import { type GlobalMemory, SharedMemory } from './memory.ts';
import { Warp } from './warp.ts';

export interface CtaContext {
  readonly compiled: Compiled;
  readonly threads: number;
  readonly sharedBytes: number;
  readonly grid: Index3;
  readonly global: GlobalMemory;
  readonly parameters: ReadonlyMap<string, number>;
  readonly findings: Findings;
}

export class Cta {
  readonly index: Index3;
  readonly grid: Index3;
  readonly warpCount: number;
  readonly shared: SharedMemory;
  readonly global: GlobalMemory;
  readonly findings: Findings;
  /** How often all warps have passed the barrier. */
  barrierTurn = 0;
  private arrived: Warp[] = [];
  private readonly context: CtaContext;
  private readonly warps: readonly Warp[];

  constructor(context: CtaContext, index: Index3) {
    this.context = context;
    this.index = index;
    this.grid = context.grid;
    this.global = context.global;
    this.findings = context.findings;
    this.warpCount = context.threads / 32;
    this.shared = new SharedMemory(context.sharedBytes, this.warpCount);
    this.warps = Array.from({ length: this.warpCount }, (_, i) => new Warp(this, i, context.compiled.slots));
  }

  parameter(name: string): number {
    return this.context.parameters.get(name) ?? 0;
  }

  slotOf(reg: Reg): number {
    return this.context.compiled.slotOf[reg.id]!;
  }

  /** A warp reaches the barrier; returns the turn it belongs to. The last one joins what all know. */
  arrive(warp: Warp): number {
    const turn = this.barrierTurn;
    this.arrived.push(warp);
    if (this.arrived.length < this.warpCount) return turn;
    const joined = new Int32Array(this.warpCount);
    for (const other of this.arrived)
      for (const [i, time] of other.clock.entries()) joined[i] = Math.max(joined[i]!, time);
    for (const other of this.arrived) {
      other.clock.set(joined);
      other.clock[other.index]!++;
    }
    this.arrived = [];
    this.barrierTurn++;
    return turn;
  }

  /** Runs all warps to their end, in an order drawn from `random` wherever one has to wait. */
  run(random: Random): void {
    const running = this.warps.map((warp) => ({ warp, steps: this.context.compiled.start(warp) }));
    while (running.length > 0) {
      const ready = running.filter(({ warp }) => warp.waiting === null || warp.waiting.ready());
      if (ready.length === 0) {
        const waits = running.map(({ warp }) => `warp ${warp.index} at ${warp.waiting!.what}`).join(', ');
        this.findings.report(
          'deadlock',
          running[0]!.warp.waiting!.where,
          `${waits}; ${this.warpCount - running.length} of ${this.warpCount} warps have ended`,
        );
        return;
      }
      const chosen = ready[random.integer(ready.length)]!;
      if (chosen.steps.next().done === true) running.splice(running.indexOf(chosen), 1);
    }
  }
}
