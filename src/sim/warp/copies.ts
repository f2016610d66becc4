// Copies that a warp begins and that go on while it does: groups of cp.async, bulk copies and boxes by mbarriers, bulk stores by groups.
import type { BoxAt } from '../../ptx/machine.ts';
import { elemBytes, type Instr, type Operand } from '../../ptx/program.ts';
import type { MBarrier } from '../barriers.ts';
import type { Cta } from '../cta.ts';
import { GlobalBuffer, type Matrix } from '../memory.ts';
import { type Piece, pieces, runs, sectorsOf } from '../boxes.ts';
import { sectorsOfRange } from '../coalescing.ts';
import { noteGlobalRead, noteGlobalWrite } from '../shadow/global.ts';
import { beginCopy, endAsyncRead, noteAsyncRead, noteWrite } from '../shadow/shared.ts';
import { WarpMemory } from './memory.ts';
import { lowest } from './registers.ts';

/** A cp.async of the lanes of `mask`: from[lane] of a buffer to to[lane]. */
interface LaneCopies {
  readonly instr: Instr;
  readonly mask: number;
  readonly buffer: GlobalBuffer;
  readonly to: Int32Array;
  readonly from: Int32Array;
  readonly bytes: number;
}

/** A bulk store: its pieces, and once it has read them, the bytes from `at` on. */
interface BulkStore {
  readonly instr: Instr;
  readonly lane: number;
  readonly at: number;
  readonly bytes: number;
  readonly buffer: GlobalBuffer;
  readonly pieces: readonly Piece[];
  taken: Uint8Array | null;
}

/** Bulk copies move multiples of this between multiples of it; so does a box begin in a row (an H100 takes others for an illegal instruction). */
const BULK = 16;
const BOX_ALIGNMENT = 128;

export class WarpCopies extends WarpMemory {
  /** Groups under way, oldest first, and what is begun since the last commit. */
  private readonly copyGroups: LaneCopies[][] = [];
  private openCopies: LaneCopies[] = [];
  private readonly bulkGroups: BulkStore[][] = [];
  private openBulk: BulkStore[] = [];
  /** How often this warp passed the barrier of the cluster. */
  protected clusterTurns = 0;

  // ---- cp.async: groups are counted by warp, where the hardware counts them by thread

  beginCopy(instr: Instr, to: Operand, from: Operand, bytes: number): void {
    const { shared } = this.home;
    for (let left = this.active; left !== 0;) {
      const done = this.locate('shared', instr, to, bytes, left);
      const targets = { mask: this.place.mask, at: this.place.at.slice() };
      left &= ~done;
      for (let usable = targets.mask; usable !== 0;) {
        usable &= ~this.locate('global', instr, from, bytes, usable);
        const { home, mask } = this.place;
        if (!(home instanceof GlobalBuffer)) continue;
        this.noteRead(this.place);
        const copies: LaneCopies = { instr, mask, buffer: home, to: targets.at, from: this.place.at.slice(), bytes };
        const access = this.accessOfLanes(instr.where, mask, targets.at, bytes);
        beginCopy(shared, this.findings, this, access, { by: this.index, bulk: false });
        this.openCopies.push(copies);
      }
    }
  }

  private readGlobal(instr: Instr, lane: number, buffer: GlobalBuffer, at: number, bytes: number): void {
    this.counters.globalRead += bytes;
    noteGlobalRead(buffer, this.findings, this, this.accessOf(instr.where, lane, at, bytes));
  }

  commitCopies(): void {
    this.copyGroups.push(this.openCopies);
    this.openCopies = [];
  }

  waitCopies(pending: number): void {
    const { shared } = this.home;
    while (this.copyGroups.length > pending) {
      for (const { instr, mask, buffer, to, from, bytes } of this.copyGroups.shift()!) {
        for (let left = mask; left !== 0; left &= left - 1) {
          const lane = lowest(left);
          for (let byte = 0; byte < bytes; byte += 4) {
            shared.view.setInt32(to[lane]! + byte, buffer.view.getInt32(from[lane]! + byte, true), true);
            shared.copying[(to[lane]! + byte) >> 2] = 0;
          }
          this.counters.sharedWritten += bytes;
        }
        noteWrite(shared, this.findings, this, this.accessOfLanes(instr.where, mask, to, bytes));
      }
    }
  }

  // ---- bulk copies into shared memory. Races on their source are looked for when they begin, not while they go on; and what ordinary stores wrote
  // to global memory needs no proxy fence here, where PTX wants one within a kernel.

  beginBulkLoad(instr: Instr, to: Operand, from: Operand, bytes: Operand, barrier: Operand, mask: number | null): void {
    this.eachActive((lane) => {
      const [target, source, count] = [this.read(to, lane), this.read(from, lane), this.read(bytes, lane)];
      if (!this.aligned(instr, count, BULK, lane)) return;
      if (!this.inGlobal(instr, source, count, lane, BULK)) return;
      const buffer = this.global.at(source)!;
      const start = source - buffer.address;
      this.readGlobal(instr, lane, buffer, start, count);
      this.counters.sectors += sectorsOfRange(start, count);
      this.fill(instr, lane, target, count, barrier, mask, BULK, (cta) =>
        cta.shared.bytes.set(buffer.bytes.subarray(start, start + count), target),
      );
    });
  }

  beginBoxLoad(instr: Instr, to: Operand, from: BoxAt, barrier: Operand, mask: number | null): void {
    this.eachActive((lane) => {
      const matrix = this.matrixAt(instr, from, lane);
      if (matrix === null) return;
      const [row, column, target] = [this.read(from.row, lane), this.read(from.column, lane), this.read(to, lane)];
      if (!this.aligned(instr, column * elemBytes[matrix.type.elem], BULK, lane)) return;
      const parts = pieces(matrix, row, column, target);
      const { buffer, type } = matrix;
      this.counters.sectors += sectorsOf(parts);
      for (const { from: at, bytes } of runs(parts)) this.readGlobal(instr, lane, buffer, at, bytes);
      const bytes = type.box[0] * type.box[1] * elemBytes[type.elem];
      this.fill(instr, lane, target, bytes, barrier, mask, BOX_ALIGNMENT, ({ shared }) => {
        shared.bytes.fill(0, target, target + bytes);
        for (const piece of parts)
          shared.bytes.set(buffer.bytes.subarray(piece.from, piece.from + piece.bytes), piece.to);
      });
    });
  }

  /** Begins one copy for each CTA of the mask. */
  private fill(
    instr: Instr,
    lane: number,
    at: number,
    bytes: number,
    barrier: Operand,
    mask: number | null,
    alignment: number,
    write: (cta: Cta) => void,
  ): void {
    const address = this.read(barrier, lane);
    const targets = mask === null ? [this.home] : this.team.ctas.filter(({ rank }) => ((mask >>> rank) & 1) === 1);
    for (const cta of targets) {
      if (cta.ended) {
        const detail = `lane ${lane} of ${this.name} copies to CTA ${cta.rank}, which has ended`;
        this.findings.report('out-of-bounds', instr.where, detail);
        continue;
      }
      const mbarrier = this.usable(instr, cta, address);
      const room = cta.shared.bytes.length;
      if (at < 0 || at + bytes > room) {
        const detail = `lane ${lane} of ${this.name} copies ${bytes} bytes to shared byte ${at} of ${room}`;
        this.findings.report('out-of-bounds', instr.where, detail);
        continue;
      }
      if (mbarrier === null || !this.aligned(instr, at, alignment, lane)) continue;
      const access = this.accessOf(instr.where, lane, at, bytes);
      beginCopy(cta.shared, this.findings, this, access, { by: mbarrier.actor, bulk: true });
      mbarrier.underWay += bytes;
      this.team.copies.push({ cta, at, bytes, barrier: mbarrier, where: instr.where, write: () => write(cta) });
    }
  }

  /** The mbarrier at an address; null with a finding where there is none, a finding too when this warp cannot know that it was made. */
  protected mbarrierAt(instr: Instr, cta: Cta, address: number): MBarrier | null {
    const mbarrier = cta.mbarriers.get(address);
    if (mbarrier === undefined) {
      this.findings.report('barrier-misuse', instr.where, `no mbarrier was made at shared byte ${address}`);
      return null;
    }
    const { madeBy, madeAt, visibleFrom } = mbarrier;
    if (madeBy !== this.index && madeAt > this.knowledge.clock[madeBy]! && this.clusterTurns < visibleFrom) {
      const detail = `${this.name} uses the mbarrier at shared byte ${address}, made by ${this.nameOf(madeBy)} with nothing between`;
      this.findings.report('race', instr.where, detail);
    }
    return mbarrier;
  }

  /** The same, fit for asynchronous use. */
  private usable(instr: Instr, cta: Cta, address: number): MBarrier | null {
    const mbarrier = this.mbarrierAt(instr, cta, address);
    if (mbarrier !== null && !mbarrier.fenced) {
      const detail = `${this.name} begins a copy for the mbarrier at shared byte ${address}, which was not fenced since it was made`;
      this.findings.report('missing-proxy-fence', instr.where, detail);
    }
    return mbarrier;
  }

  private matrixAt(instr: Instr, { tensor }: BoxAt, lane: number): Matrix | null {
    const matrix = this.global.matrix(this.read(tensor, lane));
    if (matrix !== undefined) return matrix;
    this.findings.report('out-of-bounds', instr.where, `lane ${lane} of ${this.name} copies a box of no matrix`);
    return null;
  }

  protected eachActive(visit: (lane: number) => void): void {
    for (let lane = 0; lane < 32; lane++) if ((this.active >>> lane) & 1) visit(lane);
  }

  // ---- bulk stores

  beginBulkStore(instr: Instr, to: Operand, from: Operand, bytes: Operand): void {
    this.eachActive((lane) => {
      const [target, source, count] = [this.read(to, lane), this.read(from, lane), this.read(bytes, lane)];
      if (!this.aligned(instr, count, BULK, lane)) return;
      if (!this.inGlobal(instr, target, count, lane, BULK)) return;
      const buffer = this.global.at(target)!;
      const pieces = [{ from: target - buffer.address, to: source, bytes: count }];
      this.empty({ instr, lane, at: source, bytes: count, buffer, pieces, taken: null }, BULK);
    });
  }

  beginBoxStore(instr: Instr, to: BoxAt, from: Operand): void {
    this.eachActive((lane) => {
      const matrix = this.matrixAt(instr, to, lane);
      if (matrix === null) return;
      const [row, column, source] = [this.read(to.row, lane), this.read(to.column, lane), this.read(from, lane)];
      const { buffer, type } = matrix;
      if (row < 0 || column < 0) {
        // A load may; of a store an H100 says that it is an illegal instruction.
        const detail = `lane ${lane} of ${this.name} stores a box that begins at row ${row}, column ${column}`;
        this.findings.report('out-of-bounds', instr.where, detail);
        return;
      }
      if (!this.aligned(instr, column * elemBytes[type.elem], BULK, lane)) return;
      const bytes = type.box[0] * type.box[1] * elemBytes[type.elem];
      const parts = pieces(matrix, row, column, source);
      this.empty({ instr, lane, at: source, bytes, buffer, pieces: parts, taken: null }, BOX_ALIGNMENT);
    });
  }

  private empty(store: BulkStore, alignment: number): void {
    const { instr, lane, at, bytes } = store;
    const { shared } = this.home;
    if (at < 0 || at + bytes > shared.bytes.length) {
      const detail = `lane ${lane} of ${this.name} copies ${bytes} bytes from shared byte ${at} of ${shared.bytes.length}`;
      this.findings.report('out-of-bounds', instr.where, detail);
      return;
    }
    if (!this.aligned(instr, at, alignment, lane)) return;
    noteAsyncRead(shared, this.findings, this, this.accessOf(instr.where, lane, at, bytes));
    this.counters.sharedRead += bytes;
    this.openBulk.push(store);
  }

  commitBulk(): void {
    this.bulkGroups.push(this.openBulk);
    this.openBulk = [];
  }

  /** Groups that were only read are still under way: what they write is there after a wait for all of it. */
  waitBulk(pending: number, read: boolean): void {
    const over = this.bulkGroups.slice(0, Math.max(this.bulkGroups.length - pending, 0));
    for (const store of over.flat()) this.takeBulk(store);
    if (read) return;
    for (const store of over.flat()) this.writeBulk(store);
    this.bulkGroups.splice(0, over.length);
  }

  private takeBulk(store: BulkStore): void {
    if (store.taken !== null) return;
    const { at, bytes } = store;
    store.taken = this.home.shared.bytes.slice(at, at + bytes);
    endAsyncRead(this.home.shared, this, at, bytes);
  }

  private writeBulk({ instr, lane, at, buffer, pieces: parts, taken }: BulkStore): void {
    if (taken === null) return;
    this.counters.sectors += sectorsOf(parts);
    for (const { from, bytes } of runs(parts)) {
      this.counters.globalWritten += bytes;
      noteGlobalWrite(buffer, this.findings, this, this.accessOf(instr.where, lane, from, bytes));
    }
    for (const { from, to, bytes } of parts) buffer.bytes.set(taken.subarray(to - at, to - at + bytes), from);
    this.launch.progress++;
  }

  /** The warp ends: what it stored in bulk still comes, if its shared memory was read; a CTA that ends before loses it. */
  protected endCopies(): void {
    for (const store of [...this.bulkGroups.flat(), ...this.openBulk]) {
      if (store.taken === null) {
        const detail = `${this.name} ends before a bulk store has read its shared memory`;
        this.findings.report('unwaited-read', store.instr.where, detail);
      }
      this.takeBulk(store);
      this.writeBulk(store);
    }
  }
}
