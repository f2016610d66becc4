// Where warps meet: the barriers of a CTA, the barrier of a cluster, mbarriers. They hand on knowledge; who waits is the warp's affair.
import type { Knowledge } from './knowledge.ts';

/** A barrier of a CTA, or of a cluster: a turn ends when all that it expects have come. */
export class Barrier {
  /** How often it has been passed. */
  turn = 0;
  arrived = 0;
  /** How many those who are there wait for. */
  expected = 0;
  /** What those who came knew; of the turn that ended last. */
  released: Knowledge | null = null;
  private gathered: Knowledge | null = null;

  /** One warp more of `expected`; true when it was the last. `knowledge`: null to tell nothing. */
  arrive(knowledge: Knowledge | null, expected: number): boolean {
    this.arrived++;
    this.expected = expected;
    if (knowledge !== null) {
      if (this.gathered === null) this.gathered = knowledge.copy();
      else this.gathered.join(knowledge);
    }
    if (this.arrived < expected) return false;
    this.released = this.gathered;
    this.gathered = null;
    this.arrived = 0;
    this.turn++;
    return true;
  }
}

/** Bytes that an mbarrier can await (PTX ISA, tx-count). */
export const MOST_BYTES: number = 2 ** 20 - 1;

/** An mbarrier: a phase ends when `count` arrivals and all bytes it expects have come. */
export class MBarrier {
  /** Its number among the actors of the team. */
  readonly actor: number;
  /** Byte address in its CTA. */
  readonly address: number;
  readonly count: number;
  /** The warp of the team that made it, and at what time of its clock. */
  madeBy = 0;
  madeAt = 0;
  /** Usable by bulk copies. */
  fenced = false;
  /** After how many turns of the cluster's barrier all of the cluster know of it, by a fence (fence.mbarrier_init) before a relaxed arrival. */
  visibleFrom: number = Number.POSITIVE_INFINITY;
  /** The phase under way; those before are over. */
  phase = 0;
  pending: number;
  /** Expected and not yet come; negative when more has come. */
  bytes = 0;
  /** Bytes of copies under way that will be told to it. */
  underWay = 0;
  readonly released: Knowledge;
  private readonly gathered: Knowledge;

  constructor(actor: number, address: number, count: number, nothing: Knowledge) {
    this.actor = actor;
    this.address = address;
    this.count = count;
    this.pending = count;
    this.gathered = nothing;
    this.released = nothing.copy();
  }

  /** False when nobody else was expected. */
  arrive(knowledge: Knowledge): boolean {
    if (this.pending === 0) return false;
    this.gathered.join(knowledge);
    this.pending--;
    this.advance();
    return true;
  }

  complete(bytes: number): void {
    this.bytes -= bytes;
    this.underWay -= bytes;
    this.advance();
  }

  private advance(): void {
    if (this.pending !== 0 || this.bytes !== 0) return;
    this.phase++;
    this.pending = this.count;
    this.gathered.clock[this.actor] = this.phase;
    this.released.join(this.gathered);
  }

  /** Whether the phase of `parity` is over. */
  isOver(parity: number): boolean {
    return (this.phase & 1) !== (parity & 1);
  }

  get text(): string {
    const waits = [
      ...(this.pending > 0 ? [`${this.pending} of ${this.count} arrivals`] : []),
      ...(this.bytes > 0 ? [`${this.bytes} bytes`] : []),
      ...(this.bytes < 0 ? [`an expectation of ${-this.bytes} bytes that came`] : []),
    ];
    return `the mbarrier at shared byte ${this.address}, in phase ${this.phase} (parity ${this.phase & 1}), which lacks ${waits.join(' and ')}`;
  }
}
