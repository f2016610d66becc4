// Appends instructions to structured blocks while a kernel function runs: registers, scopes, constants, the author's lines.
// Knows operands and operations, not the values that a kernel is written in (values.ts).
import { MarlinError } from '../base/errors.ts';
import { movB16, movB32, movB64, movF32 } from './isa/lane.ts';
import { classOf, type Op } from './op.ts';
import {
  type Immediate,
  isReg,
  type Operand,
  type Reg,
  type RegClass,
  type Stmt,
  type Target,
  type Where,
} from './program.ts';
import { here } from './where.ts';

/** A mistake in a kernel, found while it is built, with the author's line. */
export class KernelError extends MarlinError {
  readonly where: Where;

  constructor(code: string, message: string, fix: string, where: Where) {
    super(code, `${message} (${where.file}:${where.line})`, fix);
    this.where = where;
  }
}

/** Chips in the order of what they can; an 'a' chip's own instructions run nowhere else. */
const order: readonly Target[] = ['sm_80', 'sm_86', 'sm_89', 'sm_90', 'sm_90a', 'sm_120'];

/** Whether a program for `target` may hold an instruction that needs `needs`. */
export function has(target: Target, needs: Target): boolean {
  if (needs.endsWith('a')) return target === needs;
  return order.indexOf(target) >= order.indexOf(needs);
}

const numbers = new WeakMap<Op, number>();
let operations = 0;

/** Tells operations apart, also those of one spelling. An operation that is made anew each time is never the same. */
function numberOf(op: Op): number {
  const known = numbers.get(op);
  if (known !== undefined) return known;
  numbers.set(op, ++operations);
  return operations;
}

interface Scope {
  readonly parent: Scope | null;
  readonly stmts: Stmt[];
}

export class Builder {
  readonly target: Target;
  readonly regs: Reg[] = [];
  readonly body: Stmt[] = [];
  sharedBytes = 0;
  /** mbarriers in shared memory. */
  mbarriers = 0;
  private scope: Scope = { parent: null, stmts: this.body };
  private readonly root: Scope = this.scope;
  private readonly scopes = new Map<Reg, Scope>();
  /** Registers of k.var. */
  private readonly mutable = new Set<Reg>();
  private readonly constants = new Map<string, Reg>();
  /** Values already computed in a scope, by operation and operands: the same pure operation is emitted once. */
  private readonly known = new WeakMap<Scope, Map<string, Reg>>();

  constructor(target: Target) {
    this.target = target;
  }

  reg(cls: RegClass, scope: Scope = this.scope): Reg {
    const reg: Reg = { id: this.regs.length, cls };
    this.regs.push(reg);
    this.scopes.set(reg, scope);
    return reg;
  }

  /** A register that may be set again. */
  variable(cls: RegClass): Reg {
    const reg = this.reg(cls);
    this.mutable.add(reg);
    return reg;
  }

  /** Appends an instruction whose results go to `dst`. */
  emit(op: Op, dst: readonly Reg[], src: readonly Operand[]): void {
    const where = here();
    if (!has(this.target, op.needs)) {
      throw new KernelError(
        'instruction-unavailable',
        `${op.name} needs ${op.needs}, and this kernel is built for ${this.target}.`,
        `Give kernel({ target: '${op.needs}' }), or use another instruction.`,
        where,
      );
    }
    const operands = src.map((operand, i) =>
      isReg(operand) || !op.registersOnly.includes(i) ? operand : this.constant(operand, classOf[op.src[i]!]),
    );
    for (const operand of operands) if (isReg(operand)) this.checkScope(operand, where);
    this.scope.stmts.push({ kind: 'instr', op, dst, src: operands, where });
  }

  /** The result of a pure operation; the same one again in an enclosing scope is not computed twice, unless it reads a register that `set` may change. */
  value(op: Op, src: readonly Operand[]): Reg {
    if (src.some((operand) => isReg(operand) && this.mutable.has(operand))) {
      const fresh = this.reg(classOf[op.dst[0]!]);
      this.emit(op, [fresh], src);
      return fresh;
    }
    // By the operation itself: taking either half of a word is one spelling.
    const key = `${numberOf(op)} ${src.map((operand) => (isReg(operand) ? `r${operand.id}` : String(operand.bits))).join(' ')}`;
    for (let scope: Scope | null = this.scope; scope !== null; scope = scope.parent) {
      const found = this.known.get(scope)?.get(key);
      if (found !== undefined) return found;
    }
    const reg = this.reg(classOf[op.dst[0]!]);
    this.emit(op, [reg], src);
    const values = this.known.get(this.scope) ?? new Map<string, Reg>();
    this.known.set(this.scope, values.set(key, reg));
    return reg;
  }

  /** A register that holds a constant, set once at the top of the kernel. */
  private constant(immediate: Immediate, cls: RegClass): Reg {
    const key = `${cls} ${immediate.bits}`;
    const found = this.constants.get(key);
    if (found !== undefined) return found;
    const reg = this.reg(cls, this.root);
    this.constants.set(key, reg);
    this.body.unshift({ kind: 'instr', op: moveFor(cls), dst: [reg], src: [immediate], where: here() });
    return reg;
  }

  /** Runs `fill` with a new inner block and returns what it emitted. */
  block(fill: () => void): Stmt[] {
    const inner: Scope = { parent: this.scope, stmts: [] };
    const outer = this.scope;
    this.scope = inner;
    try {
      fill();
    } finally {
      this.scope = outer;
    }
    return inner.stmts;
  }

  push(stmt: Stmt): void {
    this.scope.stmts.push(stmt);
  }

  private checkScope(reg: Reg, where: Where): void {
    const home = this.scopes.get(reg);
    for (let scope: Scope | null = this.scope; scope !== null; scope = scope.parent) if (scope === home) return;
    throw new KernelError(
      'value-out-of-scope',
      'A value made inside k.if or k.loop is used outside of it.',
      'Carry it out with k.var: declare it before the block, set it inside.',
      where,
    );
  }
}

function moveFor(cls: RegClass): Op {
  if (cls === 'f32') return movF32;
  if (cls === 'b16') return movB16;
  return cls === 'b64' ? movB64 : movB32;
}
