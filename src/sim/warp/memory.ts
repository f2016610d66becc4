// What a warp does to memory by itself: loads, stores, atomics, matrices of ldmatrix; and what its accesses mean to others.
import type { Order, Scope, Space } from '../../ptx/machine.ts';
import { type Instr, isReg, type Operand, type Reg, type Where } from '../../ptx/program.ts';
import { UNKNOWN } from '../../ptx/where.ts';
import { conflictWays, lanesPerPhase } from '../banks.ts';
import { isUncoalesced, sectorsOf, sectorsOfRange } from '../coalescing.ts';
import type { Cta } from '../cta.ts';
import { joinReleased, reachOf, type Released } from '../knowledge.ts';
import { GlobalBuffer, SharedMemory } from '../memory.ts';
import { type Access, levelOf } from '../shadow/access.ts';
import { noteGlobalRead, noteGlobalWrite } from '../shadow/global.ts';
import { noteRead, noteWrite } from '../shadow/shared.ts';
import { lowest, WarpRegisters } from './registers.ts';

/** Addresses of mapa carry the CTA's rank plus one above the offset; those without one mean the own CTA. */
const RANK_SHIFT = 24;
const OFFSET = 2 ** RANK_SHIFT - 1;

/** Where an address points: a buffer or a CTA's shared memory. */
type Home = GlobalBuffer | SharedMemory;

/** An access of a warp, found out: lanes whose addresses lie in one home. */
type Place = { -readonly [P in keyof Access]: Access[P] } & { home: Home };

/** One object serves all accesses of all warps, since they are many; valid until the next one. */
const scratch: Place = {
  where: UNKNOWN,
  mask: 0,
  at: new Int32Array(32),
  bytes: 0,
  level: 0,
  home: new SharedMemory(0, 0),
};
const rows = new Int32Array(8);

export class WarpMemory extends WarpRegisters {
  /** What relaxed reads saw: taken over at the next fence. */
  private seen: { readonly released: Released; readonly scope: Scope }[] = [];
  /** What relaxed writes hand over since the last fence. */
  private fencedRelease: Released | null = null;

  // ---- places

  protected get place(): Place {
    return scratch;
  }

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

  /** An access of one lane. Valid until the next one. */
  protected accessOf(where: Where, lane: number, at: number, bytes: number): Access {
    const { place } = this;
    place.where = where;
    place.mask = 1 << lane;
    place.at[lane] = at;
    place.bytes = bytes;
    place.level = 0;
    return place;
  }

  /** The same of several. */
  protected accessOfLanes(where: Where, mask: number, at: Int32Array, bytes: number): Access {
    const { place } = this;
    place.at.set(at);
    place.where = where;
    place.mask = mask;
    place.bytes = bytes;
    place.level = 0;
    return place;
  }

  /**
   * Finds out where an access of the lanes of `wanted` goes: into `place` come those that lie where the first of them does. Returns the lanes that
   * are dealt with; the first one, if it is misused, only by a finding.
   */
  protected locate(space: Space, instr: Instr, address: Operand, bytes: number, wanted: number): number {
    const { place } = this;
    const first = lowest(wanted);
    const origin = this.read(address, first);
    const [home, base] = this.homeOf(space, origin);
    place.where = instr.where;
    place.bytes = bytes;
    place.level = 0;
    place.mask = 0;
    if (home !== null) {
      place.home = home;
      place.mask = this.lanesIn(address, base, home.bytes.length - bytes, bytes - 1, wanted);
    }
    if (space === 'global') this.countSectors(place);
    else if (space === 'shared') this.countBanks(place);
    if (((place.mask >>> first) & 1) === 1) return place.mask;
    if (space === 'global') this.inGlobal(instr, origin, bytes, first);
    else this.inShared(space, instr, origin, bytes, first);
    return place.mask | (1 << first);
  }

  private homeOf(space: Space, address: number): readonly [home: Home | null, base: number] {
    if (space === 'shared') return [this.home.shared, 0];
    if (space === 'global') {
      const buffer = this.global.at(address);
      return buffer === undefined ? [null, 0] : [buffer, buffer.address];
    }
    const cta = this.ctaOf(address);
    return cta === undefined || cta.ended ? [null, 0] : [cta.shared, address - this.offsetOf(address)];
  }

  /** Which lanes of `wanted` have an aligned address from `base` up to `last` behind it; puts their offsets into `place`. */
  private lanesIn(address: Operand, base: number, last: number, low: number, wanted: number): number {
    const { at } = this.place;
    let mask = 0;
    for (let left = wanted; left !== 0; left &= left - 1) {
      const lane = lowest(left);
      const offset = this.read(address, lane) - base;
      if (offset < 0 || offset > last || (offset & low) !== 0) continue;
      at[lane] = offset;
      mask |= left & -left;
    }
    return mask;
  }

  private countBanks({ where, bytes, mask, at }: Place): void {
    if (isRun(mask, at, bytes)) {
      this.counters.wavefronts += Math.max(1, bytes / 4);
      return;
    }
    const step = lanesPerPhase(bytes);
    const addresses = spread(mask, at);
    for (let first = 0; first < 32; first += step) {
      const ways = conflictWays(addresses, bytes, first, first + step);
      this.counters.wavefronts += ways;
      if (ways > 1) this.findings.report('bank-conflict', where, `${ways}-way, lanes ${first}..${first + step - 1}`);
    }
  }

  private countSectors({ where, bytes, mask, at }: Place): void {
    if (isRun(mask, at, bytes)) {
      this.counters.sectors += sectorsOfRange(at[0]!, 32 * bytes);
      return;
    }
    const touched = sectorsOf(spread(mask, at));
    this.counters.sectors += touched.sectors;
    if (!isUncoalesced(touched, bytes)) return;
    const asked = touched.lanes * bytes;
    const detail = `${touched.lanes} lanes ask for ${asked} bytes and touch ${touched.sectors} sectors of 32`;
    this.findings.report('uncoalesced', where, detail);
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
    if (buffer === undefined || offset + bytes > buffer.bytes.length) {
      const size = buffer === undefined ? 'no buffer' : `a buffer of ${buffer.bytes.length}`;
      this.findings.report(
        'out-of-bounds',
        instr.where,
        `lane ${lane} of ${this.name} accesses ${bytes} bytes at byte ${offset} of ${size}`,
      );
      return false;
    }
    return this.aligned(instr, offset, alignment, lane);
  }

  protected aligned(instr: Instr, at: number, alignment: number, lane: number): boolean {
    if (at % alignment === 0) return true;
    const detail = `lane ${lane} accesses byte ${at}, which is no multiple of ${alignment}`;
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
    const { place } = this;
    for (let left = this.active; left !== 0;) {
      left &= ~this.locate(space, instr, address, wordBytes * targets.length, left);
      place.level = levelOf(order, scope);
      this.noteRead(place);
      for (let i = 0; i < targets.length; i++) this.fetch(targets[i]!, i * wordBytes, wordBytes);
      if (order !== 'weak') this.eachLane((lane) => this.sawFlag(place.home, place.at[lane]!, order, scope));
    }
  }

  private eachLane(visit: (lane: number) => void): void {
    for (let left = this.place.mask; left !== 0; left &= left - 1) visit(lowest(left));
  }

  protected noteRead(place: Place): void {
    const { home, mask, bytes } = place;
    if (home instanceof GlobalBuffer) {
      this.counters.globalRead += bytes * lanesIn(mask);
      noteGlobalRead(home, this.findings, this, place);
    } else {
      this.counters.sharedRead += bytes * lanesIn(mask);
      noteRead(home, this.findings, this, place);
    }
  }

  private noteWrite(place: Place): void {
    const { home, mask, bytes } = place;
    if (home instanceof GlobalBuffer) {
      this.counters.globalWritten += bytes * lanesIn(mask);
      noteGlobalWrite(home, this.findings, this, place);
    } else {
      this.counters.sharedWritten += bytes * lanesIn(mask);
      noteWrite(home, this.findings, this, place);
    }
  }

  /** Memory at the lanes' places, `offset` bytes on, into a register. */
  private fetch(reg: Reg, offset: number, bytes: number): void {
    const { home, mask, at } = this.place;
    const { view } = home;
    const slot = this.slot(reg);
    for (let left = mask; left !== 0; left &= left - 1) {
      const lane = lowest(left);
      const from = at[lane]! + offset;
      if (bytes === 4) this.integers[slot + lane] = view.getInt32(from, true);
      else if (bytes === 2) this.integers[slot + lane] = view.getUint16(from, true);
      else if (bytes === 1) this.integers[slot + lane] = view.getUint8(from);
      else this.longs[slot + lane] = view.getBigUint64(from, true);
    }
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
    const { place } = this;
    for (let left = this.active; left !== 0;) {
      left &= ~this.locate(space, instr, address, wordBytes * values.length, left);
      place.level = levelOf(order, scope);
      if (order !== 'weak') this.eachLane((lane) => this.leftFlag(place.home, place.at[lane]!, order, scope, false));
      this.noteWrite(place);
      for (let i = 0; i < values.length; i++) this.deliver(values[i]!, i * wordBytes, wordBytes);
    }
    // What comes after the release is not part of what it handed over.
    if (order === 'release') this.tick();
  }

  /** A value of each lane to memory at the lanes' places, `offset` bytes on. Only what changes memory is progress, so that a loop that waits by storing is seen to stand still. */
  private deliver(value: Operand, offset: number, bytes: number): void {
    const { home, mask, at } = this.place;
    const { view } = home;
    for (let left = mask; left !== 0; left &= left - 1) {
      const lane = lowest(left);
      const to = at[lane]! + offset;
      if (bytes === 8) {
        view.setBigUint64(to, isReg(value) ? this.longs[this.slot(value) + lane]! : BigInt(value.bits), true);
        this.launch.progress++;
        continue;
      }
      const bits = this.bits(value, lane);
      if (bytes === 4) {
        if (view.getInt32(to, true) === bits) continue;
        view.setInt32(to, bits, true);
      } else if (bytes === 2) view.setUint16(to, bits, true);
      else view.setUint8(to, bits);
      this.launch.progress++;
    }
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
    const { place } = this;
    for (let left = this.active; left !== 0;) {
      left &= ~this.locate(space, instr, address, 4, left);
      place.level = levelOf(order, scope);
      const { home } = place;
      this.noteRead(place);
      this.eachLane((lane) => {
        const at = place.at[lane]!;
        if (order !== 'release') this.sawFlag(home, at, order, scope);
        this.leftFlag(home, at, order, scope, true);
        const old = home.view.getInt32(at, true);
        const next = update(old, lane) | 0;
        if (next !== old) this.launch.progress++;
        home.view.setInt32(at, next, true);
        if (target !== null) this.writeBits(target, lane, old);
      });
      this.noteWrite(place);
    }
    if (order === 'release' || order === 'acq_rel') this.tick();
  }

  // ---- flags: what ordered accesses hand over

  private sawFlag({ released }: Home, at: number, order: Order, scope: Scope): void {
    const left = released.get(at);
    if (left === undefined) return;
    if (order === 'acquire' || order === 'acq_rel') this.knowledge.acquire(left, reachOf[scope]);
    else if (this.seen.at(-1)?.released !== left) this.seen.push({ released: left, scope });
  }

  private leftFlag({ released }: Home, at: number, order: Order, scope: Scope, continues: boolean): void {
    const left = this.releasedBy(order, scope);
    if (left !== null) released.set(at, continues ? joinReleased(released.get(at), left) : left);
    else if (!continues) released.delete(at);
  }

  /** What a write of this order hands over: a relaxed one what the last fence gave it, no further than it is seen itself. */
  private releasedBy(order: Order, scope: Scope): Released | null {
    if (order === 'release' || order === 'acq_rel') return this.knowledge.release(reachOf[scope]);
    if (this.fencedRelease === null || this.fencedRelease.reach <= reachOf[scope]) return this.fencedRelease;
    return { ...this.fencedRelease, reach: reachOf[scope] };
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
    const { at } = this.place;
    for (const [i, reg] of targets.entries()) {
      if (!this.matrixRows(instr, address, i)) return;
      const slot = this.slot(reg);
      for (let part = 0; part < (transposed ? 2 : 1); part++) {
        this.placeElements(instr, transposed, part);
        this.noteRead(this.place);
        for (let lane = 0; lane < 32; lane++) {
          if (!transposed) this.integers[slot + lane] = shared.view.getInt32(at[lane]!, true);
          else if (part === 0) this.integers[slot + lane] = shared.view.getUint16(at[lane]!, true);
          else this.integers[slot + lane]! |= shared.view.getUint16(at[lane]!, true) << 16;
        }
      }
    }
  }

  storeMatrices(instr: Instr, address: Operand, values: readonly Operand[], transposed: boolean): void {
    const { shared } = this.home;
    const { at } = this.place;
    for (const [i, value] of values.entries()) {
      if (!this.matrixRows(instr, address, i)) return;
      for (let part = 0; part < (transposed ? 2 : 1); part++) {
        this.placeElements(instr, transposed, part);
        this.noteWrite(this.place);
        for (let lane = 0; lane < 32; lane++) {
          const bits = this.bits(value, lane);
          if (transposed) shared.view.setUint16(at[lane]!, bits >>> (16 * part), true);
          else shared.view.setInt32(at[lane]!, bits, true);
        }
      }
      this.launch.progress++;
    }
  }

  /** Finds the rows of matrix i; false with a finding when one cannot be used. */
  private matrixRows(instr: Instr, address: Operand, i: number): boolean {
    for (let r = 0; r < 8; r++) {
      rows[r] = this.read(address, 8 * i + r);
      if (!this.inShared('shared', instr, rows[r]!, 16, 8 * i + r)) return false;
    }
    const ways = conflictWays(rows, 16, 0, 8);
    this.counters.wavefronts += ways;
    if (ways > 1) this.findings.report('bank-conflict', instr.where, `${ways}-way, rows of matrix ${i}`);
    return true;
  }

  /** Where each lane's two elements lie: in a row together, or (transposed) in a column, of which `part` says the first or the second. */
  private placeElements({ where }: Instr, transposed: boolean, part: number): void {
    const { place } = this;
    place.where = where;
    place.home = this.home.shared;
    place.mask = -1;
    place.level = 0;
    place.bytes = transposed ? 2 : 4;
    for (let lane = 0; lane < 32; lane++) {
      const [r, c] = [lane >> 2, 2 * (lane & 3)];
      place.at[lane] = transposed ? rows[c + part]! + 2 * r : rows[r]! + 2 * c;
    }
  }
}

/** Whether all lanes take part, one behind the other: the most common access, without conflicts and coalesced. */
function isRun(mask: number, at: Int32Array, bytes: number): boolean {
  if (mask !== -1) return false;
  const start = at[0]!;
  for (let lane = 1; lane < 32; lane++) if (at[lane] !== start + lane * bytes) return false;
  return true;
}

const spreadAddresses = new Float64Array(32);

/** Addresses with NaN for lanes that take no part. Valid until the next call. */
function spread(mask: number, at: Int32Array): Float64Array {
  for (let lane = 0; lane < 32; lane++) spreadAddresses[lane] = ((mask >>> lane) & 1) === 1 ? at[lane]! : Number.NaN;
  return spreadAddresses;
}

function lanesIn(mask: number): number {
  let [count, left] = [0, mask];
  for (; left !== 0; left &= left - 1) count++;
  return count;
}
