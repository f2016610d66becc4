// The product of a 16-bit layer on random sizes and with every ending, in every order of warps; sizes it cannot take are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../base/random.ts';
import { checkExample, freshSeed } from '../check-example.fixture.ts';
import { linearExample } from './linear-entry.ts';
import { streamedLinear, tiledLinear } from './linear.ts';

const OUTPUTS = ['f16', 'f32', 'add-f32'] as const;

test('any n that is even, any k that is a multiple of 8, few tokens and many', () => {
  const seed = freshSeed();
  const random = new Random(seed);
  for (let run = 0; run < 18; run++) {
    const kind = run % 2 === 0 ? 'tiled' : 'streamed';
    const size = {
      tokens: 1 + random.integer(kind === 'tiled' ? 150 : 8),
      n: 2 * (1 + random.integer(100)),
      k: 8 * (1 + random.integer(kind === 'tiled' ? 40 : 200)),
    };
    checkExample(linearExample(size, { output: OUTPUTS[run % 3]!, bias: random.integer(2) === 0 }, kind), seed + run);
  }
});

test('no findings in 20 orders of warps', () => {
  for (let seed = 0; seed < 20; seed++) {
    checkExample(linearExample({ tokens: 5, n: 6, k: 328 }, { output: 'add-f32', bias: true }, 'tiled'), seed);
    checkExample(linearExample({ tokens: 3, n: 10, k: 72 }, { output: 'f16', bias: true }, 'streamed'), seed);
  }
});

test('other sizes are refused', () => {
  const epilogue = { output: 'f16', bias: false } as const;
  for (const shape of [
    { n: 7, k: 64, epilogue },
    { n: 8, k: 60, epilogue },
  ]) {
    assert.throws(() => tiledLinear(shape), RangeError);
    assert.throws(() => streamedLinear(shape, 1), RangeError);
  }
});
