// What an instruction may ask of the machine that runs it. An interface only: ptx/ does not import a simulator.
import type { Instr, Operand, Reg } from './program.ts';

export interface Index3 {
  readonly x: number;
  readonly y: number;
  readonly z: number;
}

/** Where an address points; 'cluster' is the shared memory of any CTA of the cluster, by an address that mapa made. */
export type Space = 'global' | 'shared' | 'cluster';

/** How far an access orders others (PTX ISA 8.8): a weak one may not meet another thread's at all, the others may, and hand over what came before. */
export type Order = 'weak' | 'relaxed' | 'acquire' | 'release' | 'acq_rel';

/** A box that a bulk copy moves: where its first element lies in the matrix. Coordinates outside are legal and read as 0. */
export interface BoxAt {
  readonly tensor: Operand;
  readonly column: Operand;
  readonly row: Operand;
}

/** A warp in lockstep, as an instruction's meaning sees it. Lanes are 0..31; 32-bit values are signed integers, addresses are doubles. */
export interface Machine {
  // ---- who
  /** Bit l is set when lane l takes part. */
  readonly active: number;
  /** Index of a lane's thread in its CTA. */
  thread(lane: number): number;
  readonly cta: Index3;
  readonly grid: Index3;
  /** The CTA's number in its cluster. */
  readonly clusterRank: number;
  /** A parameter's value; a pointer is the address of its buffer. */
  parameter(name: string): number;

  // ---- registers
  read(operand: Operand, lane: number): number;
  /** The 32-bit pattern, also of an f32. */
  bits(operand: Operand, lane: number): number;
  write(reg: Reg, lane: number, value: number): void;
  writeBits(reg: Reg, lane: number, bits: number): void;

  /** The patterns of all lanes of operands[first], operands[first + 1], ... one register after another. */
  gather(operands: readonly Operand[], first: number, count: number, into: Int32Array): void;
  scatter(regs: readonly Reg[], from: Int32Array): void;

  // ---- memory
  /** Reads one value of `wordBytes` (1, 2, 4 or 8) bytes for each target. */
  load(
    space: Space,
    instr: Instr,
    address: Operand,
    targets: readonly Reg[],
    wordBytes: number,
    order?: Order,
    scope?: Scope,
  ): void;
  store(
    space: Space,
    instr: Instr,
    address: Operand,
    values: readonly Operand[],
    wordBytes: number,
    order?: Order,
    scope?: Scope,
  ): void;
  /** Lane after lane, `update` makes the new pattern out of the old one; the old one goes to `target`. */
  atomic(
    space: Space,
    instr: Instr,
    address: Operand,
    target: Reg | null,
    update: (old: number, lane: number) => number,
    order: Order,
    scope: Scope,
  ): void;
  /** Orders what this thread did before it against what it does after, for whoever reads a flag in between. */
  fence(scope: Scope): void;
  /** The address of `address` in the shared memory of CTA `rank` of the cluster. */
  mapShared(address: number, rank: number): number;
  /** Rows of 16 bytes at the lanes' shared addresses, dealt out as ldmatrix says. */
  loadMatrices(instr: Instr, address: Operand, targets: readonly Reg[], transposed: boolean): void;
  storeMatrices(instr: Instr, address: Operand, values: readonly Operand[], transposed: boolean): void;

  // ---- copies that go on while the program does
  /** Begins to copy `bytes` a lane from global to shared memory; the data is there only after a wait for its group. */
  beginCopy(instr: Instr, to: Operand, from: Operand, bytes: number): void;
  /** Closes the group of copies begun since the last commit. */
  commitCopies(): void;
  /** Waits until at most `pending` of this warp's groups are under way; then this warp sees their data. */
  waitCopies(pending: number): void;
  /** Begins a bulk copy into shared memory, for each active lane one; `barrier` is told of its bytes. `mask`: the CTAs of the cluster that get it, null for the own one. */
  beginBulkLoad(instr: Instr, to: Operand, from: Operand, bytes: Operand, barrier: Operand, mask: number | null): void;
  beginBoxLoad(instr: Instr, to: Operand, from: BoxAt, barrier: Operand, mask: number | null): void;
  /** Begins a bulk copy out of shared memory, part of the open bulk group. */
  beginBulkStore(instr: Instr, to: Operand, from: Operand, bytes: Operand): void;
  beginBoxStore(instr: Instr, to: BoxAt, from: Operand): void;
  commitBulk(): void;
  /** Waits until at most `pending` bulk groups are under way; `read`: until they have read their shared memory. */
  waitBulk(pending: number, read: boolean): void;

  // ---- meeting others
  /** All lanes must be here together (an .aligned or .sync instruction); a finding otherwise. */
  converge(instr: Instr): void;
  /** Waits until `threads` threads (null: all of the CTA) are at barrier `id`. */
  barrier(instr: Instr, id: number, threads: number | null): Generator<void, void>;
  /** Counts as being there, without waiting. */
  arriveBarrier(instr: Instr, id: number, threads: number): void;
  arriveCluster(instr: Instr, release: boolean): void;
  waitCluster(instr: Instr): Generator<void, void>;
  /** What this thread wrote to shared memory, or knows to be written, is there for bulk copies and wgmma. */
  fenceProxyAsync(): void;
  /** The same for mbarriers this thread made. */
  fenceBarrierInit(): void;
  initBarrier(instr: Instr, barrier: Operand, count: Operand): void;
  /** One arrival a lane, on a barrier of any CTA of the cluster; first `bytes` more are awaited. */
  arrive(instr: Instr, space: Space, barrier: Operand, bytes: Operand | null): void;
  waitBarrier(instr: Instr, barrier: Operand, parity: Operand): Generator<void, void>;
  /** Whether the phase of that parity is over, without waiting. */
  testBarrier(instr: Instr, barrier: Operand, parity: Operand, target: Reg): void;

  // ---- matrix products that go on while the program does
  /** Looks at 16 bytes of the own CTA's shared memory for wgmma, which may read them until it is waited for; returns the words there. */
  readForMatrix(instr: Instr, address: number): Int32Array;
  /** Registers of this instruction are in use until it is waited for. */
  beginMatrix(instr: Instr, registers: readonly Operand[]): void;
  fenceMatrix(): void;
  commitMatrix(): void;
  waitMatrix(pending: number): void;
  /** Tensor-core work of this warp, in multiplications and additions of a dense product. */
  countTensor(operations: number): void;
}

/** Among whom an ordered access or a fence orders. */
export type Scope = 'cta' | 'cluster' | 'gpu';
