// What an instruction may ask of the machine that runs it. An interface only: ptx/ does not import a simulator.
import type { Instr, Operand, Reg } from './program.ts';

export interface Index3 {
  readonly x: number;
  readonly y: number;
  readonly z: number;
}

export type Space = 'global' | 'shared';

/** A warp in lockstep, as an instruction's meaning sees it. Lanes are 0..31; 32-bit values are signed integers, addresses are doubles. */
export interface Machine {
  /** Bit l is set when lane l takes part. */
  readonly active: number;
  read(operand: Operand, lane: number): number;
  write(reg: Reg, lane: number, value: number): void;

  /** Reads `words` 32-bit words an active lane, `wordBytes` 4, or one value of 1, 2 or 8 bytes. */
  load(space: Space, instr: Instr, address: Operand, targets: readonly Reg[], wordBytes: number): void;
  /** Begins to copy `bytes` a lane from global to shared memory; the data is there only after a wait for its group. */
  beginCopy(instr: Instr, to: Operand, from: Operand, bytes: number): void;
  /** Closes the group of copies begun since the last commit. */
  commitCopies(): void;
  /** Waits until at most `pending` of this warp's groups are under way; then this warp sees their data. */
  waitCopies(pending: number): void;
  /** Rows of 16 bytes at the lanes' shared addresses, dealt out as ldmatrix says. */
  loadMatrices(instr: Instr, address: Operand, targets: readonly Reg[]): void;
  store(space: Space, instr: Instr, address: Operand, values: readonly Operand[], wordBytes: number): void;

  /** Index of a lane's thread in its CTA. */
  thread(lane: number): number;
  readonly cta: Index3;
  readonly grid: Index3;
  /** A parameter's value; a pointer is the address of its buffer. */
  parameter(name: string): number;

  /** Waits until all threads of the CTA are here. */
  barrier(instr: Instr): Generator<void, void>;

  /** All lanes must be here together (an .aligned or .sync instruction); a finding otherwise. */
  converge(instr: Instr): void;
}
