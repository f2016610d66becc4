// Copies that a warp begins and that go on while it does: groups of cp.async, bulk copies and boxes by mbarriers, bulk stores by groups.
import type { BoxAt } from '../../ptx/machine.ts';
import { elemBytes, type Instr, type Operand, type Swizzle } from '../../ptx/program.ts';
import type { MBarrier } from '../barriers.ts';
import type { Cta } from '../cta.ts';
import type { GlobalBuffer, Matrix } from '../memory.ts';
import { beginCopy, endAsyncRead, noteAsyncRead, noteGlobalRead, noteGlobalWrite, noteWrite } from '../shadow.ts';
import { WarpMemory } from './memory.ts';

/** A cp.async of a lane. */
interface LaneCopy {
  readonly instr: Instr;
  readonly lane: number;
  readonly to: number;
  readonly from: number;
  readonly bytes: number;
}

/** A bulk store: what it reads, and how it is finished. */
interface BulkStore {
  readonly at: number;
  readonly bytes: number;
  readonly write: () => void;
  read: boolean;
}

/** Bulk copies move multiples of this between multiples of it. */
const BULK = 16;
const BOX_ALIGNMENT = 128;

/** Byte `linear` of shared memory after the engine's exchange of 16-byte chunks. */
function swizzledByte(linear: number, swizzle: Swizzle): number {
  return swizzle === 0 ? linear : linear ^ (((linear >> 7) & (swizzle / 16 - 1)) << 4);
}

interface Piece {
  /** Byte of the buffer. */
  readonly from: number;
  /** Byte of the box as it lies in shared memory. */
  readonly to: number;
  readonly bytes: number;
}

/** The parts of a box that are inside the matrix, 16 bytes or less each. */
function* pieces({ rows, columns, type }: Matrix, row: number, column: number, start: number): Generator<Piece> {
  const { elem, box, swizzle } = type;
  const size = elemBytes[elem];
  const perChunk = BULK / size;
  for (let r = 0; r < box[0]; r++) {
    if (row + r < 0 || row + r >= rows) continue;
    for (let c = 0; c < box[1]; c += perChunk) {
      const [first, end] = [Math.max(column + c, 0), Math.min(column + c + perChunk, columns)];
      if (first >= end) continue;
      const chunk = swizzledByte(start + (r * box[1] + c) * size, swizzle);
      yield {
        from: ((row + r) * columns + first) * size,
        to: chunk + (first - column - c) * size,
        bytes: (end - first) * size,
      };
    }
  }
}

export class WarpCopies extends WarpMemory {
  /** Groups under way, oldest first, and what is begun since the last commit. */
  private readonly copyGroups: LaneCopy[][] = [];
  private openCopies: LaneCopy[] = [];
  private readonly bulkGroups: BulkStore[][] = [];
  private openBulk: BulkStore[] = [];

  // ---- cp.async

  beginCopy(instr: Instr, to: Operand, from: Operand, bytes: number): void {
    const targets = this.addresses('shared', instr, to, bytes).slice();
    const sources = this.addresses('global', instr, from, bytes);
    for (let lane = 0; lane < 32; lane++) {
      const [target, source] = [targets[lane]!, sources[lane]!];
      if (Number.isNaN(target) || Number.isNaN(source)) continue;
      const { shared } = this.home;
      const access = this.accessOf(instr.where, lane, target, bytes);
      beginCopy(shared, this.findings, this, access, { by: this.index, bulk: false });
      this.readGlobal(instr, lane, source, bytes);
      this.openCopies.push({ instr, lane, to: target, from: source, bytes });
    }
  }

  private readGlobal(instr: Instr, lane: number, from: number, bytes: number): void {
    const buffer = this.global.at(from)!;
    this.counters.globalRead += bytes;
    noteGlobalRead(buffer, this.findings, this, this.accessOf(instr.where, lane, from - buffer.address, bytes));
  }

  commitCopies(): void {
    this.copyGroups.push(this.openCopies);
    this.openCopies = [];
  }

  waitCopies(pending: number): void {
    const { shared } = this.home;
    while (this.copyGroups.length > pending) {
      for (const { instr, lane, to, from, bytes } of this.copyGroups.shift()!) {
        const buffer = this.global.at(from)!;
        const start = from - buffer.address;
        shared.bytes.set(buffer.bytes.subarray(start, start + bytes), to);
        shared.copying.fill(0, to >> 2, (to + bytes) >> 2);
        this.counters.sharedWritten += bytes;
        noteWrite(shared, this.findings, this, this.accessOf(instr.where, lane, to, bytes));
      }
    }
  }

  // ---- bulk copies into shared memory

  beginBulkLoad(instr: Instr, to: Operand, from: Operand, bytes: Operand, barrier: Operand, mask: number | null): void {
    this.eachActive((lane) => {
      const [target, source, count] = [this.read(to, lane), this.read(from, lane), this.read(bytes, lane)];
      if (!this.aligned(instr, count, BULK, lane)) return;
      if (!this.inGlobal(instr, source, count, lane, BULK)) return;
      const buffer = this.global.at(source)!;
      const start = source - buffer.address;
      this.readGlobal(instr, lane, source, count);
      this.counters.sectors += Math.ceil(count / 32);
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
      const parts = [...pieces(matrix, row, column, target)];
      const { buffer, type } = matrix;
      for (const piece of parts) {
        this.counters.globalRead += piece.bytes;
        this.counters.sectors += piece.bytes / 32;
        noteGlobalRead(buffer, this.findings, this, this.accessOf(instr.where, lane, piece.from, piece.bytes));
      }
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

  /** The mbarrier at an address, fit for asynchronous use; null with a finding. */
  private usable(instr: Instr, cta: Cta, address: number): MBarrier | null {
    const mbarrier = cta.mbarriers.get(address);
    if (mbarrier === undefined) {
      this.findings.report('barrier-misuse', instr.where, `no mbarrier was made at shared byte ${address}`);
      return null;
    }
    if (!mbarrier.fenced) {
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
      const piece = { from: target - buffer.address, to: source, bytes: count };
      this.empty(instr, lane, source, count, BULK, () => this.storePiece(instr, lane, buffer, piece));
    });
  }

  beginBoxStore(instr: Instr, to: BoxAt, from: Operand): void {
    this.eachActive((lane) => {
      const matrix = this.matrixAt(instr, to, lane);
      if (matrix === null) return;
      const [row, column, source] = [this.read(to.row, lane), this.read(to.column, lane), this.read(from, lane)];
      const { box, elem } = matrix.type;
      this.empty(instr, lane, source, box[0] * box[1] * elemBytes[elem], BOX_ALIGNMENT, () => {
        for (const piece of pieces(matrix, row, column, source)) this.storePiece(instr, lane, matrix.buffer, piece);
      });
    });
  }

  private storePiece(instr: Instr, lane: number, buffer: GlobalBuffer, { from, to, bytes }: Piece): void {
    this.counters.globalWritten += bytes;
    this.counters.sectors += bytes / 32;
    noteGlobalWrite(buffer, this.findings, this, this.accessOf(instr.where, lane, from, bytes));
    buffer.bytes.set(this.home.shared.bytes.subarray(to, to + bytes), from);
    this.launch.progress++;
  }

  private empty(instr: Instr, lane: number, at: number, bytes: number, alignment: number, write: () => void): void {
    const { shared } = this.home;
    if (at < 0 || at + bytes > shared.bytes.length) {
      const detail = `lane ${lane} of ${this.name} copies ${bytes} bytes from shared byte ${at} of ${shared.bytes.length}`;
      this.findings.report('out-of-bounds', instr.where, detail);
      return;
    }
    if (!this.aligned(instr, at, alignment, lane)) return;
    noteAsyncRead(shared, this.findings, this, this.accessOf(instr.where, lane, at, bytes));
    this.counters.sharedRead += bytes;
    this.openBulk.push({ at, bytes, write, read: false });
  }

  commitBulk(): void {
    this.bulkGroups.push(this.openBulk);
    this.openBulk = [];
  }

  waitBulk(pending: number, read: boolean): void {
    const over = this.bulkGroups.slice(0, Math.max(this.bulkGroups.length - pending, 0));
    for (const store of over.flat()) this.endStore(store);
    // Groups that were only read are still under way for a later wait; the data is written here already, which no program can tell.
    if (!read) this.bulkGroups.splice(0, over.length);
  }

  private endStore(store: BulkStore): void {
    if (store.read) return;
    store.read = true;
    store.write();
    endAsyncRead(this.home.shared, this, store.at, store.bytes);
  }

  /** The warp ends: what is under way still happens. */
  protected endCopies(): void {
    for (const store of [...this.bulkGroups.flat(), ...this.openBulk]) this.endStore(store);
  }
}
