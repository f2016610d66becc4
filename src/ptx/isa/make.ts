// How entries of the instruction set are made: what most of them share. Knows no instruction.
import type { Machine } from '../machine.ts';
import type { Kind, Op } from '../op.ts';
import type { Instr, Target } from '../program.ts';

/** Operations are made once a spelling, so that equal ones are the same object. */
const made = new Map<string, Op>();

export function once(name: string, make: (name: string) => Op): Op {
  const found = made.get(name);
  if (found !== undefined) return found;
  const op = make(name);
  made.set(name, op);
  return op;
}

export interface WarpOp {
  readonly name: string;
  readonly dst?: readonly Kind[];
  readonly src?: readonly Kind[];
  /** Sources that may be immediates; the others come from registers. */
  readonly immediates?: readonly number[];
  readonly needs?: Target;
  readonly version?: number;
  readonly format?: Op['format'];
  readonly inFlight?: readonly number[];
}

function base({ name, dst = [], src = [], immediates = [], ...rest }: WarpOp): Omit<Op, 'meaning'> {
  const { needs = 'sm_80', version = 7.0, format, inFlight } = rest;
  return {
    name,
    dst,
    src,
    registersOnly: src.map((_, i) => i).filter((i) => !immediates.includes(i)),
    needs,
    version,
    ...(format === undefined ? {} : { format }),
    ...(inFlight === undefined ? {} : { inFlight }),
  };
}

/** An instruction of a whole warp. */
export function warpOp(what: WarpOp, run: (machine: Machine, instr: Instr) => void): Op {
  return { ...base(what), meaning: { kind: 'warp', run } };
}

/** One that may have to wait for others. */
export function waitOp(what: WarpOp, run: (machine: Machine, instr: Instr) => Generator<void, void>): Op {
  return { ...base(what), meaning: { kind: 'wait', run } };
}

export function eachLane(machine: Machine, visit: (lane: number) => void): void {
  for (let lane = 0; lane < 32; lane++) if ((machine.active >>> lane) & 1) visit(lane);
}

/** Operands as PTX groups them: '{a, b}', or one without braces. */
export const group = (names: readonly string[]): string => (names.length > 1 ? `{${names.join(', ')}}` : names[0]!);
export const braced = (names: readonly string[]): string => `{${names.join(', ')}}`;
export const repeat = (kind: Kind, count: number): Kind[] => Array.from({ length: count }, () => kind);
