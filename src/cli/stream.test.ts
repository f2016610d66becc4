import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { neutralSampling, Sampler } from '../model/sampling.ts';
import type { Sequence } from '../model/sequence.ts';
import { tinyByteFallbackJson, tinyConfig, tinyTokenizer } from '../text/tiny-tokenizers.fixture.ts';
import { Tokenizer } from '../text/tokenizer.ts';
import { createOutput } from './output.ts';
import { speeds, stream, type StreamRequest } from './stream.ts';

const EOS = 1;
const output = createOutput({ stdin: Readable.from([]), stdout: new PassThrough(), stderr: new PassThrough() }, true);
const greedy = new Sampler({ ...neutralSampling, temperature: 0 }, 0);

interface Scripted extends Sequence {
  /** What it was given to read. */
  readonly parts: readonly (readonly number[])[];
}

/** A sequence whose likeliest tokens after `promptLength` tokens are those of `script`, then EOS. */
function scripted(script: readonly number[], promptLength: number, onPart?: (count: number) => void): Scripted {
  const parts: number[][] = [];
  return {
    parts,
    get length() {
      return parts.flat().length;
    },
    truncate: () => undefined,
    append: (ids) => {
      parts.push(Array.from(ids));
      onPart?.(parts.length);
      const next = script[parts.flat().length - promptLength] ?? EOS;
      return new Float32Array(400).map((_, id) => (id === next ? 1 : 0));
    },
    score: () => [],
    [Symbol.dispose]: () => undefined,
  };
}

async function streamed(
  tokenizer: Tokenizer,
  sequence: Sequence,
  request: Pick<StreamRequest, 'prompt'> & Partial<StreamRequest>,
  signal: AbortSignal = new AbortController().signal,
): Promise<{
  readonly text: string;
  readonly tokens: readonly number[];
  readonly result: Awaited<ReturnType<typeof stream>>;
}> {
  let text = '';
  const tokens: number[] = [];
  const result = await stream(
    { stepTokens: 384, tokenizer, context: 2000, eosTokenIds: new Set([EOS]) },
    sequence,
    {
      earlier: [],
      continues: false,
      maxTokens: 50,
      sampler: greedy,
      onText: (piece, token) => {
        text += piece;
        if (token !== null) tokens.push(token);
      },
      ...request,
    },
    output,
    signal,
  );
  return { text, tokens, result };
}

describe('stream', () => {
  test('hands out tokens with their text until the model ends it', async () => {
    const tokenizer = tinyTokenizer();
    const script = [...tokenizer.encode(' hello 日本', { addSpecialTokens: false })];
    const { text, tokens, result } = await streamed(tokenizer, scripted(script, 1), { prompt: Uint32Array.of(0) });
    assert.equal(text, ' hello 日本');
    assert.deepEqual(tokens, script);
    assert.deepEqual([result.finishReason, result.tokens, result.promptTokens], ['stop', script.length, 1]);
  });

  test('a character cut off by the end still comes out', async () => {
    const tokenizer = tinyTokenizer();
    const [first] = tokenizer.encode('👍', { addSpecialTokens: false });
    const { text } = await streamed(tokenizer, scripted([first!, 5], 1), { prompt: Uint32Array.of(0), maxTokens: 1 });
    assert.equal(text, '\ufffd');
  });

  test('a space between the prompt and what goes on from it is kept', async () => {
    const tokenizer = new Tokenizer(tinyByteFallbackJson(), tinyConfig);
    const prompt = tokenizer.encode('hello');
    const script = [...tokenizer.encode('world', { addSpecialTokens: false })];
    assert.equal(
      (await streamed(tokenizer, scripted(script, prompt.length), { prompt, continues: true })).text,
      ' world',
    );
    assert.equal(
      (await streamed(tokenizer, scripted(script, prompt.length), { prompt, continues: false })).text,
      'world',
    );
  });

  test('a long prompt is read in parts that together are the prompt', async () => {
    const prompt = Uint32Array.from({ length: 1000 }, (_, i) => i % 300);
    const sequence = scripted([7, 8], 1000);
    const { tokens, result } = await streamed(tinyTokenizer(), sequence, { prompt });
    assert.deepEqual(tokens, [7, 8]);
    assert.deepEqual(
      sequence.parts.map((part) => part.length),
      [384, 384, 232, 1, 1],
    );
    assert.deepEqual(sequence.parts.flat().slice(0, 1000), [...prompt]);
    assert.equal(result.promptTokens, 1000);
    assert.ok(result.prefillSeconds > 0);
  });

  test('the sampler is told of all tokens, those of earlier turns too', async () => {
    const seen: number[][] = [];
    const sampler = new Sampler({ ...neutralSampling, temperature: 0 }, 0);
    const sample = sampler.sample.bind(sampler);
    sampler.sample = (logits, recent) => {
      seen.push(Array.from(recent));
      return sample(logits, recent);
    };
    const prompt = Uint32Array.from({ length: 400 }, () => 9);
    await streamed(tinyTokenizer(), scripted([7], 400), { prompt, earlier: [4, 5], sampler });
    assert.deepEqual(seen, [
      [4, 5, ...prompt],
      [4, 5, ...prompt, 7],
    ]);
  });

  test('stops between parts of the prompt and between tokens', async () => {
    for (const [length, parts] of [
      [1000, 1],
      [10, 2],
    ] as const) {
      const controller = new AbortController();
      const stop = (count: number): void => void (count === parts && controller.abort(new Error('enough')));
      const sequence = scripted([7, 8, 9], length, stop);
      const prompt = new Uint32Array(length);
      await assert.rejects(streamed(tinyTokenizer(), sequence, { prompt }, controller.signal), /enough/);
      assert.equal(sequence.parts.length, parts);
    }
  });
});

test('speeds are tokens a second, and 0 where nothing was done', () => {
  const result = { finishReason: 'stop', tokens: 3, promptTokens: 10, prefillSeconds: 0.5 } as const;
  const some = { ...result, decodeSteps: 2, decodeSeconds: 0.03 };
  assert.deepEqual(speeds(some), { tokensPerSecond: 66.7, prefillTokensPerSecond: 20 });
  const none = { ...result, decodeSteps: 0, decodeSeconds: 0 };
  assert.deepEqual(speeds(none), { tokensPerSecond: 0, prefillTokensPerSecond: 20 });
});
