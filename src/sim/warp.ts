// A warp: registers of 32 lanes, which of them are active, its clock, and what instructions ask of it.
import type { Index3, Machine, Space } from '../ptx/machine.ts';
import { type Instr, isReg, type Operand, type Reg, type Where } from '../ptx/program.ts';
import { conflictWays, lanesPerPhase } from './banks.ts';
import type { Cta } from './cta.ts';
import { noteRead, noteWrite } from './shadow.ts';

/** Why a warp does not go on, and when it can. */
export interface Waiting {
  readonly where: Where;
  readonly what: string;
  readonly ready: () => boolean;
}

/** An asynchronous copy under way. */
interface Copy {
  readonly instr: Instr;
  readonly lane: number;
  readonly to: number;
  readonly from: number;
  readonly bytes: number;
}

export class Warp implements Machine {
  readonly index: number;
  readonly cta: Index3;
  readonly grid: Index3;
  readonly integers: Int32Array;
  readonly floats: Float32Array;
  readonly doubles: Float64Array;
  /** What it knows of each warp's past; its own entry is its present. */
  readonly clock: Int32Array;
  active = -1;
  waiting: Waiting | null = null;
  /** Groups of asynchronous copies under way, oldest first; the last one is still open. */
  private copies: Copy[][] = [[]];
  /** Counts the places where all lanes met. */
  epoch = 0;
  private readonly home: Cta;
  private readonly laneAddresses = new Float64Array(32);

  constructor(home: Cta, index: number, slots: { readonly words: number; readonly doubles: number }) {
    this.home = home;
    this.index = index;
    this.cta = home.index;
    this.grid = home.grid;
    this.integers = new Int32Array(slots.words);
    this.floats = new Float32Array(this.integers.buffer);
    this.doubles = new Float64Array(slots.doubles);
    this.clock = new Int32Array(home.warpCount);
    this.clock[index] = 1;
  }

  thread(lane: number): number {
    return this.index * 32 + lane;
  }

  parameter(name: string): number {
    return this.home.parameter(name);
  }

  read(operand: Operand, lane: number): number {
    if (!isReg(operand)) return Number(operand.bits) | 0;
    const slot = this.home.slotOf(operand) + lane;
    if (operand.cls === 'b64') return this.doubles[slot]!;
    return operand.cls === 'f32' ? this.floats[slot]! : this.integers[slot]!;
  }

  write(reg: Reg, lane: number, value: number): void {
    const slot = this.home.slotOf(reg) + lane;
    if (reg.cls === 'b64') this.doubles[slot] = value;
    else if (reg.cls === 'f32') this.floats[slot] = value;
    else this.integers[slot] = value;
  }

  private bitsOf(operand: Operand, lane: number): number {
    return isReg(operand) && operand.cls !== 'b64'
      ? this.integers[this.home.slotOf(operand) + lane]!
      : this.read(operand, lane);
  }

  converge(instr: Instr): void {
    if (this.active !== -1)
      this.home.findings.report(
        'divergence',
        instr.where,
        `lanes ${maskText(~this.active)} are not at ${instr.op.name}`,
      );
    this.epoch++;
  }

  *barrier(instr: Instr): Generator<void, void> {
    this.converge(instr);
    const turn = this.home.arrive(this);
    this.waiting = { where: instr.where, what: 'bar.sync', ready: () => this.home.barrierTurn > turn };
    while (this.home.barrierTurn <= turn) yield;
    this.waiting = null;
  }

  load(space: Space, instr: Instr, address: Operand, targets: readonly Reg[], wordBytes: number): void {
    const bytes = wordBytes * targets.length;
    const addresses = this.addresses(space, instr, address, bytes);
    for (let lane = 0; lane < 32; lane++) {
      const from = addresses[lane]!;
      if (Number.isNaN(from)) continue;
      const buffer = space === 'shared' ? null : this.home.global.at(from)!;
      const view = buffer === null ? this.home.shared.view : buffer.view;
      const base = buffer === null ? from : from - buffer.address;
      if (buffer === null) this.noteRead(instr, from, bytes, lane);
      for (let i = 0; i < targets.length; i++) this.put(targets[i]!, lane, view, base + i * wordBytes, wordBytes);
    }
  }

  private put(reg: Reg, lane: number, view: DataView, at: number, bytes: number): void {
    const slot = this.home.slotOf(reg) + lane;
    if (bytes === 8) this.doubles[slot] = Number(view.getBigUint64(at, true));
    else
      this.integers[slot] =
        bytes === 2 ? view.getUint16(at, true) : bytes === 1 ? view.getUint8(at) : view.getInt32(at, true);
  }

  store(space: Space, instr: Instr, address: Operand, values: readonly Operand[], wordBytes: number): void {
    const bytes = wordBytes * values.length;
    const addresses = this.addresses(space, instr, address, bytes);
    for (let lane = 0; lane < 32; lane++) {
      const to = addresses[lane]!;
      if (Number.isNaN(to)) continue;
      const buffer = space === 'shared' ? null : this.home.global.at(to)!;
      const view = buffer === null ? this.home.shared.view : buffer.view;
      const base = buffer === null ? to : to - buffer.address;
      if (buffer === null) this.noteWrite(instr, to, bytes, lane);
      for (let i = 0; i < values.length; i++) {
        const bits = this.bitsOf(values[i]!, lane);
        if (wordBytes === 8) view.setBigUint64(base + i * 8, BigInt(bits), true);
        else if (wordBytes === 2) view.setUint16(base + i * 2, bits, true);
        else if (wordBytes === 1) view.setUint8(base + i, bits);
        else view.setInt32(base + i * 4, bits, true);
      }
    }
  }

  beginCopy(instr: Instr, to: Operand, from: Operand, bytes: number): void {
    const targets = this.addresses('shared', instr, to, bytes);
    for (let lane = 0; lane < 32; lane++) {
      const target = targets[lane]!;
      if (Number.isNaN(target)) continue;
      const source = this.read(from, lane);
      if (!this.inGlobal(instr, source, bytes, lane)) continue;
      this.noteWrite(instr, target, bytes, lane);
      this.home.shared.copying.fill(this.index + 1, target >> 2, (target + bytes) >> 2);
      this.copies.at(-1)?.push({ instr, lane, to: target, from: source, bytes });
    }
  }

  commitCopies(): void {
    this.copies.push([]);
  }

  waitCopies(pending: number): void {
    const { shared, global } = this.home;
    // The open group does not count.
    while (this.copies.length - 1 > pending) {
      for (const { instr, lane, to, from, bytes } of this.copies.shift()!) {
        const buffer = global.at(from)!;
        const start = from - buffer.address;
        shared.bytes.set(buffer.bytes.subarray(start, start + bytes), to);
        shared.copying.fill(0, to >> 2, (to + bytes) >> 2);
        this.noteWrite(instr, to, bytes, lane);
      }
    }
  }

  loadMatrices(instr: Instr, address: Operand, targets: readonly Reg[]): void {
    const { shared } = this.home;
    for (const [i, reg] of targets.entries()) {
      const rows = Array.from({ length: 8 }, (_, r) => this.read(address, 8 * i + r));
      const ways = conflictWays(rows, 16, 0, 8);
      if (ways > 1) this.home.findings.report('bank-conflict', instr.where, `${ways}-way, rows of matrix ${i}`);
      for (const [r, row] of rows.entries()) if (!this.inShared(instr, row, 16, 8 * i + r)) return;
      for (let lane = 0; lane < 32; lane++) {
        const at = rows[lane >> 2]! + 4 * (lane & 3);
        this.noteRead(instr, at, 4, lane);
        this.integers[this.home.slotOf(reg) + lane] = shared.view.getInt32(at, true);
      }
    }
  }

  /** The address of each active lane that may be used, NaN for the others; misuse is reported, and the lane left out. Valid until the next call. */
  private addresses(space: Space, instr: Instr, address: Operand, bytes: number): Float64Array {
    const found = this.laneAddresses.fill(Number.NaN);
    for (let lane = 0; lane < 32; lane++) {
      if (((this.active >>> lane) & 1) === 0) continue;
      const at = this.read(address, lane);
      if (space === 'shared' ? this.inShared(instr, at, bytes, lane) : this.inGlobal(instr, at, bytes, lane))
        found[lane] = at;
    }
    if (space === 'shared') this.countBanks(instr, found, bytes);
    return found;
  }

  private countBanks(instr: Instr, addresses: Float64Array, bytes: number): void {
    const step = lanesPerPhase(bytes);
    for (let first = 0; first < 32; first += step) {
      const ways = conflictWays(addresses, bytes, first, first + step);
      if (ways > 1)
        this.home.findings.report('bank-conflict', instr.where, `${ways}-way, lanes ${first}..${first + step - 1}`);
    }
  }

  private inShared(instr: Instr, at: number, bytes: number, lane: number): boolean {
    const size = this.home.shared.bytes.length;
    if (at < 0 || at + bytes > size) {
      this.home.findings.report(
        'out-of-bounds',
        instr.where,
        `lane ${lane} of warp ${this.index} accesses ${bytes} bytes at shared byte ${at} of ${size}`,
      );
      return false;
    }
    return this.aligned(instr, at, bytes, lane);
  }

  private inGlobal(instr: Instr, at: number, bytes: number, lane: number): boolean {
    const buffer = this.home.global.at(at);
    const offset = buffer === undefined ? at : at - buffer.address;
    if (buffer === undefined || offset < 0 || offset + bytes > buffer.bytes.length) {
      const size = buffer === undefined ? 'no buffer' : `a buffer of ${buffer.bytes.length}`;
      this.home.findings.report(
        'out-of-bounds',
        instr.where,
        `lane ${lane} of warp ${this.index} accesses ${bytes} bytes at byte ${offset} of ${size}`,
      );
      return false;
    }
    return this.aligned(instr, at, bytes, lane, offset);
  }

  /** `shown` is the byte to name: within its buffer. */
  private aligned(instr: Instr, at: number, bytes: number, lane: number, shown = at): boolean {
    if (at % bytes === 0) return true;
    this.home.findings.report('misaligned', instr.where, `lane ${lane} accesses ${bytes} bytes at byte ${shown}`);
    return false;
  }

  private noteRead(instr: Instr, at: number, bytes: number, lane: number): void {
    noteRead(this.home.shared, this.home.findings, this, { where: instr.where, lane, at, bytes });
  }

  private noteWrite(instr: Instr, at: number, bytes: number, lane: number): void {
    noteWrite(this.home.shared, this.home.findings, this, { where: instr.where, lane, at, bytes });
  }
}

/** Set bits as ranges: '0..15, 31'. */
function maskText(mask: number): string {
  const lanes = Array.from({ length: 32 }, (_, lane) => lane).filter((lane) => ((mask >>> lane) & 1) === 1);
  const ranges: string[] = [];
  for (let i = 0; i < lanes.length;) {
    let end = i;
    while (lanes[end + 1] === lanes[end]! + 1) end++;
    ranges.push(end > i ? `${lanes[i]}..${lanes[end]}` : `${lanes[i]}`);
    i = end + 1;
  }
  return ranges.join(', ');
}
