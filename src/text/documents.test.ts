import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { encodeDocuments, windows } from './documents.ts';
import { tinyTokenizer } from './tiny-tokenizers.fixture.ts';

const tokenizer = tinyTokenizer();
const [BOS, EOS] = [0, 1];

describe('encodeDocuments', () => {
  test('each document is BOS text EOS, in order, without an end at the last zero byte', () => {
    const of = (text: string): number[] => [BOS, ...tokenizer.encode(text, { addSpecialTokens: false }), EOS];
    const progress: number[][] = [];
    const stream = encodeDocuments(tokenizer, 'the hello\0日本\0', BOS, EOS, (...at) => progress.push(at));
    assert.deepEqual([...stream], [...of('the hello'), ...of('日本')]);
    assert.deepEqual(progress, [
      [1, 2],
      [2, 2],
    ]);
  });

  test('decodes to the documents again', () => {
    const documents = fc.array(fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\0')));
    fc.assert(
      fc.property(documents, (texts) => {
        const stream = encodeDocuments(tokenizer, texts.join('\0'), BOS, EOS);
        assert.equal(tokenizer.decode(stream), texts.map((text) => `<|bos|>${text}<|eos|>`).join(''));
      }),
    );
  });
});

test('windows: consecutive, exactly as long as the context, the remainder dropped', () => {
  fc.assert(
    fc.property(fc.nat({ max: 50 }), fc.integer({ min: 1, max: 12 }), (length, context) => {
      const tokens = Uint32Array.from({ length }, (_, i) => i);
      const found = [...windows(tokens, context)];
      assert.equal(found.length, Math.floor(length / context));
      assert.deepEqual(
        found.flatMap((window) => [...window]),
        [...tokens.subarray(0, found.length * context)],
      );
      assert.ok(found.every((window) => window.length === context));
    }),
  );
});
