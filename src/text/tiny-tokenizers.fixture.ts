// Small tokenizers made in memory, for the tests of this folder and of higher ones; nothing else may use them.
import { byteAlphabet } from './detokenizer.ts';
import { Tokenizer } from './tokenizer.ts';

/** The special tokens of all tiny tokenizers; each one's id is its place. */
export const tinySpecials: readonly string[] = ['<|bos|>', '<|eos|>', '<|user|>', '<unk>'];

const addedTokens = tinySpecials.map((content, id) => ({
  id,
  content,
  special: true,
  normalized: false,
  single_word: false,
  lstrip: false,
  rstrip: false,
}));

const bosFirst = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<|bos|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [],
  special_tokens: { '<|bos|>': { id: '<|bos|>', ids: [0], tokens: ['<|bos|>'] } },
};

/** The tokenizer_config.json of all tiny tokenizers. */
export const tinyConfig: object = {
  bos_token: '<|bos|>',
  eos_token: { content: '<|eos|>' },
  pad_token: null,
  add_bos_token: true,
  clean_up_tokenization_spaces: true,
  chat_template:
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}" +
    '{% if add_generation_prompt %}<|assistant|>{% endif %}',
};

/** Tokens and merges that build each word from its left, on top of single characters. */
function vocabularyOf(characters: readonly string[], words: readonly (readonly string[])[]): object {
  const vocab: Record<string, number> = {};
  const add = (token: string): void => void (vocab[token] ??= Object.keys(vocab).length);
  const merges: string[][] = [];
  for (const token of [...tinySpecials, ...characters]) add(token);
  for (const word of words) {
    let built = word[0]!;
    for (const character of word.slice(1)) {
      if (!(built + character in vocab)) merges.push([built, character]);
      built += character;
      add(built);
    }
  }
  return { vocab, merges };
}

/** Llama-3's kind: byte-level BPE. Its tokens cut characters apart, and one ends inside the next character. */
export function tinyByteLevelJson(): object {
  const alphabet = byteAlphabet();
  const spell = (bytes: Iterable<number>): string[] => Array.from(bytes, (byte) => alphabet[byte]!);
  const utf8 = new TextEncoder();
  const words = [' the', 'the', ' hello', ' world', 'ing', '  ', 'é', ' .', '</s>'].map((word) =>
    spell(utf8.encode(word)),
  );
  // "日本" is E6 97 A5 E6 9C AC, "👍" is F0 9F 91 8D.
  const cut = [
    [0xe6, 0x97],
    [0xa5, 0xe6, 0x9c],
    [0xf0, 0x9f],
    [0x91, 0x8d],
    [0xcc, 0x81],
  ].map(spell);
  return {
    version: '1.0',
    added_tokens: addedTokens,
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        {
          type: 'Split',
          pattern: { Regex: ' ?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+' },
          behavior: 'Isolated',
          invert: false,
        },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: bosFirst,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', unk_token: null, byte_fallback: false, ...vocabularyOf(alphabet, [...words, ...cut]) },
  };
}

/** Llama-2's kind: characters with '▁' for a space, bytes for those the vocabulary lacks, a space put in front and taken away. */
export function tinyByteFallbackJson(): { readonly model: object; readonly [field: string]: unknown } {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const words = ['▁the', '▁hello', '▁world', 'ing', '▁▁', '日本'].map((word) => Array.from(word));
  const model = vocabularyOf([...bytes, ...Array.from('▁abcdefghijklmnopqrstuvwxyz.日本')], words);
  return {
    version: '1.0',
    added_tokens: addedTokens,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: bosFirst,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: { type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: true, ...model },
  };
}

/** Characters with '▁' for a space and no bytes: what the vocabulary lacks is <unk>. */
export function tinyMetaspaceJson(): object {
  const words = ['▁the', '▁hello', '▁world', 'ing', '▁▁'].map((word) => Array.from(word));
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false };
  return {
    version: '1.0',
    added_tokens: addedTokens,
    normalizer: null,
    pre_tokenizer: metaspace,
    post_processor: bosFirst,
    decoder: metaspace,
    model: { type: 'BPE', unk_token: '<unk>', ...vocabularyOf(Array.from('▁abcdefghijklmnopqrstuvwxyz.'), words) },
  };
}

/** A byte-level tokenizer of a few hundred tokens, BOS 0 and EOS 1, that can encode any text. */
export function tinyTokenizer(): Tokenizer {
  return new Tokenizer(tinyByteLevelJson(), tinyConfig);
}
