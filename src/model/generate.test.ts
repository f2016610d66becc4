// The loop that makes text, over a sequence that only counts: what it reads, what it asks for, and why it ends.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { errors } from '../base/errors.ts';
import { generate, type GenerateOptions, type GenerateResult } from './generate.ts';
import type { Drawing } from './ops.ts';
import type { Sequence } from './sequence.ts';

const CONTEXT = 10;

/** Its logits are one number: the tokens it holds. */
class FakeSequence implements Sequence {
  readonly appended: number[][] = [];
  length: number;

  constructor(length = 0) {
    this.length = length;
  }

  truncate(): void {
    throw new Error('not to be called');
  }

  [Symbol.dispose](): void {}

  append(ids: ArrayLike<number>): Float32Array {
    if (ids.length === 0) throw errors.promptEmpty();
    this.appended.push(Array.from(ids));
    this.length += ids.length;
    assert.ok(this.length <= CONTEXT, 'read beyond the context');
    return Float32Array.of(this.length);
  }

  score(): Iterable<Float32Array> {
    throw new Error('not to be called');
  }
}

interface Run {
  readonly tokens: readonly number[];
  readonly result: GenerateResult;
  /** The logits and the tokens each call of `sample` was given. */
  readonly asked: readonly (readonly [logit: number, tokens: readonly number[]])[];
}

/** Samples 101, 102, 103, ... */
function run(sequence: Sequence, options: Partial<GenerateOptions>): Run {
  const asked: [number, readonly number[]][] = [];
  const tokens: number[] = [];
  const steps = generate(sequence, {
    prompt: [1, 2, 3],
    maxTokens: 4,
    context: CONTEXT,
    eosTokenIds: new Set([9]),
    sample: (logits, sofar) => {
      asked.push([logits[0]!, [...sofar]]);
      return 100 + asked.length;
    },
    ...options,
  });
  for (;;) {
    const step = steps.next();
    if (step.done === true) return { tokens, result: step.value, asked };
    tokens.push(step.value);
  }
}

describe('it ends', () => {
  test('by length: after maxTokens, the last of which is not read', () => {
    const sequence = new FakeSequence();
    const { tokens, result } = run(sequence, {});
    assert.deepEqual(tokens, [101, 102, 103, 104]);
    assert.deepEqual(sequence.appended, [[1, 2, 3], [101], [102], [103]]);
    const { finishReason, promptTokens, decodeSteps } = result;
    assert.deepEqual(
      { finishReason, promptTokens, decodeSteps },
      { finishReason: 'length', promptTokens: 3, decodeSteps: 3 },
    );
    assert.equal(result.tokens, 4);
    assert.ok(result.prefillSeconds >= 0 && result.decodeSeconds >= 0);
  });

  test('by length at once when nothing is to be made: the prompt is read, nothing sampled', () => {
    const sequence = new FakeSequence();
    const { tokens, result, asked } = run(sequence, { maxTokens: 0 });
    assert.deepEqual([tokens, asked, sequence.length], [[], [], 3]);
    assert.deepEqual([result.finishReason, result.tokens, result.decodeSteps], ['length', 0, 0]);
  });

  test('by stop: at an end token, which is neither given out, nor counted, nor read', () => {
    const sequence = new FakeSequence();
    const samples = [50, 8, 60];
    const { tokens, result } = run(sequence, { eosTokenIds: new Set([7, 8]), sample: () => samples.shift()! });
    assert.deepEqual(tokens, [50]);
    assert.deepEqual(sequence.appended, [[1, 2, 3], [50]]);
    assert.deepEqual([result.finishReason, result.tokens, result.decodeSteps], ['stop', 1, 1]);
  });

  test('by stop also at the last token allowed', () => {
    const samples = [50, 9];
    const { tokens, result } = run(new FakeSequence(), { maxTokens: 2, sample: () => samples.shift()! });
    assert.deepEqual([tokens, result.finishReason], [[50], 'stop']);
  });

  test('by context: when the sequence is full, after one more token than it holds', () => {
    const sequence = new FakeSequence(5);
    const { tokens, result } = run(sequence, { maxTokens: 100 });
    assert.equal(sequence.length, CONTEXT);
    assert.deepEqual(tokens, [101, 102, 103]);
    assert.deepEqual([result.finishReason, result.tokens, result.decodeSteps], ['context', 3, 2]);
  });

  test('by context after one token when the prompt fills it', () => {
    const { tokens, result } = run(new FakeSequence(), { prompt: new Uint32Array(CONTEXT) });
    assert.deepEqual([tokens, result.finishReason, result.decodeSteps], [[101], 'context', 0]);
  });
});

describe('sampling', () => {
  test('sees the logits of the last step, and all tokens: the earlier ones, the prompt, what was made', () => {
    const sequence = new FakeSequence(2);
    const { asked } = run(sequence, { earlier: [70, 71], prompt: Uint32Array.of(4, 5), maxTokens: 3 });
    assert.deepEqual(asked, [
      [4, [70, 71, 4, 5]],
      [5, [70, 71, 4, 5, 101]],
      [6, [70, 71, 4, 5, 101, 102]],
    ]);
  });

  test('happens only when the next token is asked for', () => {
    const sequence = new FakeSequence();
    let samples = 0;
    const options = { prompt: [1], maxTokens: 9, context: CONTEXT, eosTokenIds: new Set<number>() };
    const tokens = generate(sequence, { ...options, sample: () => ++samples });
    assert.deepEqual([samples, sequence.length], [0, 0]);
    tokens.next();
    assert.deepEqual([samples, sequence.length], [1, 1]);
    tokens.next();
    assert.deepEqual([samples, sequence.length], [2, 2]);
  });
});

describe('refused with nothing read', () => {
  test('a prompt that does not fit beside what the sequence holds', () => {
    const sequence = new FakeSequence(7);
    assert.throws(() => run(sequence, { prompt: [1, 2, 3, 4] }), {
      code: 'prompt-too-long',
      message: /11 tokens.* 10/,
    });
    assert.deepEqual(sequence.appended, []);
    assert.equal(run(sequence, {}).result.finishReason, 'context');
  });

  test('an empty prompt', () => {
    assert.throws(() => run(new FakeSequence(), { prompt: [] }), { code: 'prompt-empty' });
  });
});

test('where the device draws, it reads and draws in one, and `sample` is not asked', () => {
  const appended: (readonly number[])[] = [];
  const sequence = new (class extends FakeSequence {
    readonly drawing = {
      append: (ids: ArrayLike<number>, { seed }: Drawing): number => {
        appended.push(Array.from(ids));
        this.append(ids);
        return seed[0] + appended.length;
      },
    };
  })();
  const drawing = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: [200, 0] } as const;
  const { tokens } = run(sequence, { drawing, maxTokens: 3, sample: () => assert.fail('the device draws') });
  assert.deepEqual(
    [tokens, appended],
    [
      [201, 202, 203],
      [[1, 2, 3], [201], [202]],
    ],
  );
  // Without a way to draw, the host samples.
  assert.deepEqual(run(new FakeSequence(), { drawing, maxTokens: 2 }).tokens, [101, 102]);
});
