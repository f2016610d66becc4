// Drawing: each rule alone and all together on random logits, in every order of warps; tokens come as often as they should; what is no number is told.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../../base/random.ts';
import { argmax } from '../../base/stats.ts';
import { simulate } from '../../sim/simulate.ts';
import { checkExample, freshSeed } from '../check-example.fixture.ts';
import { STATE_IDS, STATE_POSITION, STATE_TOKENS } from '../vectors.ts';
import { neutral, sampleExample } from './entry.ts';
import { drawWords, NO_TOKEN, sample } from './kernel.ts';
import { creditsOf, possible } from './reference.ts';

test('random rules on random vocabularies', () => {
  const seed = freshSeed();
  const random = new Random(seed);
  for (let run = 0; run < 12; run++) {
    const rules = {
      temperature: 2 * random.uniform(),
      topK: random.integer(2) * random.integer(60),
      topP: 1 - random.integer(2) * random.uniform(),
      minP: random.integer(2) * random.uniform(),
    };
    checkExample(
      sampleExample(JSON.stringify(rules), 1 + random.integer(2), 1 + random.integer(400), rules),
      seed + run,
    );
  }
});

test('no findings in 20 orders of warps', () => {
  const rules = { temperature: 1, topK: 9, topP: 0.9, minP: 0.01 };
  for (let seed = 0; seed < 20; seed++) checkExample(sampleExample('all rules', 1, 40, rules), seed);
});

describe('the reference', () => {
  test('draws a token as often as its probability says', () => {
    const logits = [0, 1, 2, -1];
    const draws = 20_000;
    const counts = logits.map(() => 0);
    for (let position = 0; position < draws; position++)
      counts[argmax(creditsOf(logits, { ...neutral, seed: [1, 2] }, position))]!++;
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    for (const [i, logit] of logits.entries()) {
      const probability = Math.exp(logit) / total;
      const deviation = Math.sqrt((probability * (1 - probability)) / draws);
      assert.ok(Math.abs(counts[i]! / draws - probability) < 4 * deviation, `token ${i}: ${counts[i]} of ${draws}`);
    }
  });

  test('keeps what the rules of the sampler keep', () => {
    const seed = [0, 0] as const;
    const logits = [3, 1, 2, 2, 0];
    assert.deepEqual(possible(logits, { ...neutral, topK: 2, seed }), [true, false, true, true, false]);
    assert.deepEqual(possible(logits, { ...neutral, topP: 0.5, seed }), [true, false, false, false, false]);
    assert.deepEqual(possible(logits, { ...neutral, minP: 0.2, seed }), [true, false, true, true, false]);
  });
});

test('a logit that is no number, or infinite, gives no token and no next step', () => {
  for (const bad of [Number.NaN, Infinity]) {
    const logits = Float32Array.of(1, 2, bad, 0);
    const [tokens, state] = [new Uint32Array(1), new Uint32Array(STATE_IDS + 1)];
    [state[STATE_POSITION], state[STATE_TOKENS]] = [5, 1];
    const draw = drawWords({ ...neutral, seed: [1, 1] });
    simulate(sample({ vocabulary: 4, pitch: 4, advance: true }), { grid: [1], args: { logits, draw, tokens, state } });
    assert.deepEqual([tokens[0], state[STATE_POSITION]], [NO_TOKEN, 5]);
  }
});
