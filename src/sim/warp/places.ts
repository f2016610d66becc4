// Where a warp's access goes: lanes' addresses to places in a buffer or a CTA's shared memory, with what is wrong about them, and what they cost in
// turns of shared memory and sectors of global memory. Reads and writes nothing.
import type { Space } from '../../ptx/machine.ts';
import type { Instr, Operand, Where } from '../../ptx/program.ts';
import { UNKNOWN } from '../../ptx/where.ts';
import { conflictWays, lanesPerPhase } from '../banks.ts';
import { isUncoalesced, sectorsOf, sectorsOfRange } from '../coalescing.ts';
import type { Cta } from '../cta.ts';
import { type GlobalBuffer, SharedMemory } from '../memory.ts';
import type { Access } from '../shadow/access.ts';
import { lowest, WarpRegisters } from './registers.ts';

/** Addresses of mapa carry the CTA's rank plus one above the offset; those without one mean the own CTA. */
const RANK_SHIFT = 24;
const OFFSET = 2 ** RANK_SHIFT - 1;

/** Where an address points: a buffer or a CTA's shared memory. */
export type Home = GlobalBuffer | SharedMemory;

/** An access of a warp, found out: lanes whose addresses lie in one home. */
export type Place = { -readonly [P in keyof Access]: Access[P] } & { home: Home };

/** One object serves all accesses of all warps, since they are many; valid until the next one. */
const scratch: Place = {
  where: UNKNOWN,
  mask: 0,
  at: new Int32Array(32),
  bytes: 0,
  level: 0,
  home: new SharedMemory(0, 0),
};

export class WarpPlaces extends WarpRegisters {
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
    // Buffers may begin unaligned, where they are slices of others.
    const skew = base % (low + 1);
    let mask = 0;
    for (let left = wanted; left !== 0; left &= left - 1) {
      const lane = lowest(left);
      const offset = this.read(address, lane) - base;
      if (offset < 0 || offset > last || ((offset + skew) & low) !== 0) continue;
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
    return this.aligned(instr, at, alignment, lane, offset);
  }

  /** `offset` is what a finding tells: the byte within the buffer. */
  protected aligned(instr: Instr, at: number, alignment: number, lane: number, offset: number = at): boolean {
    if (at % alignment === 0) return true;
    const detail = `lane ${lane} accesses byte ${offset}, which is no multiple of ${alignment}`;
    this.findings.report('misaligned', instr.where, detail);
    return false;
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
