// The compiled meaning of every lane instruction is the one that constants are folded with.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../base/random.ts';
import * as m from '../ptx/arithmetic.ts';
import { computedAs, type Kind, type Op } from '../ptx/op.ts';
import { evaluate } from '../ptx/javascript.ts';
import { laneArgs, laneOps, laneProgram } from './lane-programs.fixture.ts';
import { simulate } from './simulate.ts';

const COUNT = 512;

describe('lane instructions', () => {
  for (const [index, op] of laneOps.entries()) {
    test(op.name, () => {
      const args = laneArgs(op, COUNT, new Random(index));
      const [out, high] = [new Uint32Array(COUNT).fill(0xdeadbeef), new Uint32Array(COUNT)];
      const { findings } = simulate(laneProgram(op, 'lane'), { grid: [COUNT / 256], args: { ...args, out, high } });
      assert.deepEqual(findings, []);
      assert.ok(op.meaning.kind === 'lane');
      const meaning = evaluate(['m'], `return (a, b, c, d) => ${op.meaning.expression};`, [m]);
      assert.ok(typeof meaning === 'function');
      for (let i = 0; i < COUNT; i++) {
        const words = [args.a, args.b, args.c, args.d].map((input) => input[i]!).values();
        const operands = op.src.map((kind, j) => operandOf(op, kind, j, () => words.next().value ?? 0));
        const value: unknown = meaning(...operands);
        const got = op.dst[0] === 'u64' ? (BigInt(high[i]!) << 32n) | BigInt(out[i]!) : out[i]!;
        const text = `${op.name}(${operands.join(', ')})`;
        const want = typeof value === 'bigint' ? BigInt.asUintN(64, value) : resultOf(op, Number(value));
        if (Number.isNaN(want)) assert.ok(Number.isNaN(m.f32(out[i]!)), text);
        else assert.equal(got, want, text);
      }
    });
  }
});

/** An operand as the meaning takes it, out of the next words. */
function operandOf(op: Op, kind: Kind, index: number, next: () => number): number | bigint {
  const bits = next();
  if (kind === 'u64') return (BigInt(next()) << 32n) | BigInt(bits);
  if (op.name === 'lop3.b32' && index === 3) return 0x6a;
  if (computedAs(op, kind) === 'f32') return m.f32(bits);
  return kind === 'pred' ? bits & 1 : kind === 'b16' ? bits & 0xffff : bits | 0;
}

/** The word that a result is stored as; NaN for any NaN. */
function resultOf(op: Op, value: number): number {
  const kind = op.dst[0]!;
  if (computedAs(op, kind) === 'f32') return Number.isNaN(value) ? value : m.f32Bits(value) >>> 0;
  return (kind === 'b16' ? (value & 0xffff) | (value << 16) : value | 0) >>> 0;
}
