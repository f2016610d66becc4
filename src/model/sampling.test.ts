import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { Random } from '../base/random.ts';
import { checkSampling, neutralSampling, Sampler, type SamplingParameters } from './sampling.ts';

/** The rules one after another over whole arrays, each as its definition says: the probabilities of all tokens. */
function probabilities(logits: Float32Array, recent: readonly number[], parameters: SamplingParameters): number[] {
  const { temperature, topK, topP, minP, repetitionPenalty: penalty } = parameters;
  const seen = new Set(recent);
  let scores = Array.from(logits, (x, id) => (seen.has(id) ? Math.fround(x > 0 ? x / penalty : x * penalty) : x));
  const byScore = [...scores.keys()].toSorted((a, b) => scores[b]! - scores[a]! || a - b);
  const only = (stays: (id: number) => boolean): void => {
    scores = scores.map((score, id) => (stays(id) ? score : -Infinity));
  };
  const softmax = (): number[] => {
    const weights = scores.map((score) => Math.exp((score - Math.max(...scores)) / temperature));
    const total = weights.reduce((a, b) => a + b);
    return weights.map((weight) => weight / total);
  };
  if (topK > 0 && topK < scores.length) {
    const smallest = scores[byScore[topK - 1]!]!;
    only((id) => scores[id]! >= smallest);
  }
  if (topP < 1) {
    const share = softmax();
    let before = 0;
    const nucleus = new Set<number>();
    for (const id of byScore) {
      if (before < topP) nucleus.add(id);
      before += share[id]!;
    }
    only((id) => nucleus.has(id));
  }
  const share = softmax();
  only((id) => share[id]! >= minP * Math.max(...share));
  return softmax();
}

/** The token that a uniform number chooses, in order of ids; null where it falls on the border of two. */
function choose(shares: readonly number[], uniform: number): number | null {
  let reached = 0;
  for (const [id, share] of shares.entries()) {
    if (share > 0 && Math.abs(uniform - reached) < 1e-9 && reached > 0) return null;
    reached += share;
    if (share > 0 && reached > uniform) return Math.abs(reached - uniform) < 1e-9 ? null : id;
  }
  return null;
}

const few = fc.constantFrom(-3, -1, 0, 0.5, 1, 2, -Infinity);
const logit = fc.oneof(few, fc.float({ min: -10, max: 10, noNaN: true }));
const logitsOf = fc
  .array(logit, { minLength: 1, maxLength: 60 })
  .filter((values) => values.some(Number.isFinite))
  .map((values) => Float32Array.from(values));
const neutralOr = <T>(neutral: T, other: fc.Arbitrary<T>): fc.Arbitrary<T> => fc.oneof(fc.constant(neutral), other);
const someParameters: fc.Arbitrary<SamplingParameters> = fc.record({
  temperature: neutralOr(1, fc.double({ min: 0.05, max: 3, noNaN: true })),
  topK: neutralOr(0, fc.integer({ min: 1, max: 70 })),
  topP: neutralOr(1, fc.double({ min: 0.01, max: 0.99, noNaN: true })),
  minP: neutralOr(0, fc.double({ min: 0.001, max: 0.9, noNaN: true })),
  repetitionPenalty: neutralOr(1, fc.double({ min: 0.5, max: 2, noNaN: true })),
});
const someTokens = fc.array(fc.nat({ max: 59 }), { maxLength: 30 });

describe('against the definitions', () => {
  test('the same uniform number chooses the same token', () => {
    let compared = 0;
    fc.assert(
      fc.property(logitsOf, someTokens, someParameters, fc.nat(), (logits, recent, parameters, seed) => {
        const expected = choose(probabilities(logits, recent, parameters), new Random(seed).uniform());
        const token = new Sampler(parameters, seed).sample(logits, recent);
        if (expected === null) return;
        compared++;
        assert.equal(token, expected);
      }),
      { numRuns: 5000 },
    );
    assert.ok(compared > 4500, `only ${compared} draws could be compared`);
  });

  test('greedy: the first of the largest after the penalty, for every seed and other parameter', () => {
    fc.assert(
      fc.property(logitsOf, someTokens, someParameters, fc.nat(), (logits, recent, parameters, seed) => {
        const neutral = { ...neutralSampling, repetitionPenalty: parameters.repetitionPenalty };
        const shares = probabilities(logits, recent, neutral);
        const token = new Sampler({ ...parameters, temperature: 0 }, seed).sample(logits, recent);
        // Through the penalized scores rather than the shares: exp can make equal what is not.
        const scores = Array.from(logits, (x, id) =>
          recent.includes(id) ? Math.fround(x > 0 ? x / neutral.repetitionPenalty : x * neutral.repetitionPenalty) : x,
        );
        assert.equal(token, scores.indexOf(Math.max(...scores)));
        assert.ok(Math.abs(shares[token]! - Math.max(...shares)) < 1e-12);
      }),
    );
  });

  test('the given logits and tokens stay as they are, over several sizes of vocabulary', () => {
    const sampler = new Sampler({ temperature: 0.7, topK: 3, topP: 0.9, minP: 0.1, repetitionPenalty: 1.3 }, 1);
    for (const size of [5, 50, 5]) {
      const logits = Float32Array.from({ length: size }, (_, i) => Math.sin(i));
      const [copy, recent] = [logits.slice(), Uint32Array.of(1, 2, 2)];
      const token = sampler.sample(logits, recent);
      assert.ok(token < size);
      assert.deepEqual(logits, copy);
      assert.deepEqual([...recent], [1, 2, 2]);
    }
  });
});

function ln(...shares: number[]): Float32Array {
  return Float32Array.from(shares, Math.log);
}

/** The tokens that come up in 300 draws. */
function possible(logits: Float32Array, parameters: Partial<SamplingParameters>, recent: number[] = []): number[] {
  const sampler = new Sampler({ ...neutralSampling, ...parameters }, 7);
  const seen = new Set(Array.from({ length: 300 }, () => sampler.sample(logits, recent)));
  return [...seen].toSorted((a, b) => a - b);
}

describe('known cases', () => {
  test('top-k keeps k, and what equals the smallest of them', () => {
    assert.deepEqual(possible(ln(0.1, 0.4, 0.3, 0.2), { topK: 2 }), [1, 2]);
    assert.deepEqual(possible(ln(0.2, 0.4, 0.2, 0.2), { topK: 2 }), [0, 1, 2, 3]);
    assert.deepEqual(possible(ln(0.1, 0.4, 0.3, 0.2), { topK: 1 }), [1]);
    assert.deepEqual(possible(ln(0.25, 0.25, 0.5), { topK: 99 }), [0, 1, 2]);
  });

  test('top-p keeps tokens until the sum is reached, the lower id first where they are equal', () => {
    assert.deepEqual(possible(ln(0.1, 0.4, 0.3, 0.2), { topP: 0.6 }), [1, 2]);
    assert.deepEqual(possible(ln(0.1, 0.4, 0.3, 0.2), { topP: 0.3 }), [1]);
    assert.deepEqual(possible(ln(0.1, 0.4, 0.3, 0.2), { topP: 1e-9 }), [1]);
    assert.deepEqual(possible(ln(0.25, 0.25, 0.25, 0.25), { topP: 0.6 }), [0, 1, 2]);
  });

  test('min-p keeps what is near the most probable', () => {
    assert.deepEqual(possible(ln(0.1, 0.5, 0.15, 0.25), { minP: 0.4 }), [1, 3]);
    assert.deepEqual(possible(ln(0.1, 0.5, 0.15, 0.25), { minP: 1 }), [1]);
  });

  test('the penalty counts a token once and works on both signs', () => {
    const penalized = possible(Float32Array.of(2, 1.1, -5), { repetitionPenalty: 2, temperature: 0 }, [0, 0, 0]);
    assert.deepEqual(penalized, [1]);
    assert.deepEqual(possible(Float32Array.of(-1, -1.5), { repetitionPenalty: 2, temperature: 0 }, [0]), [1]);
  });

  test('-Infinity rules out, and ties of greedy go to the first', () => {
    assert.deepEqual(possible(Float32Array.of(-Infinity, 0, -Infinity, 0), {}), [1, 3]);
    assert.deepEqual(possible(Float32Array.of(0, 3, 3), { temperature: 0 }), [1]);
  });

  test('a tiny temperature is greedy, without overflow', () => {
    assert.deepEqual(possible(Float32Array.of(100, 300, 299.99), { temperature: 1e-300 }), [1]);
  });
});

test('frequencies are the probabilities', () => {
  const logits = Float32Array.from([0.1, 0.2, 0.3, 0.4], Math.log);
  const cases: readonly (readonly [Partial<SamplingParameters>, readonly number[]])[] = [
    [{}, [0.1, 0.2, 0.3, 0.4]],
    [{ temperature: 0.5 }, [1 / 30, 4 / 30, 9 / 30, 16 / 30]],
    [{ topK: 2 }, [0, 0, 3 / 7, 4 / 7]],
    [{ topP: 0.8 }, [0, 2 / 9, 3 / 9, 4 / 9]],
  ];
  for (const [parameters, shares] of cases) {
    const sampler = new Sampler({ ...neutralSampling, ...parameters }, 11);
    const counts = [0, 0, 0, 0];
    const draws = 40_000;
    for (let i = 0; i < draws; i++) counts[sampler.sample(logits, [])]! += 1;
    // Five standard deviations of a share of 1/2 are 0.0125.
    for (const [id, share] of shares.entries())
      assert.ok(Math.abs(counts[id]! / draws - share) < 0.0125, `token ${id}`);
  }
});

describe('seeds', () => {
  const logits = Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i * i));
  const draw = (seed: number): number[] => {
    const sampler = new Sampler({ ...neutralSampling, topP: 0.9 }, seed);
    return Array.from({ length: 20 }, () => sampler.sample(logits, []));
  };
  test('the same seed gives the same sequence, another one another', () => {
    assert.deepEqual(draw(5), draw(5));
    assert.notDeepEqual(draw(5), draw(6));
  });
});

describe('refusals', () => {
  test('of parameters, by name, with what to give', () => {
    const wrong: readonly Partial<SamplingParameters>[] = [
      { temperature: -1 },
      { temperature: NaN },
      { temperature: Infinity },
      { topK: -1 },
      { topK: 1.5 },
      { topK: NaN },
      { topP: 0 },
      { topP: 1.1 },
      { topP: NaN },
      { minP: -0.1 },
      { minP: 2 },
      { minP: NaN },
      { repetitionPenalty: 0 },
      { repetitionPenalty: NaN },
      { repetitionPenalty: Infinity },
    ];
    for (const change of wrong) {
      const [name] = Object.keys(change);
      const expected = {
        name: 'MarlinError',
        code: 'sampling-invalid',
        message: new RegExp(`^${name} `),
        fix: new RegExp(`Give ${name} a`),
      };
      assert.throws(() => checkSampling({ ...neutralSampling, ...change }), expected);
      assert.throws(() => new Sampler({ ...neutralSampling, ...change }, 1), expected);
    }
    checkSampling(neutralSampling);
    checkSampling({ temperature: 0, topK: 1, topP: 1e-6, minP: 1, repetitionPenalty: 0.1 });
  });

  test('of logits that are no numbers, greedy or not', () => {
    for (const temperature of [0, 1]) {
      const sampler = new Sampler({ ...neutralSampling, temperature }, 1);
      const at2 = { code: 'logits-not-finite', message: /token 2\./ };
      assert.throws(() => sampler.sample(Float32Array.of(0, 1, NaN), []), at2);
      assert.throws(() => sampler.sample(Float32Array.of(0, 1, Infinity), []), at2);
      assert.throws(() => sampler.sample(Float32Array.of(-Infinity, -Infinity), []), { code: 'no-token-possible' });
    }
  });
});
