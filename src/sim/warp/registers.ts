// A warp: who it is, registers of 32 lanes, which of them are active, and what it knows. What it does is in the classes above.
import type { Index3 } from '../../ptx/machine.ts';
import { type Instr, isReg, type Operand, type Reg, type Where } from '../../ptx/program.ts';
import { UNKNOWN } from '../../ptx/where.ts';
import type { Counters } from '../counters.ts';
import type { Cta } from '../cta.ts';
import type { Findings } from '../findings.ts';
import type { Knowledge } from '../knowledge.ts';
import type { GlobalMemory } from '../memory.ts';
import type { Actor } from '../shadow/access.ts';
import type { Launch, Team } from '../team.ts';

/** Why a warp does not go on, and when it can. */
export interface Waiting {
  readonly where: Where;
  readonly what: () => string;
  readonly ready: () => boolean;
}

/** Registers of 32 lanes: 32-bit ones as integers or floats, 64-bit ones as doubles (addresses) or bigints. */
export class RegisterFile {
  readonly integers: Int32Array;
  readonly floats: Float32Array;
  readonly doubles: Float64Array;
  readonly longs: BigUint64Array;

  constructor({ words, doubles }: { readonly words: number; readonly doubles: number }) {
    this.integers = new Int32Array(words);
    this.floats = new Float32Array(this.integers.buffer);
    this.doubles = new Float64Array(doubles);
    this.longs = new BigUint64Array(this.doubles.buffer);
  }

  clear(): this {
    this.integers.fill(0);
    this.doubles.fill(0);
    return this;
  }
}

export class WarpRegisters implements Actor {
  readonly home: Cta;
  readonly team: Team;
  readonly launch: Launch;
  /** Among the warps of its CTA, of its team, of the grid (from 1). */
  readonly inCta: number;
  readonly index: number;
  readonly id: number;
  readonly teamSize: number;
  readonly warpsPerCta: number;
  /** Goes back to the launch at the end, for another warp. */
  readonly file: RegisterFile;
  readonly integers: Int32Array;
  readonly floats: Float32Array;
  readonly doubles: Float64Array;
  readonly longs: BigUint64Array;
  /** What it knows of each actor's past; its own entry is its present. */
  readonly knowledge: Knowledge;
  active = -1;
  waiting: Waiting | null = null;
  /** The loop it went round last, for a report that it goes round for ever. */
  spinning: Where = UNKNOWN;
  /** Counts the places where all lanes met. */
  epoch = 0;
  private readonly slotOf: readonly number[];

  constructor(home: Cta, inCta: number) {
    const { team } = home;
    this.home = home;
    this.team = team;
    this.launch = team.launch;
    this.inCta = inCta;
    this.index = home.rank * team.warpsPerCta + inCta;
    this.teamSize = team.size;
    this.warpsPerCta = team.warpsPerCta;
    this.id = team.serial * team.size + this.index + 1;
    const { slots, slotOf } = team.launch.compiled;
    this.slotOf = slotOf;
    this.file = team.launch.files.pop()?.clear() ?? new RegisterFile(slots);
    ({ integers: this.integers, floats: this.floats, doubles: this.doubles, longs: this.longs } = this.file);
    this.knowledge = team.nothing(home.rank);
    this.knowledge.clock[this.index] = 1;
  }

  // ---- who
  get cta(): Index3 {
    return this.home.index;
  }
  get grid(): Index3 {
    return this.launch.grid;
  }
  get clusterRank(): number {
    return this.home.rank;
  }
  get name(): string {
    return this.launch.program.cluster > 1 ? `warp ${this.inCta} of CTA ${this.home.rank}` : `warp ${this.inCta}`;
  }
  nameOf(actor: number): string {
    return this.team.nameOf(actor);
  }
  thread(lane: number): number {
    return this.inCta * 32 + lane;
  }
  parameter(name: string): number {
    return this.launch.parameters.get(name) ?? 0;
  }

  // ---- short names
  protected get findings(): Findings {
    return this.launch.findings;
  }
  protected get counters(): Counters {
    return this.launch.counters;
  }
  protected get global(): GlobalMemory {
    return this.launch.global;
  }

  /** What comes now is later than what others were told of so far. */
  protected tick(): void {
    this.knowledge.clock[this.index]!++;
  }

  // ---- registers
  /** Where the lanes of a register begin. */
  protected slot(reg: Reg): number {
    return this.slotOf[reg.id]!;
  }

  read(operand: Operand, lane: number): number {
    if (!isReg(operand)) return Number(operand.bits) | 0;
    const slot = this.slotOf[operand.id]! + lane;
    if (operand.cls === 'b64') return this.doubles[slot]!;
    return operand.cls === 'f32' ? this.floats[slot]! : this.integers[slot]!;
  }

  bits(operand: Operand, lane: number): number {
    return isReg(operand) ? this.integers[this.slotOf[operand.id]! + lane]! : Number(operand.bits) | 0;
  }

  write(reg: Reg, lane: number, value: number): void {
    const slot = this.slotOf[reg.id]! + lane;
    if (reg.cls === 'b64') this.doubles[slot] = value;
    else if (reg.cls === 'f32') this.floats[slot] = value;
    else this.integers[slot] = value;
  }

  writeBits(reg: Reg, lane: number, bits: number): void {
    this.integers[this.slotOf[reg.id]! + lane] = bits;
  }

  gather(operands: readonly Operand[], first: number, count: number, into: Int32Array): void {
    const { integers } = this;
    for (let i = 0; i < count; i++) {
      const operand = operands[first + i]!;
      if (!isReg(operand)) into.fill(Number(operand.bits) | 0, i * 32, (i + 1) * 32);
      else {
        const slot = this.slotOf[operand.id]!;
        for (let lane = 0; lane < 32; lane++) into[i * 32 + lane] = integers[slot + lane]!;
      }
    }
  }

  scatter(regs: readonly Reg[], from: Int32Array): void {
    for (let i = 0; i < regs.length; i++) {
      const slot = this.slotOf[regs[i]!.id]!;
      for (let lane = 0; lane < 32; lane++) this.integers[slot + lane] = from[i * 32 + lane]!;
    }
  }

  // ---- loops that another warp might end
  private rounds = 0;
  private digest = 0;
  private digestOf = 0;

  goRound(where: Where): void {
    const { doubtful, progress } = this.launch;
    const same = this.spinning === where && this.digestOf === progress;
    this.spinning = where;
    if (!doubtful) return;
    const digest = digestOf(this.integers, new Int32Array(this.doubles.buffer));
    this.rounds = same && digest === this.digest ? this.rounds + 1 : 0;
    this.digest = digest;
    this.digestOf = progress;
  }

  /** It has gone round a loop twice with equal registers and memory, and so will for ever. */
  get isStill(): boolean {
    return this.rounds >= 2 && this.digestOf === this.launch.progress;
  }

  converge(instr: Instr): void {
    if (this.active !== -1)
      this.findings.report('divergence', instr.where, `lanes ${maskText(~this.active)} are not at ${instr.op.name}`);
    this.epoch++;
  }
}

/** A checksum (FNV-1a over words). */
function digestOf(...arrays: readonly Int32Array[]): number {
  let sum = 0x811c9dc5;
  for (const words of arrays) for (const word of words) sum = Math.imul(sum ^ word, 0x01000193);
  return sum;
}

/** The lowest lane of a mask that has one. */
export function lowest(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
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
