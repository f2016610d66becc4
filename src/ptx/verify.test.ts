// Well-formed programs pass; programs made by hand, each with one mistake, are refused for that mistake at its line.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KernelError } from './builder.ts';
import { everything } from './everything.fixture.ts';
import { addBf16x2, addF16x2, addU32, eqB32, movB32, movF32 } from './isa/lane.ts';
import { mma } from './isa/matrix.ts';
import { kernel } from './kernel.ts';
import { rows } from './layout.ts';
import type { Op } from './op.ts';
import { print } from './print.ts';
import type { Block, Operand, Program, Reg, RegClass, Stmt, Target, Where } from './program.ts';
import { fits, sharedLimit, verify } from './verify.ts';

const at = (line: number): Where => ({ file: 'bad.ts', line, column: 1, name: '', callers: [] });
const reg = (id: number, cls: RegClass = 'b32'): Reg => ({ id, cls });
const instr = (op: Op, dst: readonly Reg[], src: readonly Operand[], line = 1): Stmt => ({
  kind: 'instr',
  op,
  dst,
  src,
  where: at(line),
});
const set = (target: Reg, line = 1): Stmt => instr(movB32, [target], [{ bits: 7 }], line);
const use = (source: Reg, line = 9): Stmt => instr(movB32, [reg(5)], [source], line);
const p = reg(0, 'pred');
const condition = instr(eqB32, [p], [{ bits: 1 }, { bits: 2 }]);
const branch = (body: Block, otherwise: Block | null): Stmt => ({
  kind: 'if',
  condition: p,
  body,
  otherwise,
  where: at(2),
});
const loop = (body: Block, step = 1): Stmt => ({
  kind: 'loop',
  index: reg(1),
  from: { bits: 0 },
  to: { bits: 4 },
  step,
  body,
  where: at(3),
});

function program(body: Block, changes: Partial<Program> = {}): Program {
  return {
    name: 'bad',
    params: {},
    threads: 32,
    cluster: 1,
    sharedBytes: 0,
    mbarriers: 0,
    target: 'sm_80',
    regs: [p, reg(1), reg(2), reg(3), reg(4), reg(5), reg(6, 'f32')],
    body,
    ...changes,
  };
}

const refused = (bad: Program, code: string, line: number, arch?: Target): void =>
  assert.throws(
    () => verify(bad, arch),
    (error: unknown) =>
      error instanceof KernelError && error.code === code && error.where.line === line && error.fix !== '',
    `${code} at line ${line}`,
  );

describe('what passes', () => {
  test('programs of the builder, with branches, loops and constants', () => {
    verify(everything);
    verify(everything, 'sm_120');
  });

  test('a register that both branches write, or that is written before them', () => {
    verify(program([condition, branch([set(reg(2))], [set(reg(2))]), use(reg(2))]));
    verify(program([condition, set(reg(2)), branch([set(reg(2))], null), use(reg(2))]));
  });

  test('the index of a loop in and after it, and what the test of a while writes', () => {
    verify(program([loop([use(reg(1))]), use(reg(1))]));
    verify(
      program([
        { kind: 'while', test: [condition, set(reg(2))], condition: p, body: [use(reg(2))], where: at(1) },
        use(reg(2)),
      ]),
    );
  });

  test('an accumulator that is operand and result', () => {
    const [a, acc] = [reg(2), reg(6, 'f32')];
    const sum = instr(mma('f16'), [acc, acc, acc, acc], [a, a, a, a, a, a, acc, acc, acc, acc], 4);
    const zero = instr(movF32, [acc], [{ bits: 0 }]);
    verify(program([set(a), zero, loop([sum])]));
    refused(program([set(a), loop([sum])]), 'register-unwritten', 4);
  });
});

describe('registers', () => {
  test('declared once', () =>
    refused(program([set(reg(2))], { regs: [reg(2), reg(2, 'f32')] }), 'register-redeclared', 1));
  test('declared at all', () => refused(program([set(reg(2)), set(reg(17), 2)]), 'register-undeclared', 2));
  test('written before they are read', () => refused(program([use(reg(2))]), 'register-unwritten', 9));
  test('written on every path: one branch only', () => {
    refused(program([condition, branch([set(reg(2))], null), use(reg(2))]), 'register-unwritten', 9);
    refused(program([condition, branch([set(reg(2))], [set(reg(3))]), use(reg(2))]), 'register-unwritten', 9);
  });
  test('written on every path: a body that may run not at all', () => {
    refused(program([loop([set(reg(2))]), use(reg(2))]), 'register-unwritten', 9);
    const test: Block = [condition];
    const stmt: Stmt = { kind: 'while', test, condition: p, body: [set(reg(2))], where: at(1) };
    refused(program([stmt, use(reg(2))]), 'register-unwritten', 9);
  });
  test('written on every path: a later turn of a loop does not help the first', () => {
    refused(program([loop([use(reg(2)), set(reg(2))])]), 'register-unwritten', 9);
  });
  test('conditions too', () => {
    refused(program([branch([], null)]), 'register-unwritten', 2);
  });
});

test('a program of the builder without any one of the instructions that give a value is refused', () => {
  const givers = [...everything.body.entries()].filter(([, stmt]) => stmt.kind === 'instr' && stmt.dst.length > 0);
  assert.ok(givers.length > 20);
  for (const [i, giver] of givers) {
    const body = everything.body.filter((stmt) => stmt !== giver);
    assert.throws(() => verify({ ...everything, body }), { code: 'register-unwritten' }, `without statement ${i}`);
  }
});

describe('operands', () => {
  test('as many as the instruction has', () => {
    refused(program([instr(addU32, [reg(2)], [{ bits: 1 }], 3)]), 'operand-count', 3);
    refused(program([instr(addU32, [], [{ bits: 1 }, { bits: 1 }], 3)]), 'operand-count', 3);
  });
  test('of its register classes', () => {
    refused(program([instr(movB32, [reg(6, 'f32')], [{ bits: 1 }], 3)]), 'operand-class', 3);
    refused(program([set(reg(2)), instr(movF32, [reg(6, 'f32')], [reg(2)], 3)]), 'operand-class', 3);
    // Declared as another class than it is used with.
    refused(program([set(reg(6))]), 'operand-class', 1);
  });
  test('constants only where it takes them', () => {
    refused(program([set(reg(2)), instr(addF16x2, [reg(3)], [reg(2), { bits: 0 }], 3)]), 'immediate-refused', 3);
  });
});

describe('limits', () => {
  test('instructions of the chip', () => {
    const bad = program([set(reg(2)), instr(addBf16x2, [reg(3)], [reg(2), reg(2)], 3)]);
    refused(bad, 'instruction-unavailable', 3);
    verify(bad, 'sm_90');
    assert.match(fits(bad, 'sm_86')!, /add\.rn\.bf16x2 needs sm_90/);
    assert.equal(fits(bad, 'sm_90a'), null);
  });

  test('threads of a CTA', () => {
    for (const threads of [0, 31, 48, 1056, Number.NaN])
      refused(program([set(reg(2))], { threads }), 'threads-invalid', 1);
  });

  test('shared memory of a CTA: the message names the limit, and print asks', () => {
    const big = kernel({ name: 'big', threads: 32, params: { x: 'f32*' } }, (k, { x }) => {
      const tile = k.shared(rows('f32', [128, 256]));
      const [word] = k.ldGlobal(x.at(k.lane), 1);
      k.stShared(tile.at(k.lane), [word!]);
    });
    assert.equal(big.sharedBytes, 128 * 1024);
    verify(big);
    assert.match(print(big), /\.target sm_80/);
    for (const arch of ['sm_86', 'sm_89', 'sm_120'] as const) {
      assert.match(fits(big, arch)!, /131072 bytes of shared memory; a CTA of \w+ has at most 101376/);
      assert.throws(() => print(big, { arch }), { code: 'shared-memory-exceeded' });
    }
    for (const arch of ['sm_80', 'sm_86', 'sm_89', 'sm_90', 'sm_90a', 'sm_120'] as const) {
      assert.equal(fits(program([], { sharedBytes: sharedLimit[arch] }), arch), null);
      assert.notEqual(fits(program([], { sharedBytes: sharedLimit[arch] + 1 }), arch), null);
    }
  });

  test('clusters', () => {
    for (const cluster of [0, 9, 17, 1.5]) refused(program([set(reg(2))], { cluster }), 'cluster-invalid', 1, 'sm_90');
    for (const cluster of [1, 8, 16]) verify(program([], { cluster }), 'sm_90a');
    refused(program([set(reg(2))], { cluster: 2 }), 'cluster-unavailable', 1);
  });

  test('names', () => {
    refused(program([set(reg(2))], { name: 'a-b' }), 'name-invalid', 1);
    refused(program([set(reg(2))], { params: { 'a b': 'u32' } }), 'name-invalid', 1);
  });

  test('steps of loops', () => {
    for (const step of [0, -1, 0.5]) refused(program([loop([], step)]), 'step-invalid', 3);
  });
});
