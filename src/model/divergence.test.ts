// The divergence against its definition on random logits, at the ends of the float range, and two sequences side by side.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { Random } from '../base/random.ts';
import { compareWindow, klDivergence } from './divergence.ts';
import { logSumExp, windowLosses } from './perplexity.ts';
import { scriptedSequence } from './scripted-sequence.fixture.ts';

function divergence(p: readonly number[], q: readonly number[]): number {
  const [logits, others] = [Float32Array.from(p), Float32Array.from(q)];
  return klDivergence(logits, others, logSumExp(logits), logSumExp(others));
}

/** Sum of P log(P / Q), by probabilities. */
function defined(p: ArrayLike<number>, q: ArrayLike<number>): number {
  const softmax = (logits: ArrayLike<number>): number[] => {
    const powers = Array.from(logits, (logit) => Math.exp(logit));
    return powers.map((power) => power / powers.reduce((sum, one) => sum + one, 0));
  };
  const others = softmax(q);
  return softmax(p).reduce((sum, probability, i) => sum + probability * Math.log(probability / others[i]!), 0);
}

function normal(seed: number, count: number, deviation: number): Float32Array {
  return new Random(seed).fillNormal(new Float32Array(count), deviation);
}

describe('klDivergence', () => {
  test('is the sum of P log(P / Q)', () => {
    const seeds = fc.record({
      seed: fc.nat(),
      size: fc.integer({ min: 1, max: 300 }),
      deviation: fc.constantFrom(0.01, 1, 8),
    });
    fc.assert(
      fc.property(seeds, ({ seed, size, deviation }) => {
        const [p, q] = [normal(seed, size, deviation), normal(seed + 1, size, deviation)];
        const found = klDivergence(p, q, logSumExp(p), logSumExp(q));
        assert.ok(Math.abs(found - defined(p, q)) < 1e-12 * (1 + found), `${found} and ${defined(p, q)}`);
      }),
    );
  });

  test('of something with itself is 0 exactly, and it is never negative', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 300 }), (seed, size) => {
        const p = normal(seed, size, 5);
        assert.equal(klDivergence(p, p, logSumExp(p), logSumExp(p)), 0);
        const shifted = p.map((logit) => logit + 1e-6);
        assert.ok(klDivergence(p, shifted, logSumExp(p), logSumExp(shifted)) >= 0);
      }),
    );
  });

  test('is of the first against the second', () => {
    const [p, q] = [
      [0, 0],
      [0, Math.log(3)],
    ]; // halves against a quarter and three
    assert.ok(Math.abs(divergence(p, q) - Math.log(4 / 3) / 2) < 1e-7);
    assert.ok(Math.abs(divergence(q, p) - (0.75 * Math.log(1.5) - 0.25 * Math.log(2))) < 1e-7);
  });

  test('holds where the exponentials overflow or vanish', () => {
    assert.equal(divergence([1000, 0], [0, 1000]), 1000);
    assert.ok(Math.abs(divergence([-5000, -6000], [-5000, -5000]) - Math.log(2)) < 1e-11);
    assert.equal(divergence([1e6, 0, 0], [1e6, 5, 7]), 0);
  });

  test('what the first excludes costs nothing; what only the second excludes costs all', () => {
    assert.equal(divergence([0, -Infinity], [0, -Infinity]), 0);
    assert.equal(divergence([3, -Infinity], [0, 0]), Math.log(2));
    assert.equal(divergence([0, 0], [0, -Infinity]), Infinity);
  });

  test('a logit that is no number shows', () => {
    for (const broken of [NaN, Infinity]) {
      assert.ok(Number.isNaN(divergence([1, broken], [1, 2])));
      assert.ok(Number.isNaN(divergence([1, 2], [1, broken])));
    }
  });
});

describe('compareWindow', () => {
  const VOCAB = 11;
  const window = Uint32Array.of(3, 0, 6, 6, 2, 10);
  const [p, q] = [normal(1, 5 * VOCAB, 3), normal(2, 5 * VOCAB, 3)];
  const row = (logits: Float32Array, i: number): Float32Array => logits.subarray(i * VOCAB, (i + 1) * VOCAB);

  test('gives the losses of each and their divergence, whatever the rows that come at once', () => {
    for (const [rows, others] of [
      [1, 1],
      [2, 3],
      [5, 1],
      [128, 2],
    ] as const) {
      const found = compareWindow(scriptedSequence(p, VOCAB, rows), scriptedSequence(q, VOCAB, others), VOCAB, window);
      assert.deepEqual(found.referenceLosses, windowLosses(scriptedSequence(p, VOCAB, rows), VOCAB, window));
      assert.deepEqual(found.candidateLosses, windowLosses(scriptedSequence(q, VOCAB, rows), VOCAB, window));
      assert.equal(found.divergences.length, 5);
      found.divergences.forEach((one, i) => assert.ok(Math.abs(one - defined(row(p, i), row(q, i))) < 1e-12));
    }
  });

  test('a model agrees with itself', () => {
    const { divergences, agreements } = compareWindow(
      scriptedSequence(p, VOCAB, 2),
      scriptedSequence(p, VOCAB, 3),
      VOCAB,
      window,
    );
    assert.deepEqual([...divergences, agreements], [0, 0, 0, 0, 0, 5]);
  });

  test('the likeliest token is the same; of equals the lowest id counts', () => {
    const of = (...values: readonly number[]): Float32Array => Float32Array.from(values);
    // Of three tokens: the same one, another one, equals against the first of them, equals against the last of them.
    const reference = of(1, 5, 2, 1, 5, 2, 0, 4, 4, 0, 4, 4);
    const candidate = of(0, 9, 3, 0, 3, 9, 0, 1, 0, 0, 0, 1);
    const [a, b] = [scriptedSequence(reference, 3, 4), scriptedSequence(candidate, 3, 4)];
    assert.equal(compareWindow(a, b, 3, Uint32Array.of(0, 1, 2, 0, 1)).agreements, 2);
  });

  test('holds no more rows than a sequence yields at once, and starts both anew', () => {
    const log: string[] = [];
    compareWindow(scriptedSequence(p, VOCAB, 2, log), scriptedSequence(q, VOCAB, 2, log), VOCAB, window);
    const start = ['truncate 0', 'score 3 0 6 6 2', 'row 0'];
    assert.deepEqual(log, [...start, ...start, 'row 2', 'row 2', 'row 4', 'row 4']);
  });

  test('sequences that differ in length are a bug', () => {
    const short = { ...scriptedSequence(q, VOCAB, 1), score: () => [q.subarray(0, VOCAB)] };
    assert.throws(() => compareWindow(scriptedSequence(p, VOCAB, 1), short, VOCAB, window), /ended before the other/);
  });
});
