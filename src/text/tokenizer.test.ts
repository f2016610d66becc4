import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import {
  tinyByteFallbackJson,
  tinyByteLevelJson,
  tinyConfig,
  tinyMetaspaceJson,
  tinySpecials,
  tinyTokenizer,
} from './tiny-tokenizers.fixture.ts';
import { Tokenizer } from './tokenizer.ts';

const tokenizer = tinyTokenizer();
const plain = { addSpecialTokens: false };
const asText = { addSpecialTokens: false, specialTokensAsText: true };

describe('encode', () => {
  test('merges by rank, on top of bytes', () => {
    const ids = tokenizer.encode(' the hello9', plain);
    assert.deepEqual(
      Array.from(ids, (id) => tokenizer.token(id)),
      ['Ġthe', 'Ġhello', '9'],
    );
    assert.equal(tokenizer.tokenId('9'), tinySpecials.length + '9'.codePointAt(0)!);
    assert.ok(ids instanceof Uint32Array);
  });

  test('adds BOS unless told not to', () => {
    assert.deepEqual([...tokenizer.encode('')], [0]);
    assert.deepEqual([...tokenizer.encode('', plain)], []);
    assert.deepEqual([...tokenizer.encode('the')], [0, ...tokenizer.encode('the', plain)]);
  });

  test('loses nothing: any text decodes to itself', () => {
    const texts = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }));
    fc.assert(fc.property(texts, (text) => tokenizer.decode(tokenizer.encode(text, plain)) === text));
    fc.assert(fc.property(texts, (text) => tokenizer.decode(tokenizer.encode(text, asText)) === text));
  });

  test('a lone surrogate counts as U+FFFD', () => {
    assert.equal(tokenizer.decode(tokenizer.encode('a\uD800b', plain)), 'a\uFFFDb');
  });
});

describe('special tokens in a text', () => {
  test('are the tokens themselves, unless they are to be text', () => {
    const text = 'a<|eos|>b';
    const [a, b] = [tokenizer.tokenId('a')!, tokenizer.tokenId('b')!];
    assert.deepEqual([...tokenizer.encode(text, plain)], [a, 1, b]);
    const ids = tokenizer.encode(text, asText);
    assert.ok(!ids.includes(1));
    assert.equal(tokenizer.decode(ids, { skipSpecialTokens: true }), text);
  });

  test('as text: never a special id, from any kind of tokenizer, and the same ids where nothing is special', () => {
    const words = fc.string({ unit: fc.constantFrom(...tinySpecials, '<', '|>', 'eos', ' ', 'the', '日本', '</s>') });
    for (const json of [tinyByteLevelJson(), tinyByteFallbackJson(), tinyMetaspaceJson()]) {
      const kind = new Tokenizer(json, tinyConfig);
      const unknown = kind.tokenId('<unk>');
      fc.assert(
        fc.property(words, (text) => {
          const ids = kind.encode(text, asText);
          assert.ok(ids.every((id) => !kind.isSpecial(id) || id === unknown));
          if (!tinySpecials.some((token) => text.includes(token))) assert.deepEqual(ids, kind.encode(text, plain));
        }),
      );
    }
  });

  test('as text: what the tokenizer prescribes around it still comes, and tokens that were added but are not special', () => {
    const json = {
      ...tinyByteLevelJson(),
      added_tokens: [...addedTokens(), { id: 900, content: '<think>', special: false }],
    };
    const extended = new Tokenizer(json, tinyConfig);
    const text = '<|bos|><think>';
    assert.deepEqual([...extended.encode(text)], [0, 0, 900]);
    assert.deepEqual(
      [...extended.encode(text, { specialTokensAsText: true })],
      [0, ...extended.encode('<|bos|>', asText), 900],
    );
    assert.equal(extended.isSpecial(900), false);
    assert.equal(extended.vocabSize, 901);
  });

  test('as text: also where the vocabulary is asked before any merge', () => {
    const { model, ...rest } = tinyByteFallbackJson();
    const kind = new Tokenizer({ ...rest, normalizer: null, model: { ...model, ignore_merges: true } }, tinyConfig);
    assert.deepEqual([...kind.encode('<|eos|>', plain)], [1]);
    assert.equal(kind.decode(kind.encode('<|eos|>', asText), { skipSpecialTokens: true }), '<|eos|>');
  });

  test('as text: refused where the model puts a special token together itself', () => {
    const unigram = {
      ...tinyByteLevelJson(),
      pre_tokenizer: null,
      decoder: { type: 'Fuse' },
      model: { type: 'Unigram', unk_id: 3, vocab: [...tinySpecials, 'a'].map((token) => [token, -1]) },
    };
    const model = new Tokenizer(unigram, { bos_token: null });
    assert.deepEqual([...model.encode('a', asText)], [4]);
    assert.throws(() => model.encode('a<|eos|>', asText), { code: 'special-token-in-text', message: /<\|eos\|>/ });
  });
});

function addedTokens(): { id: number; content: string; special: boolean }[] {
  return tinySpecials.map((content, id) => ({ id, content, special: true }));
}

describe('decode', () => {
  test('shows special tokens or skips them', () => {
    const ids = tokenizer.encode('a<|eos|>b');
    assert.equal(tokenizer.decode(ids), '<|bos|>a<|eos|>b');
    assert.equal(tokenizer.decode(ids, { skipSpecialTokens: true }), 'ab');
    assert.equal(tokenizer.decode([0, 1], { skipSpecialTokens: true }), '');
    assert.equal(tokenizer.decode([]), '');
  });

  test('ids that are no tokens count as nothing', () => {
    const a = tokenizer.tokenId('a')!;
    assert.equal(tokenizer.decode([a, tokenizer.vocabSize, 2 ** 31, a]), 'aa');
    const metaspace = new Tokenizer(tinyMetaspaceJson(), tinyConfig);
    assert.equal(metaspace.decode([metaspace.tokenId('a')!, metaspace.vocabSize]), 'a');
  });

  test('leaves spaces alone, whatever tokenizer_config.json wishes', () => {
    assert.equal(tokenizer.decode(tokenizer.encode("the . do n't", plain)), "the . do n't");
  });
});

describe('the vocabulary', () => {
  test('size, BOS, special tokens', () => {
    assert.equal(tokenizer.token(tokenizer.vocabSize - 1) === undefined, false);
    assert.equal(tokenizer.token(tokenizer.vocabSize), undefined);
    assert.equal(tokenizer.bosTokenId, 0);
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((id) => tokenizer.isSpecial(id)),
      [true, true, true, true, false],
    );
    assert.equal(tokenizer.tokenId('no such token'), undefined);
  });

  test('no BOS when tokenizer_config.json names none', () => {
    assert.equal(new Tokenizer(tinyByteLevelJson(), {}).bosTokenId, null);
    assert.equal(new Tokenizer(tinyByteLevelJson(), { bos_token: null }).bosTokenId, null);
    assert.equal(new Tokenizer(tinyByteLevelJson(), { bos_token: { content: '<|eos|>' } }).bosTokenId, 1);
  });

  test('additional_special_tokens are special too', () => {
    const config = { ...tinyConfig, additional_special_tokens: ['Ġthe', { content: 'ignored' }] };
    const extended = new Tokenizer(tinyByteLevelJson(), config);
    assert.ok(extended.isSpecial(extended.tokenId('Ġthe')!));
  });

  test('a token may be called __proto__', () => {
    const base = tinyByteFallbackJson();
    const characters = Array.from('_proto');
    const vocab = Object.fromEntries([...tinySpecials, ...characters, '__proto__'].map((token, id) => [token, id]));
    const odd = new Tokenizer(
      { ...base, normalizer: null, model: { type: 'BPE', ignore_merges: true, merges: [], vocab } },
      tinyConfig,
    );
    const id = odd.tokenId('__proto__')!;
    assert.deepEqual([...odd.encode('__proto__', plain)], [id]);
    assert.deepEqual([...odd.encode('__proto__', asText)], [id]);
    assert.equal(odd.decode([id]), '__proto__');
  });
});

describe('files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'));
  after(() => rmSync(folder, { recursive: true }));
  const write = (json: string, config: string): void => {
    writeFileSync(join(folder, 'tokenizer.json'), json);
    writeFileSync(join(folder, 'tokenizer_config.json'), config);
  };
  const [json, config] = [JSON.stringify(tinyByteLevelJson()), JSON.stringify(tinyConfig)];

  test('a folder loads as what is in it', () => {
    write(json, config);
    assert.deepEqual(Tokenizer.load(folder).encode('the 日本'), tokenizer.encode('the 日本'));
  });

  test('what is missing is named, with a way out', () => {
    assert.throws(() => Tokenizer.load(join(folder, 'nowhere')), { code: 'file-not-found', message: /nowhere/ });
    for (const file of ['tokenizer.json', 'tokenizer_config.json']) {
      write(json, config);
      rmSync(join(folder, file));
      assert.throws(() => Tokenizer.load(folder), {
        code: 'tokenizer-missing',
        message: new RegExp(`no ${file}`),
        fix: /Download/,
      });
    }
  });

  test('a file cut short anywhere is refused', () => {
    fc.assert(
      fc.property(fc.nat({ max: json.length - 1 }), (length) => {
        write(json.slice(0, length), config);
        assert.throws(() => Tokenizer.load(folder), { code: 'json-invalid', message: /tokenizer\.json/ });
      }),
      { numRuns: 20 },
    );
    write(json, config.slice(0, -1));
    assert.throws(() => Tokenizer.load(folder), { code: 'json-invalid', message: /tokenizer_config\.json/ });
  });

  test('a file with wrong contents is refused, with the field', () => {
    const base = tinyByteLevelJson();
    const cases: readonly (readonly [object, object, string, RegExp])[] = [
      [[], tinyConfig, 'json-invalid', /tokenizer\.json/],
      [{ ...base, added_tokens: undefined }, tinyConfig, 'json-invalid', /added_tokens/],
      [{ ...base, added_tokens: [{ id: -1, content: 'x' }] }, tinyConfig, 'json-invalid', /added_tokens\.0\.id/],
      [{ ...base, model: { type: 'BPE', merges: [] } }, tinyConfig, 'json-invalid', /model\.vocab/],
      [
        { ...base, model: { type: 'BPE', merges: [], vocab: { ab: 0.5 } } },
        tinyConfig,
        'json-invalid',
        /model\.vocab\.ab: expected a token id/,
      ],
      [
        { ...base, model: { type: 'Unigram', vocab: [['a']] } },
        tinyConfig,
        'json-invalid',
        /model\.vocab\.0: expected a token with its score/,
      ],
      [{ ...base, model: { type: 'BPE', vocab: { a: 0 } } }, tinyConfig, 'tokenizer-invalid', /tokenizer\.json/],
      [{ ...base, decoder: { type: 'Telepathy' } }, tinyConfig, 'tokenizer-invalid', /Telepathy/],
      [{ ...base, pre_tokenizer: { type: 'Telepathy' } }, tinyConfig, 'tokenizer-invalid', /Telepathy/],
      [base, { bos_token: 7 }, 'json-invalid', /tokenizer_config\.json.*bos_token/],
      [base, { bos_token: '<s>' }, 'json-invalid', /bos_token: <s> is not a token/],
    ];
    for (const [wrong, wrongConfig, code, message] of cases) {
      assert.throws(() => new Tokenizer(wrong, wrongConfig), { name: 'MarlinError', code, message });
    }
  });

  test('a special token that the vocabulary lacks is found when it is needed', () => {
    const template = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<s>', type_id: 0 } }], pair: [] };
    const broken = new Tokenizer({ ...tinyByteLevelJson(), post_processor: template }, tinyConfig);
    assert.throws(() => broken.encode(''), { code: 'tokenizer-invalid' });
  });
});

const shipped = join(import.meta.dirname, '../../models/storyteller-29m-w4');

test(
  'the model that ships with the package: ids as its training pipeline recorded them',
  { skip: !existsSync(shipped) },
  () => {
    const storyteller = Tokenizer.load(shipped);
    const ids = [0, 6735, 640, 264, 563, 478, 316, 264, 1831, 469, 352, 927];
    assert.deepEqual([...storyteller.encode('Once upon a time there was a king who had three')], ids);
    assert.equal(storyteller.decode(ids), '<|begin_of_text|>Once upon a time there was a king who had three');
    assert.equal(storyteller.vocabSize, 8192);
  },
);
