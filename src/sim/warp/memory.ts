// What a warp does to memory by itself: loads, stores, atomics, matrices of ldmatrix; and what its accesses mean to others.
import type { Order, Scope, Space } from '../../ptx/machine.ts';
import { type Instr, isReg, type Operand, type Reg, type Where } from '../../ptx/program.ts';
import { UNKNOWN } from '../../ptx/where.ts';
import { conflictWays, lanesPerPhase } from '../banks.ts';
import { isUncoalesced, sectorsOf } from '../coalescing.ts';
import type { Cta } from '../cta.ts';
import { joinReleased, reachOf, type Released } from '../knowledge.ts';
import { GlobalBuffer, type SharedMemory } from '../memory.ts';
import { type Access, noteGlobalRead, noteGlobalWrite, noteRead, noteWrite } from '../shadow.ts';
import { WarpRegisters } from './registers.ts';

/** Addresses of mapa carry the CTA's rank plus one above the offset; those without one mean the own CTA. */
const RANK_SHIFT = 24;
const OFFSET = 2 ** RANK_SHIFT - 1;

type Mutable<T> = { -readonly [P in keyof T]: T[P] };

/** Where an address points: a buffer or a CTA's shared memory. */
type Home = GlobalBuffer | SharedMemory;

export class WarpMemory extends WarpRegisters {
  private readonly laneAddresses = new Float64Array(32);
  /** One object for all accesses: they are many. */
  private readonly access: Mutable<Access> = {
    where: UNKNOWN,
    lane: 0,
    at: 0,
    bytes: 0,
    strong: false,
  };
  private readonly placed: { home: Home; at: number } = { home: this.home.shared, at: 0 };
  /** What relaxed reads saw: taken over at the next fence. */
  private seen: { readonly released: Released; readonly scope: Scope }[] = [];
  /** What relaxed writes hand over since the last fence. */
  private fencedRelease: Released | null = null;

  // ---- places

  mapShared(address: number, rank: number): number {
    return (address & OFFSET) + (rank + 1) * 2 ** RANK_SHIFT;
  }

  protected ctaOf(address: number): Cta | undefined {
    const rank = Math.floor(address / 2 ** RANK_SHIFT) - 1;
    return rank < 0 ? this.home : this.team.ctas[rank];
  }

  protected offsetOf(address: number): number {
    return address & OFFSET;
  }

  protected accessOf(where: Where, lane: number, at: number, bytes: number, strong = false): Access {
    const { access } = this;
    access.where = where;
    access.lane = lane;
    access.at = at;
    access.bytes = bytes;
    access.strong = strong;
    return access;
  }

  /** The address of each active lane that may be used, NaN for the others; misuse is reported, and the lane left out. Valid until the next call. */
  protected addresses(space: Space, instr: Instr, address: Operand, bytes: number): Float64Array {
    const found = this.laneAddresses.fill(Number.NaN);
    for (let lane = 0; lane < 32; lane++) {
      if (((this.active >>> lane) & 1) === 0) continue;
      const at = this.read(address, lane);
      const fits =
        space === 'global' ? this.inGlobal(instr, at, bytes, lane) : this.inShared(space, instr, at, bytes, lane);
      if (fits) found[lane] = at;
    }
    if (space === 'shared') this.countBanks(instr, found, bytes);
    else if (space === 'global') this.countSectors(instr, found, bytes);
    return found;
  }

  private countBanks(instr: Instr, addresses: Float64Array, bytes: number): void {
    const step = lanesPerPhase(bytes);
    for (let first = 0; first < 32; first += step) {
      const ways = conflictWays(addresses, bytes, first, first + step);
      this.counters.wavefronts += ways;
      if (ways > 1)
        this.findings.report('bank-conflict', instr.where, `${ways}-way, lanes ${first}..${first + step - 1}`);
    }
  }

  private countSectors(instr: Instr, addresses: Float64Array, bytes: number): void {
    const touched = sectorsOf(addresses);
    this.counters.sectors += touched.sectors;
    if (isUncoalesced(touched, bytes)) {
      const asked = touched.lanes * bytes;
      const detail = `${touched.lanes} lanes ask for ${asked} bytes and touch ${touched.sectors} sectors of 32`;
      this.findings.report('uncoalesced', instr.where, detail);
    }
  }

  protected inShared(space: Space, instr: Instr, address: number, bytes: number, lane: number): boolean {
    const cta = space === 'shared' ? this.home : this.ctaOf(address);
    const at = space === 'shared' ? address : this.offsetOf(address);
    const size = cta?.shared.bytes.length ?? 0;
    if (cta === undefined || at < 0 || at + bytes > size || cta.ended) {
      const whose = cta === undefined ? ' of no CTA' : cta.ended ? ` of CTA ${cta.rank}, which has ended,` : '';
      const detail = `lane ${lane} of ${this.name} accesses ${bytes} bytes at shared byte ${at}${whose} of ${size}`;
      this.findings.report('out-of-bounds', instr.where, detail);
      return false;
    }
    return this.aligned(instr, at, bytes, lane);
  }

  protected inGlobal(instr: Instr, at: number, bytes: number, lane: number, alignment: number = bytes): boolean {
    const buffer = this.global.at(at);
    const offset = buffer === undefined ? at : at - buffer.address;
    if (buffer === undefined || offset < 0 || offset + bytes > buffer.bytes.length) {
      const size = buffer === undefined ? 'no buffer' : `a buffer of ${buffer.bytes.length}`;
      this.findings.report(
        'out-of-bounds',
        instr.where,
        `lane ${lane} of ${this.name} accesses ${bytes} bytes at byte ${offset} of ${size}`,
      );
      return false;
    }
    return this.aligned(instr, at, alignment, lane, offset);
  }

  /** `shown` is the byte to name: within its buffer. */
  protected aligned(instr: Instr, at: number, alignment: number, lane: number, shown: number = at): boolean {
    if (at % alignment === 0) return true;
    const detail = `lane ${lane} accesses byte ${shown}, which is no multiple of ${alignment}`;
    this.findings.report('misaligned', instr.where, detail);
    return false;
  }

  // ---- loads and stores

  load(
    space: Space,
    instr: Instr,
    address: Operand,
    targets: readonly Reg[],
    wordBytes: number,
    order: Order = 'weak',
    scope: Scope = 'gpu',
  ): void {
    const bytes = wordBytes * targets.length;
    const addresses = this.addresses(space, instr, address, bytes);
    const strong = order !== 'weak';
    for (let lane = 0; lane < 32; lane++) {
      const from = addresses[lane]!;
      if (Number.isNaN(from)) continue;
      const { home, at } = this.place(space, from);
      this.noteRead(home, this.accessOf(instr.where, lane, at, bytes, strong));
      for (let i = 0; i < targets.length; i++) this.put(targets[i]!, lane, home.view, at + i * wordBytes, wordBytes);
      if (strong) this.sawFlag(home, at, order, scope);
    }
  }

  private place(space: Space, address: number): { readonly home: Home; readonly at: number } {
    const { placed } = this;
    if (space === 'global') {
      const buffer = this.global.at(address)!;
      placed.home = buffer;
      placed.at = address - buffer.address;
    } else {
      placed.home = space === 'shared' ? this.home.shared : this.ctaOf(address)!.shared;
      placed.at = space === 'shared' ? address : this.offsetOf(address);
    }
    return placed;
  }

  private noteRead(home: Home, access: Access): void {
    if (home instanceof GlobalBuffer) {
      this.counters.globalRead += access.bytes;
      noteGlobalRead(home, this.findings, this, access);
    } else {
      this.counters.sharedRead += access.bytes;
      noteRead(home, this.findings, this, access);
    }
  }

  private noteWrite(home: Home, access: Access): void {
    this.launch.progress++;
    if (home instanceof GlobalBuffer) {
      this.counters.globalWritten += access.bytes;
      noteGlobalWrite(home, this.findings, this, access);
    } else {
      this.counters.sharedWritten += access.bytes;
      noteWrite(home, this.findings, this, access);
    }
  }

  private put(reg: Reg, lane: number, view: DataView, at: number, bytes: number): void {
    const slot = this.slot(reg) + lane;
    if (bytes === 8) this.longs[slot] = view.getBigUint64(at, true);
    else
      this.integers[slot] =
        bytes === 2 ? view.getUint16(at, true) : bytes === 1 ? view.getUint8(at) : view.getInt32(at, true);
  }

  store(
    space: Space,
    instr: Instr,
    address: Operand,
    values: readonly Operand[],
    wordBytes: number,
    order: Order = 'weak',
    scope: Scope = 'gpu',
  ): void {
    const bytes = wordBytes * values.length;
    const addresses = this.addresses(space, instr, address, bytes);
    const strong = order !== 'weak';
    for (let lane = 0; lane < 32; lane++) {
      const to = addresses[lane]!;
      if (Number.isNaN(to)) continue;
      const { home, at } = this.place(space, to);
      if (strong) this.leftFlag(home, at, order, scope, false);
      this.noteWrite(home, this.accessOf(instr.where, lane, at, bytes, strong));
      for (let i = 0; i < values.length; i++) this.take(values[i]!, lane, home.view, at + i * wordBytes, wordBytes);
    }
    // What comes after the release is not part of what it handed over.
    if (order === 'release') this.tick();
  }

  private take(value: Operand, lane: number, view: DataView, at: number, bytes: number): void {
    if (bytes === 8) {
      view.setBigUint64(at, isReg(value) ? this.longs[this.slot(value) + lane]! : BigInt(value.bits), true);
      return;
    }
    const bits = this.bits(value, lane);
    if (bytes === 2) view.setUint16(at, bits, true);
    else if (bytes === 1) view.setUint8(at, bits);
    else view.setInt32(at, bits, true);
  }

  atomic(
    space: Space,
    instr: Instr,
    address: Operand,
    target: Reg | null,
    update: (old: number, lane: number) => number,
    order: Order,
    scope: Scope,
  ): void {
    const addresses = this.addresses(space, instr, address, 4);
    for (let lane = 0; lane < 32; lane++) {
      const to = addresses[lane]!;
      if (Number.isNaN(to)) continue;
      const { home, at } = this.place(space, to);
      this.noteRead(home, this.accessOf(instr.where, lane, at, 4, true));
      if (order !== 'release') this.sawFlag(home, at, order, scope);
      this.leftFlag(home, at, order, scope, true);
      this.noteWrite(home, this.accessOf(instr.where, lane, at, 4, true));
      const old = home.view.getInt32(at, true);
      home.view.setInt32(at, update(old, lane), true);
      if (target !== null) this.writeBits(target, lane, old);
    }
    if (order === 'release' || order === 'acq_rel') this.tick();
  }

  // ---- flags: what ordered accesses hand over

  private sawFlag({ released }: Home, at: number, order: Order, scope: Scope): void {
    const left = released.get(at);
    if (left === undefined) return;
    if (order === 'relaxed') this.seen.push({ released: left, scope });
    else this.knowledge.acquire(left, reachOf[scope]);
  }

  private leftFlag({ released }: Home, at: number, order: Order, scope: Scope, continues: boolean): void {
    const releases = order === 'release' || order === 'acq_rel';
    const left = releases ? this.knowledge.release(reachOf[scope]) : this.fencedRelease;
    if (left !== null) released.set(at, continues ? joinReleased(released.get(at), left) : left);
    else if (!continues) released.delete(at);
  }

  fence(scope: Scope): void {
    for (const { released, scope: read } of this.seen)
      this.knowledge.acquire(released, reachOf[reachOf[read] < reachOf[scope] ? read : scope]);
    this.seen = [];
    this.fencedRelease = this.knowledge.release(reachOf[scope]);
    this.tick();
  }

  // ---- matrices of 8 x 8 halves

  loadMatrices(instr: Instr, address: Operand, targets: readonly Reg[], transposed: boolean): void {
    const { shared } = this.home;
    for (const [i, reg] of targets.entries()) {
      const rows = this.matrixRows(instr, address, i);
      if (rows === null) return;
      const slot = this.slot(reg);
      for (let lane = 0; lane < 32; lane++) {
        const [r, c] = [lane >> 2, 2 * (lane & 3)];
        if (transposed) {
          const [low, high] = [rows[c]! + 2 * r, rows[c + 1]! + 2 * r];
          this.readShared(instr, low, 2, lane);
          this.readShared(instr, high, 2, lane);
          this.integers[slot + lane] = shared.view.getUint16(low, true) | (shared.view.getUint16(high, true) << 16);
        } else {
          const at = rows[r]! + 2 * c;
          this.readShared(instr, at, 4, lane);
          this.integers[slot + lane] = shared.view.getInt32(at, true);
        }
      }
    }
  }

  storeMatrices(instr: Instr, address: Operand, values: readonly Operand[], transposed: boolean): void {
    const { shared } = this.home;
    for (const [i, value] of values.entries()) {
      const rows = this.matrixRows(instr, address, i);
      if (rows === null) return;
      for (let lane = 0; lane < 32; lane++) {
        const [r, c] = [lane >> 2, 2 * (lane & 3)];
        const bits = this.bits(value, lane);
        if (transposed) {
          this.writeShared(instr, rows[c]! + 2 * r, 2, lane);
          this.writeShared(instr, rows[c + 1]! + 2 * r, 2, lane);
          shared.view.setUint16(rows[c]! + 2 * r, bits, true);
          shared.view.setUint16(rows[c + 1]! + 2 * r, bits >>> 16, true);
        } else {
          this.writeShared(instr, rows[r]! + 2 * c, 4, lane);
          shared.view.setInt32(rows[r]! + 2 * c, bits, true);
        }
      }
    }
  }

  /** Addresses of the rows of matrix i; null when one cannot be used. */
  private matrixRows(instr: Instr, address: Operand, i: number): readonly number[] | null {
    const rows = Array.from({ length: 8 }, (_, r) => this.read(address, 8 * i + r));
    for (const [r, row] of rows.entries()) if (!this.inShared('shared', instr, row, 16, 8 * i + r)) return null;
    const ways = conflictWays(rows, 16, 0, 8);
    this.counters.wavefronts += ways;
    if (ways > 1) this.findings.report('bank-conflict', instr.where, `${ways}-way, rows of matrix ${i}`);
    return rows;
  }

  private readShared({ where }: Instr, at: number, bytes: number, lane: number): void {
    this.counters.sharedRead += bytes;
    noteRead(this.home.shared, this.findings, this, this.accessOf(where, lane, at, bytes));
  }

  private writeShared({ where }: Instr, at: number, bytes: number, lane: number): void {
    this.counters.sharedWritten += bytes;
    noteWrite(this.home.shared, this.findings, this, this.accessOf(where, lane, at, bytes));
  }
}
