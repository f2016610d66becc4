// Text to token ids and back: a thin face over @huggingface/tokenizers. Knows the files of a tokenizer, nothing of models.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as PackageTokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { errors } from '../base/errors.ts';
import { check, readJson } from '../formats/files.ts';

export interface EncodeOptions {
  /**
   * Adds what the tokenizer prescribes around a text, usually BOS in front. Default true.
   * Set it to false for the output of a chat template, which brings its own.
   */
  readonly addSpecialTokens?: boolean;
  /**
   * What `<|eot_id|>` in the text means. Default false: the special token itself, as a chat template needs it; whoever
   * writes the text then also decides where a turn ends. True: the plain characters, for text from people who are not trusted.
   */
  readonly specialTokensAsText?: boolean;
}

export interface DecodeOptions {
  /** Leaves the special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean;
}

/** What is used of the package's class; its own type declarations do not resolve under `nodenext` and would read as `any`. */
interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  decode(ids: number[], options: { clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  readonly model: { readonly vocab: readonly string[] };
  readonly post_processor: ((tokens: string[], pair: null, addSpecialTokens: boolean) => { tokens: string[] }) | null;
}

/** Token to id; a Unigram vocabulary is a list of [token, score] instead, where the place is the id. */
type Vocabulary = Readonly<Record<string, number>> | [string, number][];

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const anyObject = z.custom<object>(isObject, 'expected an object');

const LARGEST_ID = 0xffffff;
const tokenId = z.int().nonnegative().max(LARGEST_ID);

/** Checked by hand: `z.record` would copy a vocabulary of 128,000 and lose a token named `__proto__`. */
const vocabulary = z.custom<Vocabulary>(isObject, 'expected a vocabulary').superRefine((vocab, context) => {
  const expected = Array.isArray(vocab) ? 'a token with its score' : 'a token id';
  for (const [key, value] of Object.entries<unknown>(vocab)) {
    const isId = Number.isInteger(value) && Number(value) >= 0 && Number(value) <= LARGEST_ID;
    const isScored = Array.isArray(value) && typeof value[0] === 'string' && typeof value[1] === 'number';
    if (Array.isArray(vocab) ? isScored : isId) continue;
    context.addIssue({ code: 'custom', path: [key], message: `expected ${expected}` });
    return;
  }
});

/** What this file relies on; the rest of tokenizer.json is the library's to check. */
const tokenizerJson = z.looseObject({
  added_tokens: z.array(
    z.looseObject({ id: tokenId, content: z.string().min(1), special: z.boolean().default(false) }),
  ),
  model: z.looseObject({
    vocab: vocabulary,
    unk_token: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
  }),
  decoder: z.unknown(),
});

const tokenizerConfig = z.looseObject({
  bos_token: z.union([z.string(), z.looseObject({ content: z.string() })]).nullish(),
  additional_special_tokens: z.array(z.unknown()).nullish(),
});

/** A tokenizer as described by a Hugging Face model folder. */
export class Tokenizer {
  /** One more than the largest token id; not every smaller number needs to be a token. */
  readonly vocabSize: number;
  /** The token that begins a text; null when the tokenizer has none. */
  readonly bosTokenId: number | null;
  /** The `decoder` field of tokenizer.json as it stands there, for the detokenizer. */
  readonly decoderConfig: unknown;
  /** How some older tokenizers mark the end of a word ('</w>'); '' for the others. */
  readonly endOfWordSuffix: string;
  private readonly path: string;
  private readonly library: Library;
  /** Makes `plain`, which is seldom needed and costs as much as all the rest. */
  private readonly makePlain: () => Library;
  private plain: Library | null = null;
  private readonly added: ReadonlySet<string>;
  private readonly special: ReadonlySet<number>;
  /** Stands for characters the vocabulary does not have; often flagged special, though it controls nothing. */
  private readonly unknownId: number | undefined;

  /**
   * Reads tokenizer.json and tokenizer_config.json of a model folder.
   * Errors: `file-not-found`, `file-unreadable`, `tokenizer-missing`, `json-invalid`, `tokenizer-invalid`.
   */
  static load(folder: string): Tokenizer {
    const path = tokenizerFile(folder, 'tokenizer.json');
    const configPath = tokenizerFile(folder, 'tokenizer_config.json');
    return new Tokenizer(readJson(path, anyObject), readJson(configPath, anyObject), path, configPath);
  }

  /**
   * The same from the parsed contents of the two files; the paths are for messages only.
   * Errors: `json-invalid`, `tokenizer-invalid`.
   */
  constructor(json: object, config: object, path = 'tokenizer.json', configPath = 'tokenizer_config.json') {
    const checked = check(json, tokenizerJson, path);
    const { bos_token, additional_special_tokens } = check(config, tokenizerConfig, configPath);
    this.path = path;
    this.library = construct(json, config, path);
    this.vocabSize = this.library.model.vocab.length;
    this.decoderConfig = checked.decoder;
    this.endOfWordSuffix = checked.model.end_of_word_suffix ?? '';
    this.added = new Set(checked.added_tokens.map((token) => token.content));

    const special = new Set(checked.added_tokens.filter((token) => token.special).map((token) => token.content));
    for (const name of additional_special_tokens ?? []) if (typeof name === 'string') special.add(name);
    this.special = new Set([...special].flatMap((content) => this.tokenId(content) ?? []));
    const { vocab, unk_token: unknown } = checked.model;
    this.unknownId = typeof unknown === 'string' ? this.tokenId(unknown) : undefined;
    this.makePlain = () => {
      const kept = Object.entries(vocab).filter(([token]) => !special.has(token) || token === unknown);
      const model = Array.isArray(vocab) ? checked.model : { ...checked.model, vocab: Object.fromEntries(kept) };
      const added = checked.added_tokens.filter((token) => !special.has(token.content));
      return construct({ ...checked, model, added_tokens: added }, config, path);
    };

    const bos = typeof bos_token === 'object' ? bos_token?.content : bos_token;
    this.bosTokenId = bos === undefined ? null : (this.tokenId(bos) ?? null);
    if (bos !== undefined && this.bosTokenId === null) {
      throw errors.jsonInvalid(configPath, `bos_token: ${bos} is not a token of ${path}`);
    }
  }

  /** The ids of a text. A lone surrogate counts as U+FFFD. Errors: `tokenizer-invalid`, `special-token-in-text`. */
  encode(text: string, options: EncodeOptions = {}): Uint32Array {
    const { addSpecialTokens = true, specialTokensAsText = false } = options;
    const ids = specialTokensAsText
      ? this.encodePlain(text, addSpecialTokens)
      : this.library.encode(text, { add_special_tokens: addSpecialTokens }).ids;
    return Uint32Array.from(ids, (id) => {
      if (id === undefined)
        throw errors.tokenizerInvalid(this.path, 'it makes a token that its vocabulary does not have');
      return id;
    });
  }

  /** The library always looks for special tokens first; the one that does not is a second library that has none. */
  private encodePlain(text: string, addSpecialTokens: boolean): (number | undefined)[] {
    this.plain ??= this.makePlain();
    const { ids } = this.plain.encode(text, { add_special_tokens: false });
    // A Unigram model may still put one together from its characters.
    const special = ids.find((id) => id !== undefined && id !== this.unknownId && this.isSpecial(id));
    if (special !== undefined) throw errors.specialTokenInText(this.token(special)!);
    if (!addSpecialTokens || this.library.post_processor === null) return ids;
    const place = '';
    const template = this.library.post_processor([place], null, true).tokens;
    return template.flatMap((token) => (token === place ? ids : this.tokenId(token)));
  }

  /**
   * The text of some ids, exactly as the tokens spell it: the tidying of spaces that `clean_up_tokenization_spaces` asks for
   * is not done, because it would change text that was streamed already. Ids that are no tokens count as nothing.
   */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const skip = options.skipSpecialTokens === true;
    const tokens = Array.from(ids).filter((id) => this.token(id) !== undefined && !(skip && this.isSpecial(id)));
    return tokens.length === 0 ? '' : this.library.decode(tokens, { clean_up_tokenization_spaces: false });
  }

  /** The id of a token as it is spelled in tokenizer.json. */
  tokenId(token: string): number | undefined {
    return this.library.token_to_id(token);
  }

  /** A token as it is spelled in tokenizer.json; undefined where the vocabulary has no such id. */
  token(id: number): string | undefined {
    return this.library.id_to_token(id);
  }

  /** Whether an id is a control token such as BOS, the end of a turn or padding, rather than text. */
  isSpecial(id: number): boolean {
    return this.special.has(id);
  }

  /** Whether a token was added to the vocabulary as it is, special or not. */
  isAdded(token: string): boolean {
    return this.added.has(token);
  }
}

function construct(json: object, config: object, path: string): Library {
  try {
    return new PackageTokenizer(json, config);
  } catch (cause) {
    throw errors.tokenizerInvalid(path, cause);
  }
}

/** The path of a tokenizer's file in a model folder. Errors: `file-not-found` for the folder, `tokenizer-missing` for the file. */
export function tokenizerFile(folder: string, file: string): string {
  if (!existsSync(folder)) throw errors.fileNotFound(folder);
  const path = join(folder, file);
  if (!existsSync(path)) throw errors.tokenizerMissing(folder, file);
  return path;
}
