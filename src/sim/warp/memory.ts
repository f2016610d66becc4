// What a warp does to memory by itself: loads, stores, atomics, matrices of ldmatrix; and what its ordered accesses mean to others.
import type { Order, Scope, Space } from '../../ptx/machine.ts';
import { type Instr, isReg, type Operand, type Reg } from '../../ptx/program.ts';
import { conflictWays } from '../banks.ts';
import { joinReleased, reachOf, type Released } from '../knowledge.ts';
import { GlobalBuffer } from '../memory.ts';
import { levelOf } from '../shadow/access.ts';
import { noteGlobalRead, noteGlobalWrite } from '../shadow/global.ts';
import { noteRead, noteWrite } from '../shadow/shared.ts';
import { type Home, type Place, WarpPlaces } from './places.ts';
import { lowest } from './registers.ts';

const rows = new Int32Array(8);

export class WarpMemory extends WarpPlaces {
  /** What relaxed reads saw: taken over at the next fence. */
  private seen: { readonly released: Released; readonly scope: Scope }[] = [];
  /** What relaxed writes hand over since the last fence. */
  private fencedRelease: Released | null = null;

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

function lanesIn(mask: number): number {
  let [count, left] = [0, mask];
  for (; left !== 0; left &= left - 1) count++;
  return count;
}
