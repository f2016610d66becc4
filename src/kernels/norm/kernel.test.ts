// RMS norm on random shapes, in every order of warps; widths it cannot take are refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../base/random.ts';
import { checkExample, freshSeed } from '../check-example.fixture.ts';
import { normExample } from './entry.ts';
import { rmsNorm } from './kernel.ts';

test('any width that is a multiple of 4', () => {
  const seed = freshSeed();
  const random = new Random(seed);
  for (let run = 0; run < 10; run++) {
    const [rows, width] = [1 + random.integer(4), 4 * (1 + random.integer(700))];
    checkExample(normExample(rows, width), seed + run);
  }
  checkExample(normExample(1, 16_384), seed);
});

test('no findings in 20 orders of warps', () => {
  for (let seed = 0; seed < 20; seed++) checkExample(normExample(2, 1028), seed);
});

test('another width is refused', () => {
  assert.throws(() => rmsNorm({ width: 66 }), RangeError);
});
