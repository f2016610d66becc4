// Program to JavaScript: one generator function that runs a warp. Lane instructions become loops over 32 lanes that V8 compiles;
// what a warp does together calls the instruction's own meaning.
import * as arithmetic from '../ptx/arithmetic.ts';
import { f32 as numberOf } from '../ptx/arithmetic.ts';
import { evaluate } from '../ptx/javascript.ts';
import { computedAs, type Kind } from '../ptx/op.ts';
import {
  type Block,
  type Instr,
  instructions,
  isReg,
  type Operand,
  type Program,
  type Reg,
  type Stmt,
  type While,
} from '../ptx/program.ts';
import type { Counters } from './counters.ts';
import type { Warp } from './warp.ts';

export interface Compiled {
  /** Forgets what was counted. */
  reset(): void;
  /** Instructions of a warp that were run since, and by spelling. */
  tally(): Pick<Counters, 'instructions' | 'byKind'>;
  /** Where a register's 32 lanes begin: among 32-bit words, or among doubles for 64-bit registers. */
  readonly slotOf: readonly number[];
  readonly slots: { readonly words: number; readonly doubles: number };
  /** Whether products hold registers. */
  readonly holds: boolean;
  /** Begins to run a warp; each `next` goes on until it must wait. */
  start(warp: Warp): Generator<void, void>;
  /** The JavaScript, for people. */
  readonly source: string;
}

const known = new WeakMap<Program, Compiled>();

/** The program as JavaScript, made once. */
export function compiled(program: Program): Compiled {
  const before = known.get(program);
  if (before !== undefined) return before;
  const fresh = compile(program);
  known.set(program, fresh);
  return fresh;
}

/** Registers that products hold while they are under way: what else uses them is checked. */
function heldRegisters(program: Program): ReadonlySet<number> {
  const held = new Set<number>();
  for (const { op, dst, src } of instructions(program.body)) {
    if (op.inFlight === undefined) continue;
    for (const reg of [...dst, ...op.inFlight.map((i) => src[i]!)]) if (isReg(reg)) held.add(reg.id);
  }
  return held;
}

/** Whether going round the loop may change what another warp sees, or see what another changed: then others must have their turn. */
function meetsOthers(stmt: While): boolean {
  return [...instructions(stmt.test), ...instructions(stmt.body)].some(({ op }) => op.meaning.kind !== 'lane');
}

function compile(program: Program): Compiled {
  const slotOf: number[] = [];
  let [words, doubles] = [0, 0];
  for (const reg of program.regs) {
    slotOf[reg.id] = reg.cls === 'b64' ? doubles : words;
    if (reg.cls === 'b64') doubles += 32;
    else words += 32;
  }
  const instrs: Instr[] = [];
  const loops: While[] = [];
  const held = heldRegisters(program);
  /** What each counter stands for: spellings of the instructions that one pass runs. */
  const runs: string[][] = [];
  const lines: string[] = [];
  const emit = (line: string): void => void lines.push(line);

  const count = (names: string[]): void => emit(`R[${runs.push(names) - 1}]++;`);
  const number = (instr: Instr): number => instrs.push(instr) - 1;

  /** Before an instruction that is no product: the registers it shares with one must be free, and are no longer fenced, read or written (PTX ISA, wgmma.fence). */
  const guard = (instr: Instr): void => {
    if (instr.op.inFlight !== undefined) return;
    const used = [...instr.src.filter(isReg), ...instr.dst].filter(({ id }) => held.has(id));
    if (used.length === 0) return;
    emit(`if (${used.map(({ id }) => `H[${id}] !== 0`).join(' || ')}) warp.usesHeld(instr${number(instr)});`);
    for (const { id } of used) emit(`T[${id}] = 1;`);
  };

  /** A register of a lane; an f32 as its pattern when `kind` says so. */
  const place = (reg: Reg, kind: Kind = 'f32'): string => {
    const wide = kind === 'u64' ? 'Q' : 'D';
    return `${reg.cls === 'b64' ? wide : reg.cls === 'f32' && kind === 'f32' ? 'F' : 'I'}[${slotOf[reg.id]} + l]`;
  };
  const value = (operand: Operand, kind: Kind): string => {
    if (isReg(operand)) return place(operand, kind);
    if (kind === 'u64') return `${operand.bits}n`;
    const bits = Number(operand.bits);
    if (kind !== 'f32') return kind === 'global' ? String(bits) : String(bits | 0);
    const x = numberOf(bits);
    return Object.is(x, -0) ? '-0' : String(x);
  };

  /** One statement a lane; operands are bound to a, b, c, d unless the expression can take them as they are. */
  const laneStatement = ({ op, dst, src }: Instr): string => {
    if (op.meaning.kind !== 'lane') throw new TypeError(`${op.name} is no lane instruction`);
    const names = ['a', 'b', 'c', 'd'];
    const text = op.meaning.expression.replace(
      /(?<![\w.])[abcd](?!\w)/g,
      (name) => `(${value(src[names.indexOf(name)]!, computedAs(op, op.src[names.indexOf(name)]!))})`,
    );
    return `${place(dst[0]!, computedAs(op, op.dst[0]!))} = ${text};`;
  };

  const lanes = (statements: readonly string[], nested: boolean): void => {
    const body = statements.join(' ');
    const all = `for (let l = 0; l < 32; l++) { ${body} }`;
    if (!nested) emit(all);
    else emit(`if (mask === -1) ${all} else for (let l = 0; l < 32; l++) if ((mask >>> l) & 1) { ${body} }`);
  };

  const block = (stmts: Block, nested: boolean): void => {
    for (let i = 0; i < stmts.length;) {
      const run: Instr[] = [];
      for (let stmt = stmts[i]; stmt !== undefined && isLane(stmt); stmt = stmts[i]) {
        run.push(stmt);
        i++;
      }
      if (run.length > 0) {
        count(run.map(({ op }) => op.name));
        run.forEach(guard);
        lanes(run.map(laneStatement), nested);
      } else statement(stmts[i++]!, nested);
    }
  };

  /** The lanes of `mask` in which an expression over l holds, as a new mask. */
  const maskWhere = (expression: string, target: string): void =>
    emit(
      `let ${target} = 0; for (let l = 0; l < 32; l++) if (((mask >>> l) & 1) && (${expression})) ${target} |= 1 << l;`,
    );

  const statement = (stmt: Stmt, nested: boolean): void => {
    switch (stmt.kind) {
      case 'instr': {
        const index = number(stmt);
        count([stmt.op.name]);
        guard(stmt);
        emit('warp.active = mask;');
        emit(`${stmt.op.meaning.kind === 'wait' ? 'yield* ' : ''}run${index}(warp, instr${index});`);
        return;
      }
      case 'if':
        count(['bra']);
        emit('{ const outer = mask;');
        maskWhere(place(stmt.condition), 'taken');
        emit('if (taken !== 0) { mask = taken;');
        block(stmt.body, true);
        emit('}');
        if (stmt.otherwise !== null) {
          emit('const rest = outer & ~taken; if (rest !== 0) { mask = rest;');
          block(stmt.otherwise, true);
          emit('}');
        }
        emit('mask = outer; }');
        return;
      case 'loop':
        emit('{ const outer = mask;');
        lanes([`${place(stmt.index)} = ${value(stmt.from, 'u32')};`], nested);
        emit('for (;;) {');
        maskWhere(`(${place(stmt.index)} >>> 0) < (${value(stmt.to, 'u32')} >>> 0)`, 'on');
        emit('if (on === 0) break; mask = on;');
        block(stmt.body, true);
        emit('mask = on;');
        count(['add.u32', 'setp.lt.u32', 'bra']);
        lanes([`${place(stmt.index)} += ${stmt.step};`], true);
        emit('} mask = outer; }');
        return;
      case 'while':
        emit('{ const outer = mask; for (;;) {');
        block(stmt.test, true);
        maskWhere(place(stmt.condition), 'on');
        emit('if (on === 0) break; mask = on;');
        block(stmt.body, true);
        count(['bra']);
        emit('mask = on;');
        if (meetsOthers(stmt)) emit(`warp.goRound(loops[${loops.push(stmt) - 1}].where); yield;`);
        emit('} mask = outer; }');
        return;
    }
  };

  block(program.body, false);
  const views =
    'const I = warp.integers, F = warp.floats, D = warp.doubles, Q = warp.longs, H = warp.held, T = warp.touched;';
  // Names of their own, so that each call site sees one function and one instruction.
  const named = instrs.map((_, i) => `const instr${i} = instrs[${i}], run${i} = instr${i}.op.meaning.run;`);
  const source = `${named.join('\n')}\nreturn function* (warp) {\n${views} let mask = -1;\n${lines.join('\n')}\n};`;
  const passes = new Float64Array(runs.length);
  const make = evaluate(['instrs', 'loops', 'm', 'R'], source, [instrs, loops, arithmetic, passes]);
  if (!isStart(make)) throw new TypeError('the compiled program is no function');
  return {
    slotOf,
    slots: { words, doubles },
    holds: held.size > 0,
    start: make,
    source,
    reset: () => void passes.fill(0),
    tally: () => tally(runs, passes),
  };
}

function tally(runs: readonly (readonly string[])[], passes: Float64Array): ReturnType<Compiled['tally']> {
  const byKind: Record<string, number> = {};
  let total = 0;
  for (const [i, names] of runs.entries()) {
    if (passes[i] === 0) continue;
    total += passes[i]! * names.length;
    for (const name of names) byKind[name] = (byKind[name] ?? 0) + passes[i]!;
  }
  return { instructions: total, byKind };
}

function isLane(stmt: Stmt): stmt is Instr {
  return stmt.kind === 'instr' && stmt.op.meaning.kind === 'lane';
}

function isStart(value: unknown): value is (warp: Warp) => Generator<void, void> {
  return typeof value === 'function';
}
