// What an instruction is: its spelling, its operands, the chips that have it, and its meaning. One entry each, in isa/.
import type { Machine } from './machine.ts';
import type { Instr, RegClass, Target } from './program.ts';

/** How an operand is read, and so how an immediate is written and a test draws random values. */
export type Kind = 'pred' | 'u32' | 's32' | 'b32' | 'f32' | 'f16x2' | 'bf16x2' | 'b16' | 'u64' | 'shared' | 'global';

export const classOf: Readonly<Record<Kind, RegClass>> = {
  pred: 'pred',
  u32: 'b32',
  s32: 'b32',
  b32: 'b32',
  f32: 'f32',
  f16x2: 'b32',
  bf16x2: 'b32',
  b16: 'b16',
  u64: 'b64',
  shared: 'b32',
  global: 'b64',
};

/**
 * What a lane computes alone, as a JavaScript expression over its operands a, b, c, d, for the simulator to compile and the builder to fold.
 * 32-bit integers are signed inside it (`| 0` is implied by the store; write `>>> 0` to read unsigned), u64 bigints (the store takes them
 * modulo 2^64), predicates 0 or 1, f32 numbers that the store rounds, addresses doubles. `m` is the table of arithmetic that needs more than an expression (arithmetic.ts).
 */
export interface LaneMeaning {
  readonly kind: 'lane';
  readonly expression: string;
  /** A move: f32 operands are patterns, not numbers, so that a signalling NaN passes as it is. */
  readonly raw?: boolean;
}

/** What a warp does together: memory, other lanes, tensor cores. Asked of a machine, so that ptx/ need not know the simulator. */
export interface WarpMeaning {
  readonly kind: 'warp';
  run(machine: Machine, instr: Instr): void;
}

/** A warp instruction that may have to wait for others: yields until it can go on. */
export interface WaitMeaning {
  readonly kind: 'wait';
  run(machine: Machine, instr: Instr): Generator<void, void>;
}

export type Meaning = LaneMeaning | WarpMeaning | WaitMeaning;

export interface Op {
  /** The PTX spelling with its modifiers, such as 'add.rn.f32'. */
  readonly name: string;
  readonly dst: readonly Kind[];
  readonly src: readonly Kind[];
  /** Sources that the hardware takes from registers only (indices); an immediate there is moved into one first. */
  readonly registersOnly: readonly number[];
  readonly needs: Target;
  /** The lowest PTX ISA version that has it, such as 7.0. */
  readonly version: number;
  /** Sources whose registers stay in use after the instruction, as all results do, until it is waited for (wgmma). */
  readonly inFlight?: readonly number[];
  /** Operands as text; without it `name dst, src...;`. */
  readonly format?: (dst: readonly string[], src: readonly string[]) => string;
  readonly meaning: Meaning;
}

/** As what kind an operation's meaning takes an operand or gives its result: a move sees the pattern of an f32. */
export function computedAs(op: Op, kind: Kind): Kind {
  return kind === 'f32' && op.meaning.kind === 'lane' && op.meaning.raw === true ? 'b32' : kind;
}
