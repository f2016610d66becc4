// Where a warp meets others: barriers of its CTA and cluster, mbarriers, fences for asynchronous copies.
import type { Space } from '../../ptx/machine.ts';
import type { Instr, Operand, Reg } from '../../ptx/program.ts';
import { type Barrier, type MBarrier, MOST_BYTES } from '../barriers.ts';
import { WarpCopies } from './copies.ts';

export class WarpBarriers extends WarpCopies {
  /** mbarriers this warp made and has not fenced. */
  private fresh: MBarrier[] = [];
  /** The phase of each mbarrier that this warp has seen end last. */
  private passed: Map<MBarrier, number> | null = null;
  private clusterTurn = -1;

  // ---- barriers of the CTA and of the cluster

  *barrier(instr: Instr, id: number, threads: number | null): Generator<void, void> {
    this.converge(instr);
    const expected = threads === null ? this.team.warpsPerCta : threads / 32;
    const barrier = this.agreed(instr, id, expected);
    const { turn } = barrier;
    if (barrier.arrive(this.knowledge, expected)) this.launch.progress++;
    yield* this.until(
      instr,
      () => barrier.turn > turn,
      () => `${instr.op.name} (${barrier.arrived} of ${expected} warps)`,
    );
    this.pass(barrier);
  }

  arriveBarrier(instr: Instr, id: number, threads: number): void {
    this.converge(instr);
    if (this.agreed(instr, id, threads / 32).arrive(this.knowledge, threads / 32)) this.launch.progress++;
    this.tick();
  }

  /** Barrier `id`, at which all must expect as many. */
  private agreed(instr: Instr, id: number, expected: number): Barrier {
    const barrier = this.home.barrier(id);
    if (barrier.arrived > 0 && barrier.expected !== expected) {
      const detail = `${this.name} expects ${expected} warps at barrier ${id}, where others expect ${barrier.expected}`;
      this.findings.report('barrier-misuse', instr.where, detail);
    }
    return barrier;
  }

  arriveCluster(instr: Instr, release: boolean): void {
    this.converge(instr);
    const { clusterBarrier, size } = this.team;
    if (this.clusterTurn >= 0)
      this.findings.report('barrier-misuse', instr.where, `${this.name} arrives twice without a wait between`);
    this.clusterTurn = clusterBarrier.turn;
    if (clusterBarrier.arrive(release ? this.knowledge : null, size)) this.launch.progress++;
    this.tick();
  }

  *waitCluster(instr: Instr): Generator<void, void> {
    this.converge(instr);
    const { clusterBarrier, size } = this.team;
    const turn = this.clusterTurn;
    if (turn < 0) {
      this.findings.report('barrier-misuse', instr.where, `${this.name} waits without having arrived`);
      return;
    }
    yield* this.until(
      instr,
      () => clusterBarrier.turn > turn,
      () => `barrier.cluster (${clusterBarrier.arrived} of ${size} warps)`,
    );
    this.clusterTurn = -1;
    this.clusterTurns = turn + 1;
    this.pass(clusterBarrier);
  }

  private pass({ released }: Barrier): void {
    if (released !== null) this.knowledge.join(released);
    this.tick();
  }

  private *until(instr: Instr, ready: () => boolean, what: () => string): Generator<void, void> {
    if (!ready()) {
      this.waiting = { where: instr.where, what, ready };
      do yield;
      while (!ready());
      this.waiting = null;
    }
    this.epoch++;
  }

  // ---- fences for the asynchronous proxy

  fenceProxyAsync(): void {
    const { clock, fenced } = this.knowledge;
    for (let warp = 0; warp < fenced.length; warp++) fenced[warp] = Math.max(fenced[warp]!, clock[warp]!);
    this.tick();
    this.fenceBarrierInit();
  }

  fenceBarrierInit(): void {
    // A warp that has arrived, and not waited yet, told the others nothing by that arrival.
    const visibleFrom = this.team.clusterBarrier.turn + (this.clusterTurn < 0 ? 1 : 2);
    for (const mbarrier of this.fresh) Object.assign(mbarrier, { fenced: true, visibleFrom });
    this.fresh = [];
  }

  // ---- mbarriers. An arrival releases and a wait acquires among the whole cluster, also where PTX would say so only with a scope.

  initBarrier(instr: Instr, barrier: Operand, count: Operand): void {
    this.eachActive((lane) => {
      const address = this.read(barrier, lane);
      if (!this.inShared('shared', instr, address, 8, lane)) return;
      const before = this.home.mbarriers.get(address);
      if (before !== undefined)
        this.findings.report('barrier-misuse', instr.where, `there is an mbarrier at shared byte ${address} already`);
      const made = this.team.makeMBarrier(this.home, address, this.read(count, lane));
      if (made === null) {
        const detail = 'more mbarriers are made than k.mbarriers gave room for';
        this.findings.report('barrier-misuse', instr.where, detail);
        return;
      }
      made.madeBy = this.index;
      made.madeAt = this.knowledge.clock[this.index]!;
      this.fresh.push(made);
    });
  }

  private find(instr: Instr, space: Space, barrier: Operand, lane: number): MBarrier | null {
    const address = this.read(barrier, lane);
    if (space !== 'cluster') return this.mbarrierAt(instr, this.home, address);
    const cta = this.ctaOf(address);
    if (cta !== undefined && !cta.ended) return this.mbarrierAt(instr, cta, this.offsetOf(address));
    const detail = `lane ${lane} of ${this.name} arrives at an mbarrier of ${cta === undefined ? 'no CTA' : `CTA ${cta.rank}, which has ended`}`;
    this.findings.report('out-of-bounds', instr.where, detail);
    return null;
  }

  arrive(instr: Instr, space: Space, barrier: Operand, bytes: Operand | null): void {
    this.eachActive((lane) => {
      const mbarrier = this.find(instr, space, barrier, lane);
      if (mbarrier === null) return;
      if (bytes !== null) this.expect(instr, mbarrier, this.read(bytes, lane));
      const { phase } = mbarrier;
      if (!mbarrier.arrive(this.knowledge)) {
        const detail = `${this.name} arrives at the mbarrier at shared byte ${mbarrier.address}, where all ${mbarrier.count} of phase ${phase} have arrived`;
        this.findings.report('barrier-misuse', instr.where, detail);
      }
      if (mbarrier.phase !== phase) this.launch.progress++;
    });
    this.tick();
  }

  private expect(instr: Instr, mbarrier: MBarrier, bytes: number): void {
    mbarrier.bytes += bytes;
    if (mbarrier.bytes <= MOST_BYTES) return;
    const detail = `${this.name} makes the mbarrier at shared byte ${mbarrier.address} await ${mbarrier.bytes} bytes, of at most ${MOST_BYTES}`;
    this.findings.report('barrier-misuse', instr.where, detail);
  }

  *waitBarrier(instr: Instr, barrier: Operand, parity: Operand): Generator<void, void> {
    const waits: { readonly mbarrier: MBarrier; readonly parity: number }[] = [];
    this.eachActive((lane) => {
      const mbarrier = this.find(instr, 'shared', barrier, lane);
      const wanted = this.read(parity, lane) & 1;
      if (mbarrier === null || waits.some((wait) => wait.mbarrier === mbarrier && wait.parity === wanted)) return;
      waits.push({ mbarrier, parity: wanted });
    });
    const active = this.active;
    for (const wait of waits) {
      const { mbarrier } = wait;
      this.checkParity(instr, mbarrier, wait.parity);
      yield* this.until(
        instr,
        () => mbarrier.isOver(wait.parity),
        () => `a wait for parity ${wait.parity} of ${mbarrier.text}`,
      );
      this.saw(mbarrier);
    }
    this.active = active;
  }

  testBarrier(instr: Instr, barrier: Operand, parity: Operand, target: Reg): void {
    this.eachActive((lane) => {
      const mbarrier = this.find(instr, 'shared', barrier, lane);
      const over = mbarrier !== null && mbarrier.isOver(this.read(parity, lane));
      if (over) this.saw(mbarrier);
      this.write(target, lane, over ? 1 : 0);
    });
  }

  private saw(mbarrier: MBarrier): void {
    this.knowledge.join(mbarrier.released);
    this.passed ??= new Map();
    this.passed.set(mbarrier, mbarrier.phase - 1);
  }

  /** A wait that a phase seen before satisfies, while bytes of the present one are under way, waits for nothing. */
  private checkParity(instr: Instr, mbarrier: MBarrier, parity: number): void {
    const last = mbarrier.phase - 1;
    if (!mbarrier.isOver(parity) || (this.passed?.get(mbarrier) ?? -1) < last) return;
    if (mbarrier.bytes === 0 && mbarrier.underWay === 0) return;
    const detail = `${this.name} waits for parity ${parity} of ${mbarrier.text}: the phase before satisfied it`;
    this.findings.report('wrong-parity', instr.where, detail);
  }
}
