// The look-up on random shapes; widths it cannot take are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../base/random.ts';
import { checkExample, freshSeed } from '../check-example.fixture.ts';
import { embedExample } from './entry.ts';
import { embed } from './kernel.ts';

test('any width that is a multiple of 8, both types', () => {
  const seed = freshSeed();
  const random = new Random(seed);
  for (let run = 0; run < 20; run++) {
    const [tokens, width] = [1 + random.integer(5), 8 * (1 + random.integer(300))];
    checkExample(embedExample(tokens, width, run % 2 === 0 ? 'f16' : 'bf16'), seed + run);
  }
});

test('another width is refused', () => {
  assert.throws(() => embed({ width: 12, type: 'f16' }), RangeError);
});
