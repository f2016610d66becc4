// Sums of x^T x on random shapes, in every order of warps; widths it cannot take are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../base/random.ts';
import { checkExample, freshSeed } from '../check-example.fixture.ts';
import { gramExample } from './entry.ts';
import { gram } from './kernel.ts';

test('any width that is a multiple of 8, any number of tokens', () => {
  const seed = freshSeed();
  const random = new Random(seed);
  for (let run = 0; run < 8; run++)
    checkExample(gramExample(1 + random.integer(90), 8 * (1 + random.integer(20))), seed + run);
});

test('no findings in 20 orders of warps', () => {
  for (let seed = 0; seed < 20; seed++) checkExample(gramExample(40, 80), seed);
});

test('another width is refused', () => {
  assert.throws(() => gram({ width: 20 }), RangeError);
});
