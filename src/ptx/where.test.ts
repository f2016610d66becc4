// The author's lines: functions without a name belong to the one around them, helpers are callers of their own.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { kernel } from './kernel.ts';
import { instructions, type Program, type Where } from './program.ts';
import type { K } from './trace.ts';
import type { Global } from './pointers.ts';
import type { U32 } from './values.ts';
import { repeat } from './where.fixture.ts';

const head = { name: 'k', threads: 32, params: { p: 'f32*', n: 'u32' } } as const;

function whereOf(program: Program, name: string): Where {
  return [...instructions(program.body)].find(({ op }) => op.name === name)!.where;
}

/** Name and line of each frame, innermost first. */
const chain = (where: Where): [string, number][] => [where, ...where.callers].map(({ name, line }) => [name, line]);

function store(k: K, p: Global<'f32'>, x: U32): void {
  k.if(x.lt(5), () => {
    for (const y of [x].map((z) => z.xor(9))) k.stF32(p, y.toF32());
  });
}

describe('the place of an instruction', () => {
  const program = kernel(head, (k, { p, n }) => {
    k.loop(0, n, 1, (i) => {
      k.if(i.lt(3), () => k.stF32(p, i.mul(7).toF32()));
      store(k, p, i);
    });
  });

  test('in blocks of the kernel is a line of the kernel, without callers', () => {
    const { file, callers, name, column } = whereOf(program, 'mul.lo.u32');
    assert.ok(file.endsWith('where.test.ts'));
    assert.deepEqual([callers.length, name], [0, '']);
    assert.ok(column > 1);
  });

  test('in a helper names it once, whatever blocks and array methods it uses, and the line that called it', () => {
    const frames = chain(whereOf(program, 'xor.b32'));
    assert.equal(frames.length, 2);
    const [xor, called] = frames;
    assert.equal(xor![0], 'store');
    assert.equal(called![0], '');
    assert.ok(called![1] > xor![1]);
  });

  test('in a block that a helper of another file runs keeps that helper', () => {
    const { name, callers, file } = whereOf(
      kernel(head, (k, { p, n }) => repeat(k, n, (i) => k.stF32(p, i.xor(9).toF32()))),
      'xor.b32',
    );
    assert.ok(file.endsWith('where.test.ts'));
    assert.deepEqual([name, ...callers.map((caller) => caller.name)], ['', 'repeat', '']);
    assert.ok(callers[0]!.file.endsWith('where.fixture.ts'));
  });
});
