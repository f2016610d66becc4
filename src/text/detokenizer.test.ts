import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { Detokenizer } from './detokenizer.ts';
import {
  tinyByteFallbackJson,
  tinyByteLevelJson,
  tinyConfig,
  tinyMetaspaceJson,
  tinySpecials,
  tinyTokenizer,
} from './tiny-tokenizers.fixture.ts';
import { Tokenizer } from './tokenizer.ts';

function stream(tokenizer: Tokenizer, ids: ArrayLike<number>, skipSpecialTokens: boolean): string[] {
  const detokenizer = new Detokenizer(tokenizer, { skipSpecialTokens });
  const pieces = Array.from(ids, (id) => detokenizer.push(id));
  return [...pieces, detokenizer.flush()];
}

/** An added token that the byte alphabet cannot spell, beyond a gap in the ids. */
const added = [...tinySpecials.entries(), [400, '<｜tool call｜>'] as const].map(([id, content]) => ({
  id,
  content,
  special: id < 400,
}));

const kinds = [
  { name: 'byte-level', tokenizer: new Tokenizer({ ...tinyByteLevelJson(), added_tokens: added }, tinyConfig) },
  { name: 'byte-fallback', tokenizer: new Tokenizer(tinyByteFallbackJson(), tinyConfig) },
  { name: 'Metaspace', tokenizer: new Tokenizer(tinyMetaspaceJson(), tinyConfig) },
];

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.string({
    unit: fc.constantFrom(
      'the',
      ' hello',
      ' ',
      '日本',
      '👍',
      'é',
      'e\u0301',
      '\uFEFF',
      '\uFFFD',
      '<|eos|>',
      '<unk>',
      '<｜tool call｜>',
    ),
  }),
);

for (const { name, tokenizer } of kinds) {
  describe(name, () => {
    // Ids beyond the vocabulary too: a model's last layer may be larger than its tokenizer.
    const anyIds = fc.array(fc.integer({ min: 0, max: tokenizer.vocabSize + 2 }), { maxLength: 40 });

    test('the pieces of any text are its decoded ids', () => {
      fc.assert(
        fc.property(anyText, fc.boolean(), (text, skip) => {
          const ids = tokenizer.encode(text);
          assert.equal(stream(tokenizer, ids, skip).join(''), tokenizer.decode(ids, { skipSpecialTokens: skip }));
        }),
        { numRuns: 500 },
      );
    });

    test('the pieces of any ids are these ids decoded, also where the bytes are no UTF-8', () => {
      fc.assert(
        fc.property(anyIds, fc.boolean(), (ids, skip) => {
          assert.equal(stream(tokenizer, ids, skip).join(''), tokenizer.decode(ids, { skipSpecialTokens: skip }));
        }),
        { numRuns: 2000 },
      );
    });

    test('no piece is half a character, whatever comes next', () => {
      fc.assert(
        fc.property(anyIds, (ids) => {
          for (const piece of stream(tokenizer, ids, false)) assert.ok(piece.isWellFormed());
        }),
      );
      fc.assert(
        fc.property(anyText, (text) => {
          const ids = tokenizer.encode(text, { specialTokensAsText: true });
          const whole = tokenizer.decode(ids);
          fc.pre(!whole.includes('\uFFFD'));
          for (const piece of stream(tokenizer, ids, false)) assert.ok(!piece.includes('\uFFFD'));
        }),
      );
    });

    test('flush makes it ready for the next sequence', () => {
      const detokenizer = new Detokenizer(tokenizer);
      const ids = tokenizer.encode(' the hello', { addSpecialTokens: false });
      const once = (): string => Array.from(ids, (id) => detokenizer.push(id)).join('') + detokenizer.flush();
      assert.equal(once(), tokenizer.decode(ids));
      assert.equal(once(), tokenizer.decode(ids));
    });
  });
}

function pieces(tokenizer: Tokenizer, text: string): string[] {
  return stream(tokenizer, tokenizer.encode(text, { addSpecialTokens: false }), false);
}

describe('when text becomes certain', () => {
  const byteLevel = kinds[0]!.tokenizer;
  const byteFallback = kinds[1]!.tokenizer;
  test('a character cut by tokens appears with its last byte', () => {
    assert.deepEqual(pieces(byteLevel, '日本'), ['', '日', '本', '']);
    assert.deepEqual(pieces(byteLevel, '👍'), ['', '👍', '']);
    assert.deepEqual(pieces(byteFallback, 'the é'), ['the', ' ', '', 'é', '']);
  });

  test('a space in front belongs to the prompt of byte-fallback tokenizers, later ones to the text', () => {
    assert.deepEqual(pieces(byteFallback, 'the the'), ['the', ' the', '']);
    assert.deepEqual(pieces(byteLevel, ' the the'), [' the', ' the', '']);
  });

  test('an unfinished character is given up when text or a special token follows, and at the end', () => {
    const half = byteLevel.encode('👍', { addSpecialTokens: false })[0]!;
    const [eos, the] = [byteLevel.tokenId('<|eos|>')!, byteLevel.tokenId('the')!];
    assert.deepEqual(stream(byteLevel, [half, the], false), ['', '\uFFFDthe', '']);
    assert.deepEqual(stream(byteLevel, [half, eos], false), ['', '\uFFFD<|eos|>', '']);
    assert.deepEqual(stream(byteLevel, [half, eos], true), ['', '', '\uFFFD']);
    assert.deepEqual(stream(byteLevel, [half], false), ['', '\uFFFD']);
  });
});

test('the work for a token does not grow with the text', () => {
  const tokenizer = tinyTokenizer();
  let asked = 0;
  const counting = new Proxy(tokenizer, {
    get: (target, key) => {
      asked++;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const detokenizer = new Detokenizer(counting);
  const half = tokenizer.encode('👍', { addSpecialTokens: false })[0]!;
  const work = (): number => {
    const before = asked;
    detokenizer.push(half);
    return asked - before;
  };
  const first = work();
  // The worst case: a stream in which no character is ever finished.
  for (let i = 0; i < 1000; i++) assert.equal(work(), first);
});

describe('decoders that cannot be followed are refused', () => {
  const refusals: readonly (readonly [object | null, RegExp])[] = [
    [{ type: 'WordPiece', prefix: '##', cleanup: true }, /the type WordPiece/],
    [{ type: 'Sequence', decoders: [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] }, /the steps Strip/],
    [
      { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Replace', pattern: { String: 'a' }, content: 'b' }] },
      /the steps Fuse Replace/,
    ],
    [
      { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Strip', content: ' ', start: 0, stop: 1 }] },
      /Fuse Strip/,
    ],
    [null, /no type/],
  ];
  for (const [decoder, message] of refusals) {
    test(message.source, () => {
      const tokenizer = new Tokenizer({ ...tinyByteLevelJson(), decoder }, tinyConfig);
      assert.throws(() => new Detokenizer(tokenizer), { name: 'MarlinError', code: 'decoder-unsupported', message });
    });
  }
});
