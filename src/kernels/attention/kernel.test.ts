// Attention on random shapes and positions, one query and many, in every order of warps; what it cannot take is refused.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../../base/random.ts';
import { checkExample, freshSeed } from '../check-example.fixture.ts';
import { decodeAttention, decodeSplits } from './decode.ts';
import { decodeExample, prefillExample } from './entry.ts';
import { prefillAttention } from './prefill.ts';
import type { AttentionShape } from './reference.ts';

function randomShape(random: Random, context: number): AttentionShape {
  const kvHeads = 1 + random.integer(3);
  const headDim = [32, 64, 96, 128][random.integer(4)]!;
  return { heads: kvHeads * (1 + random.integer(5)), kvHeads, headDim, context };
}

describe('one query', () => {
  test('at any position, however many CTAs share the context', () => {
    const seed = freshSeed();
    const random = new Random(seed);
    for (let run = 0; run < 12; run++) {
      const context = 1 + random.integer(200);
      const shape = { ...randomShape(random, context), splits: 1 + random.integer(4) };
      const position = random.integer(context);
      checkExample(decodeExample(shape, position), seed + run);
    }
  });

  test('no findings in 20 orders of warps', () => {
    for (let seed = 0; seed < 20; seed++)
      checkExample(decodeExample({ heads: 2, kvHeads: 1, headDim: 32, context: 200, splits: 2 }, 140), seed);
  });

  test('as many CTAs as keep a GPU at work, or the context needs', () => {
    const llama = { heads: 32, kvHeads: 8, headDim: 128 };
    assert.equal(decodeSplits({ ...llama, context: 8192 }, 132), 33);
    assert.equal(decodeSplits({ ...llama, context: 100 }, 132), 4);
    assert.equal(decodeSplits({ ...llama, kvHeads: 32, context: 8192 }, 16), 1);
  });
});

describe('many queries', () => {
  test('at any position', () => {
    const seed = freshSeed();
    const random = new Random(seed);
    for (let run = 0; run < 10; run++) {
      const [position, tokens] = [random.integer(80), 1 + random.integer(100)];
      const shape = randomShape(random, position + tokens + random.integer(9));
      checkExample(
        prefillExample({ ...shape, heads: shape.kvHeads * (1 + random.integer(2)) }, position, tokens),
        seed + run,
      );
    }
  });

  test('no findings in 20 orders of warps', () => {
    for (let seed = 0; seed < 20; seed++)
      checkExample(prefillExample({ heads: 1, kvHeads: 1, headDim: 32, context: 150 }, 66, 70), seed);
  });
});

test('other heads are refused', () => {
  const shape = { heads: 3, kvHeads: 2, headDim: 64, context: 8 };
  assert.throws(() => prefillAttention(shape), RangeError);
  assert.throws(() => decodeAttention({ ...shape, splits: 1 }), RangeError);
  assert.throws(() => prefillAttention({ ...shape, heads: 2, headDim: 40 }), RangeError);
});
