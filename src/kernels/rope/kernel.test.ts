// Rotation and storing on random shapes; head dimensions it cannot take are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../base/random.ts';
import { checkExample, freshSeed } from '../check-example.fixture.ts';
import { ropeExample } from './entry.ts';
import { ropeAndStore } from './kernel.ts';

test('any heads, head dimensions that are multiples of 16', () => {
  const seed = freshSeed();
  const random = new Random(seed);
  for (let run = 0; run < 20; run++) {
    const tokens = 1 + random.integer(4);
    const shape = {
      heads: 1 + random.integer(9),
      kvHeads: 1 + random.integer(4),
      headDim: 16 * (1 + random.integer(8)),
      context: tokens + random.integer(9),
    };
    checkExample(ropeExample(shape, tokens), seed + run);
  }
});

test('another head dimension is refused', () => {
  assert.throws(() => ropeAndStore({ heads: 1, kvHeads: 1, headDim: 40, context: 1 }), RangeError);
});
