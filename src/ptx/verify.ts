// What a well-formed program is: checked before it is printed, so that a mistake is told in the author's words and line, not in ptxas's.
// Knows structure and limits; what an instruction means is isa/'s.
import { has, KernelError } from './builder.ts';
import { classOf, type Kind } from './op.ts';
import {
  type Block,
  type Instr,
  instructions,
  isReg,
  type Operand,
  type Program,
  type Reg,
  type Stmt,
  type Target,
  type Where,
} from './program.ts';

/** Shared memory a CTA may have (CUDA programming guide, technical specifications per compute capability). */
export const sharedLimit: Readonly<Record<Target, number>> = {
  sm_80: 163 * 1024,
  sm_86: 99 * 1024,
  sm_89: 99 * 1024,
  sm_90: 227 * 1024,
  sm_90a: 227 * 1024,
  sm_120: 99 * 1024,
};
/** CTAs of a cluster: up to 8 on every chip that has clusters; 16 where the launch allows sizes that are not portable. */
const isClusterSize = (size: number): boolean => Number.isInteger(size) && ((size >= 1 && size <= 8) || size === 16);

/** Throws KernelError, with the author's line, unless `program` is well formed and `arch` can run it. */
export function verify(program: Program, arch: Target = program.target): void {
  verifyHead(program);
  const unfit = misfit(program, arch);
  if (unfit !== null) throw unfit;
  verifyRegisters(program);
}

/** Why `arch` cannot run the program; null when it can. */
export function fits(program: Program, arch: Target): string | null {
  return misfit(program, arch)?.message ?? null;
}

const NOWHERE: Where = { file: 'an empty program', line: 0, column: 0, name: '', callers: [] };

/** What concerns the whole program is told at its first instruction, which is made where kernel() is called. */
const headOf = (program: Program): Where => program.body[0]?.where ?? NOWHERE;

function misfit(program: Program, arch: Target): KernelError | null {
  const { cluster, sharedBytes } = program;
  for (const { op, where } of instructions(program.body)) {
    if (!has(arch, op.needs))
      return new KernelError(
        'instruction-unavailable',
        `${op.name} needs ${op.needs}, and the program is for ${arch}.`,
        `Use another instruction, or build a program of its own for ${arch}.`,
        where,
      );
  }
  const limit = sharedLimit[arch];
  if (sharedBytes > limit)
    return new KernelError(
      'shared-memory-exceeded',
      `${program.name} has ${sharedBytes} bytes of shared memory; a CTA of ${arch} has at most ${limit}.`,
      'Use fewer stages or smaller tiles.',
      headOf(program),
    );
  if (cluster > 1 && !has(arch, 'sm_90'))
    return new KernelError(
      'cluster-unavailable',
      `${program.name} has clusters of ${cluster} CTAs, which need sm_90; the program is for ${arch}.`,
      'Build it with clusters of 1 for older chips.',
      headOf(program),
    );
  return null;
}

const NAME = /^[A-Za-z_]\w*$/;

function verifyHead(program: Program): void {
  const { name, params, threads, cluster } = program;
  const refuse = (code: string, message: string, fix: string): never => {
    throw new KernelError(code, message, fix, headOf(program));
  };
  for (const word of [name, ...Object.keys(params)])
    if (!NAME.test(word))
      refuse('name-invalid', `"${word}" is no name for a kernel or a parameter.`, 'Use letters, digits and _.');
  if (!Number.isInteger(threads / 32) || threads < 32 || threads > 1024)
    refuse('threads-invalid', `${name} has ${threads} threads.`, 'A CTA has a multiple of 32, at most 1024.');
  if (!isClusterSize(cluster))
    refuse('cluster-invalid', `${name} has clusters of ${cluster} CTAs.`, 'A cluster has 1 to 8 CTAs, or 16.');
}

/** Registers that are surely written at a place: those of the blocks around it, and those written in this one before. */
class Written {
  private readonly outer: Written | null;
  readonly own: Set<number> = new Set();

  constructor(outer: Written | null) {
    this.outer = outer;
  }
  has(reg: Reg): boolean {
    return this.own.has(reg.id) || (this.outer?.has(reg) ?? false);
  }
  add(ids: Iterable<number>): void {
    for (const id of ids) this.own.add(id);
  }
}

function verifyRegisters(program: Program): void {
  const declared = new Map<number, Reg>();
  for (const reg of program.regs) {
    if (declared.has(reg.id))
      throw new KernelError(
        'register-redeclared',
        `Register ${reg.id} is declared twice.`,
        'Take each register from the builder (Builder.reg).',
        headOf(program),
      );
    declared.set(reg.id, reg);
  }
  new Walk(declared).block(program.body, new Written(null));
}

/** One pass over the blocks in the order of execution. */
class Walk {
  private readonly declared: ReadonlyMap<number, Reg>;

  constructor(declared: ReadonlyMap<number, Reg>) {
    this.declared = declared;
  }

  block(stmts: Block, written: Written): void {
    for (const stmt of stmts) this.stmt(stmt, written);
  }

  private stmt(stmt: Stmt, written: Written): void {
    const { where } = stmt;
    switch (stmt.kind) {
      case 'instr':
        this.instr(stmt, written);
        break;
      case 'if': {
        this.read(stmt.condition, 'pred', 'the condition of an if', written, where);
        const [yes, no] = [new Written(written), new Written(written)];
        this.block(stmt.body, yes);
        if (stmt.otherwise !== null) this.block(stmt.otherwise, no);
        written.add(yes.own.intersection(no.own));
        break;
      }
      case 'loop':
        if (!Number.isInteger(stmt.step) || stmt.step < 1)
          throw new KernelError(
            'step-invalid',
            `A loop has steps of ${stmt.step}.`,
            'Steps are whole numbers from 1 on.',
            where,
          );
        this.read(stmt.from, 'u32', 'the start of a loop', written, where);
        this.write(stmt.index, 'u32', 'the index of a loop', written, where);
        this.read(stmt.to, 'u32', 'the end of a loop', written, where);
        // It may run not at all: what only the body writes is not written after it.
        this.block(stmt.body, new Written(written));
        break;
      case 'while':
        this.block(stmt.test, written);
        this.read(stmt.condition, 'pred', 'the condition of a while', written, where);
        this.block(stmt.body, new Written(written));
        break;
    }
  }

  private instr({ op, dst, src, where }: Instr, written: Written): void {
    if (dst.length !== op.dst.length || src.length !== op.src.length)
      throw new KernelError(
        'operand-count',
        `${op.name} has ${dst.length} results and ${src.length} operands instead of ${op.dst.length} and ${op.src.length}.`,
        'Give it what its entry in isa/ lists.',
        where,
      );
    for (const [i, operand] of src.entries()) {
      if (!isReg(operand) && op.registersOnly.includes(i))
        throw new KernelError(
          'immediate-refused',
          `Operand ${i} of ${op.name} is a constant, and the instruction takes a register there.`,
          'Emit it through the builder, which moves constants into registers.',
          where,
        );
      this.read(operand, op.src[i]!, `operand ${i} of ${op.name}`, written, where);
    }
    // After the sources: an accumulator is both, and must have been written before.
    for (const [i, reg] of dst.entries()) this.write(reg, op.dst[i]!, `result ${i} of ${op.name}`, written, where);
  }

  private read(operand: Operand, kind: Kind, what: string, written: Written, where: Where): void {
    if (!isReg(operand)) return;
    this.known(operand, kind, what, where);
    if (!written.has(operand))
      throw new KernelError(
        'register-unwritten',
        `Register ${operand.id}, ${what}, is read where not every path has written it.`,
        'Give it a first value before the branch or the loop.',
        where,
      );
  }

  private write(reg: Reg, kind: Kind, what: string, written: Written, where: Where): void {
    this.known(reg, kind, what, where);
    written.add([reg.id]);
  }

  private known(reg: Reg, kind: Kind, what: string, where: Where): void {
    const { cls } = this.declared.get(reg.id) ?? { cls: null };
    if (cls === null)
      throw new KernelError(
        'register-undeclared',
        `Register ${reg.id}, ${what}, is declared nowhere.`,
        'Take it from the builder of this program; a value of another kernel cannot be used here.',
        where,
      );
    if (cls !== reg.cls || cls !== classOf[kind])
      throw new KernelError(
        'operand-class',
        `Register ${reg.id} is ${cls}, and as ${what} it must be ${classOf[kind]}.`,
        'Convert the value, or give another one.',
        where,
      );
  }
}
