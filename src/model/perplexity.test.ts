// Losses of a window from logits that are known, and the log-sum-exp at the ends of the float range.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { Random } from '../base/random.ts';
import { logSumExp, windowLosses } from './perplexity.ts';
import { scriptedSequence } from './scripted-sequence.fixture.ts';

describe('logSumExp', () => {
  const close = (actual: number, expected: number): boolean => Math.abs(actual - expected) < 1e-12 * Math.abs(expected);

  test('is the log of the sum of exponentials', () => {
    const values = fc.array(fc.integer({ min: -600, max: 600 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(values, (integers) => {
        const xs = Float32Array.from(integers);
        const expected = Math.log(xs.reduce((sum, x) => sum + Math.exp(x), 0));
        assert.ok(Math.abs(logSumExp(xs) - expected) <= 1e-12 * (1 + Math.abs(expected)));
      }),
    );
  });

  test('holds where the exponentials overflow or vanish', () => {
    assert.ok(close(logSumExp(Float32Array.of(1000, 1000)), 1000 + Math.log(2)));
    assert.ok(close(logSumExp(Float32Array.of(-1000, -1000, -1000, -1000)), -1000 + Math.log(4)));
    const largest = Math.fround(3.4e38);
    assert.equal(logSumExp(Float32Array.of(largest, -largest)), largest);
    assert.equal(logSumExp(Float32Array.of(-largest)), -largest);
    assert.equal(logSumExp(Float32Array.of(5, -Infinity)), 5);
    assert.equal(logSumExp(Float32Array.of(0, -200)), 0);
  });

  test('a logit that is no number shows', () => {
    assert.ok(Number.isNaN(logSumExp(Float32Array.of(1, NaN, 2))));
    assert.ok(Number.isNaN(logSumExp(Float32Array.of(NaN))));
    assert.ok(!Number.isFinite(logSumExp(Float32Array.of(1, Infinity))));
  });
});

describe('windowLosses', () => {
  const VOCAB = 7;

  test('are -log softmax of each next token, whatever the rows that come at once', () => {
    const window = Uint32Array.of(3, 0, 6, 6, 2, 5);
    const logits = new Random(1).fillNormal(new Float32Array(5 * VOCAB), 3);
    const expected = [0, 6, 6, 2, 5].map((target, i) => {
      const row = [...logits.subarray(i * VOCAB, (i + 1) * VOCAB)];
      return -Math.log(Math.exp(row[target]!) / row.reduce((sum, x) => sum + Math.exp(x), 0));
    });
    for (const rows of [1, 2, 3, 5, 128]) {
      const log: string[] = [];
      const losses = windowLosses(scriptedSequence(logits, VOCAB, rows, log), VOCAB, window);
      assert.equal(losses.length, 5);
      losses.forEach((loss, i) => assert.ok(Math.abs(loss - expected[i]!) < 1e-12, `${i}: ${loss}`));
      assert.deepEqual(
        log.slice(0, 2),
        ['truncate 0', 'score 3 0 6 6 2'],
        'from the start, and without the last token',
      );
    }
  });

  test('equal logits cost the log of the vocabulary, a certain token nothing', () => {
    const logits = new Float32Array(2 * VOCAB);
    logits[VOCAB + 4] = 1000;
    const losses = windowLosses(scriptedSequence(logits, VOCAB, 2), VOCAB, Uint32Array.of(1, 2, 4));
    assert.ok(Math.abs(losses[0]! - Math.log(VOCAB)) < 1e-12);
    assert.equal(losses[1], 0);
  });
});
