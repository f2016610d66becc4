// The compiled meaning of every lane instruction is the one that constants are folded with.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../base/random.ts';
import * as m from '../ptx/arithmetic.ts';
import { computedAs } from '../ptx/op.ts';
import { evaluate } from '../ptx/javascript.ts';
import { laneInputs, laneOps, laneProgram } from './lane-programs.fixture.ts';
import { simulate } from './simulate.ts';

const COUNT = 512;

describe('lane instructions', () => {
  for (const [index, op] of laneOps.entries()) {
    test(op.name, () => {
      const random = new Random(index);
      const inputs = op.src.map((kind) => laneInputs(kind, COUNT, random));
      const spare = new Uint32Array(COUNT);
      const out = new Uint32Array(COUNT).fill(0xdeadbeef);
      const [a = spare, b = spare, c = spare, d = spare] = inputs;
      const { findings } = simulate(laneProgram(op, 'lane'), { grid: [COUNT / 256], args: { a, b, c, d, out } });
      assert.deepEqual(findings, []);
      assert.ok(op.meaning.kind === 'lane');
      const meaning = evaluate(['m'], `return (a, b, c, d) => ${op.meaning.expression};`, [m]);
      assert.ok(typeof meaning === 'function');
      for (let i = 0; i < COUNT; i++) {
        const operands = op.src.map((kind, j) => {
          const bits = inputs[j]![i]!;
          if (op.name === 'lop3.b32' && j === 3) return 0x6a;
          if (computedAs(op, kind) === 'f32') return m.f32(bits);
          return kind === 'pred' ? bits & 1 : kind === 'b16' ? bits & 0xffff : bits | 0;
        });
        const value: number = Number(meaning(...operands));
        const kind = op.dst[0]!;
        const raw = computedAs(op, kind) !== kind;
        const want: number =
          kind === 'f32' && !raw
            ? m.f32Bits(value) >>> 0
            : kind === 'b16'
              ? ((value & 0xffff) | (value << 16)) >>> 0
              : (value | 0) >>> 0;
        if (kind === 'f32' && !raw && Number.isNaN(value)) assert.ok(Number.isNaN(m.f32(out[i]!)));
        else assert.equal(out[i], want, `${op.name}(${operands.join(', ')})`);
      }
    });
  }
});
