// Program to JavaScript: one generator function that runs a warp. Lane instructions become loops over 32 lanes that V8 compiles;
// what a warp does together calls the instruction's own meaning.
import * as arithmetic from '../ptx/arithmetic.ts';
import { f32 as numberOf } from '../ptx/arithmetic.ts';
import { evaluate } from '../ptx/javascript.ts';
import { computedAs, type Kind } from '../ptx/op.ts';
import { type Block, type Instr, isReg, type Operand, type Program, type Reg, type Stmt } from '../ptx/program.ts';
import type { Warp } from './warp.ts';

export interface Compiled {
  /** Where a register's 32 lanes begin: among 32-bit words, or among doubles for 64-bit registers. */
  readonly slotOf: readonly number[];
  readonly slots: { readonly words: number; readonly doubles: number };
  /** Begins to run a warp; each `next` goes on until it must wait. */
  start(warp: Warp): Generator<void, void>;
  /** The JavaScript, for people. */
  readonly source: string;
}

export interface Counters {
  /** Instructions of a warp that were run. */
  instructions: number;
}

export function compile(program: Program, counters: Counters): Compiled {
  const slotOf: number[] = [];
  let [words, doubles] = [0, 0];
  for (const reg of program.regs) {
    slotOf[reg.id] = reg.cls === 'b64' ? doubles : words;
    if (reg.cls === 'b64') doubles += 32;
    else words += 32;
  }
  const instrs: Instr[] = [];
  const lines: string[] = [];
  const emit = (line: string): void => void lines.push(line);

  /** A register of a lane; an f32 as its pattern when `kind` says so. */
  const place = (reg: Reg, kind: Kind = 'f32'): string =>
    `${reg.cls === 'b64' ? 'D' : reg.cls === 'f32' && kind === 'f32' ? 'F' : 'I'}[${slotOf[reg.id]} + l]`;
  const value = (operand: Operand, kind: Kind): string => {
    if (isReg(operand)) return place(operand, kind);
    const bits = Number(operand.bits);
    if (kind !== 'f32') return kind === 'global' || kind === 'u64' ? String(bits) : String(bits | 0);
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
        emit(`counters.instructions += ${run.length};`);
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
        const index = instrs.push(stmt) - 1;
        emit('counters.instructions++; warp.active = mask;');
        emit(
          stmt.op.meaning.kind === 'wait'
            ? `yield* instrs[${index}].op.meaning.run(warp, instrs[${index}]);`
            : `instrs[${index}].op.meaning.run(warp, instrs[${index}]);`,
        );
        return;
      }
      case 'if':
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
        emit('mask = on; counters.instructions += 2;');
        lanes([`${place(stmt.index)} += ${stmt.step};`], true);
        emit('} mask = outer; }');
        return;
      case 'while':
        emit('{ const outer = mask; for (;;) {');
        block(stmt.test, true);
        maskWhere(place(stmt.condition), 'on');
        emit('if (on === 0) break; mask = on;');
        block(stmt.body, true);
        emit('mask = on; yield; } mask = outer; }');
        return;
    }
  };

  block(program.body, false);
  const source = `return function* (warp) {\nconst I = warp.integers, F = warp.floats, D = warp.doubles; let mask = -1;\n${lines.join('\n')}\n};`;
  const make = evaluate(['instrs', 'm', 'counters'], source, [instrs, arithmetic, counters]);
  if (!isStart(make)) throw new TypeError('the compiled program is no function');
  return { slotOf, slots: { words, doubles }, start: make, source };
}

function isLane(stmt: Stmt): stmt is Instr {
  return stmt.kind === 'instr' && stmt.op.meaning.kind === 'lane';
}

function isStart(value: unknown): value is (warp: Warp) => Generator<void, void> {
  return typeof value === 'function';
}
