// The program a kernel function leaves behind: plain data, structured blocks of instructions.
// Knows neither how an instruction is spelled nor what it computes (isa/).
import type { Op } from './op.ts';

/** Where a value lives. b64 holds addresses and descriptors; f16x2 and the like are b32. */
export type RegClass = 'pred' | 'b16' | 'b32' | 'b64' | 'f32';

export interface Reg {
  readonly id: number;
  readonly cls: RegClass;
}

/** Bits known when the kernel is built: 32 of them as an unsigned integer, or 64 as a bigint. */
export interface Immediate {
  readonly bits: number | bigint;
}

export type Operand = Reg | Immediate;

export function isReg(operand: Operand): operand is Reg {
  return 'id' in operand;
}

/** A place in the author's sources. */
export interface Frame {
  readonly file: string;
  /** Both from 1; 0 when unknown. */
  readonly line: number;
  readonly column: number;
  /** The function it is in; empty for one without a name, such as the body of a kernel. */
  readonly name: string;
}

/** The author's line, and the lines that called it, innermost first; the last one is in the kernel's body. */
export interface Where extends Frame {
  readonly callers: readonly Frame[];
}

export interface Instr {
  readonly kind: 'instr';
  readonly op: Op;
  readonly dst: readonly Reg[];
  readonly src: readonly Operand[];
  readonly where: Where;
}

export interface If {
  readonly kind: 'if';
  readonly condition: Reg;
  readonly body: Block;
  readonly otherwise: Block | null;
  readonly where: Where;
}

/** `for (index = from; index < to; index += step)`, unsigned; the body is entered only while the test holds. */
export interface Loop {
  readonly kind: 'loop';
  readonly index: Reg;
  readonly from: Operand;
  readonly to: Operand;
  readonly step: number;
  readonly body: Block;
  readonly where: Where;
}

/** Runs `test`, and while `condition` holds runs `body` and `test` again. */
export interface While {
  readonly kind: 'while';
  readonly test: Block;
  readonly condition: Reg;
  readonly body: Block;
  readonly where: Where;
}

export type Stmt = Instr | If | Loop | While;
export type Block = readonly Stmt[];

export type ElemType = 'f16' | 'bf16' | 'f32' | 'b32' | 'u32' | 's32' | 'u64' | 'b16' | 'u8';
export const elemBytes: Readonly<Record<ElemType, number>> = {
  f16: 2,
  bf16: 2,
  f32: 4,
  b32: 4,
  u32: 4,
  s32: 4,
  u64: 8,
  b16: 2,
  u8: 1,
};

/** How the bulk-copy engine exchanges the 16-byte chunks of a box in shared memory: the bytes of a row that a pattern spans; 0 for not at all. */
export type Swizzle = 0 | 32 | 64 | 128;

/**
 * A matrix in global memory, by rows, that bulk copies read a box at a time (a tensor map, PTX ISA 5.5). What lies outside of it is read as 0.
 * Made by `tensor` (kernel.ts).
 */
export interface TensorType<E extends ElemType = ElemType> {
  readonly elem: E;
  readonly box: readonly [rows: number, columns: number];
  readonly swizzle: Swizzle;
}

/** What a parameter is declared as: a number, a pointer to elements ('f16*'), or a matrix to copy boxes of. */
export type ParamType = 'u32' | 's32' | 'f32' | `${ElemType}*` | TensorType;
export type ParamSpec = Readonly<Record<string, ParamType>>;

/** Architectures, by what they can: each needs at least what stands before it, except that an 'a' target runs on its own chip only. */
export type Target = 'sm_80' | 'sm_86' | 'sm_89' | 'sm_90' | 'sm_90a' | 'sm_120';

export interface Program<S extends ParamSpec = ParamSpec> {
  readonly name: string;
  readonly params: S;
  /** Threads of a CTA. */
  readonly threads: number;
  /** CTAs of a cluster; 1 without. */
  readonly cluster: number;
  /** Dynamic shared memory a launch must bring. */
  readonly sharedBytes: number;
  /** How many mbarriers are in it. */
  readonly mbarriers: number;
  /** The least architecture that has all its instructions. */
  readonly target: Target;
  readonly regs: readonly Reg[];
  readonly body: Block;
}

/** All instructions of a block, inner blocks included, in order. */
export function* instructions(block: Block): Generator<Instr> {
  for (const stmt of block) {
    switch (stmt.kind) {
      case 'instr':
        yield stmt;
        break;
      case 'if':
        yield* instructions(stmt.body);
        if (stmt.otherwise !== null) yield* instructions(stmt.otherwise);
        break;
      case 'loop':
        yield* instructions(stmt.body);
        break;
      case 'while':
        yield* instructions(stmt.test);
        yield* instructions(stmt.body);
        break;
    }
  }
}
