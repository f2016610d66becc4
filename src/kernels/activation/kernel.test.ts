// The gated activation on random shapes; widths it cannot take are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../base/random.ts';
import { checkExample, freshSeed } from '../check-example.fixture.ts';
import { activationExample } from './entry.ts';
import { siluMultiply } from './kernel.ts';

test('any width that is a multiple of 8', () => {
  const seed = freshSeed();
  const random = new Random(seed);
  for (let run = 0; run < 20; run++)
    checkExample(activationExample(1 + random.integer(4), 8 * (1 + random.integer(300))), seed + run);
});

test('another width is refused', () => {
  assert.throws(() => siluMultiply({ width: 12 }), RangeError);
});
