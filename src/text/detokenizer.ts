// Token ids to text while they arrive, never half a character. All pieces together are exactly `tokenizer.decode` of all ids.
import { TextDecoder } from 'node:util';
import { z } from 'zod';
import { errors } from '../base/errors.ts';
import type { DecodeOptions, Tokenizer } from './tokenizer.ts';

/**
 * What one token contributes: bytes, which form UTF-8 together with the bytes of neighbouring tokens, or finished text, before
 * which an unfinished character is lost (it becomes U+FFFD).
 */
type Piece = Uint8Array | string;

/** A decoder of tokenizer.json, as far as it can be followed token by token. */
interface StreamingDecoder {
  piece(token: string, tokenizer: Tokenizer): Piece;
  /** Whether a U+FEFF that opens a run of bytes is text. The library drops it in byte-fallback tokenizers. */
  readonly keepsByteOrderMark: boolean;
  /** Up to `count` times `character` is taken away at the beginning of the whole text. */
  readonly strip: { readonly character: string; readonly count: number };
}

/**
 * Decodes one sequence. The cost of a token does not depend on how many came before. Byte-fallback and Metaspace tokenizers lose
 * the space that begins a text; where a text goes on from a prompt, push the last token of the prompt first and ignore its piece.
 */
export class Detokenizer {
  private readonly tokenizer: Tokenizer;
  private readonly skipSpecialTokens: boolean;
  private readonly decoder: StreamingDecoder;
  private readonly utf8: TextDecoder;
  /** Characters that may still be stripped from the beginning of the text. */
  private toStrip: number;

  /** Errors: `decoder-unsupported`. */
  constructor(tokenizer: Tokenizer, options: DecodeOptions = {}) {
    this.tokenizer = tokenizer;
    this.skipSpecialTokens = options.skipSpecialTokens === true;
    this.decoder = streamingDecoder(tokenizer);
    this.utf8 = new TextDecoder('utf-8', { ignoreBOM: this.decoder.keepsByteOrderMark });
    this.toStrip = this.decoder.strip.count;
  }

  /** The text that has become certain by this token: '' while a character is incomplete, or for a special token left out. */
  push(id: number): string {
    const token = this.tokenizer.token(id);
    if (token === undefined || (this.skipSpecialTokens && this.tokenizer.isSpecial(id))) return '';
    const piece = this.decoder.piece(token, this.tokenizer);
    return this.strip(
      typeof piece === 'string' ? this.utf8.decode() + piece : this.utf8.decode(piece, { stream: true }),
    );
  }

  /** Ends the sequence: U+FFFD if the last character is incomplete, else ''. Afterwards the next sequence can begin. */
  flush(): string {
    const rest = this.strip(this.utf8.decode());
    this.toStrip = this.decoder.strip.count;
    return rest;
  }

  private strip(text: string): string {
    if (this.toStrip === 0) return text;
    let from = 0;
    while (from < text.length && this.toStrip > 0) {
      if (text[from] !== this.decoder.strip.character) this.toStrip = 0;
      else {
        this.toStrip--;
        from++;
      }
    }
    return text.slice(from);
  }
}

const byteLevel = z.looseObject({ type: z.literal('ByteLevel') });
const metaspace = z.looseObject({ type: z.literal('Metaspace'), replacement: z.string().default('\u2581') });
const replace = z.looseObject({
  type: z.literal('Replace'),
  pattern: z.object({ String: z.string() }),
  content: z.string(),
});
const byteFallback = z.looseObject({ type: z.literal('ByteFallback') });
const fuse = z.looseObject({ type: z.literal('Fuse') });
const strip = z.looseObject({
  type: z.literal('Strip'),
  content: z.string(),
  start: z.int().nonnegative(),
  stop: z.literal(0),
});
const sequence = z.looseObject({
  type: z.literal('Sequence'),
  decoders: z.array(z.union([replace, byteFallback, fuse, strip])),
});

const NO_STRIP = { character: '', count: 0 };

function streamingDecoder(tokenizer: Tokenizer): StreamingDecoder {
  const config = z.union([byteLevel, metaspace, sequence]).safeParse(tokenizer.decoderConfig);
  if (tokenizer.endOfWordSuffix !== '')
    throw errors.decoderUnsupported(`the end-of-word mark ${tokenizer.endOfWordSuffix}`);
  if (!config.success) throw errors.decoderUnsupported(describe(tokenizer.decoderConfig));
  const decoder = config.data;
  if (decoder.type === 'Sequence') return sequenceDecoder(decoder.decoders);
  if (decoder.type === 'ByteLevel') return { piece: byteLevelPiece, keepsByteOrderMark: true, strip: NO_STRIP };
  return {
    piece: (token) => token.replaceAll(decoder.replacement, ' '),
    keepsByteOrderMark: true,
    strip: { character: ' ', count: 1 },
  };
}

/** The usual chain of SentencePiece-like tokenizers: '▁' to spaces, then bytes to characters, then the first space away. */
function sequenceDecoder(steps: z.infer<typeof sequence>['decoders']): StreamingDecoder {
  const order = steps.map((step) => step.type).join(' ');
  // After Fuse the whole text is one piece: only then is stripping about its beginning alone.
  if (!/^(?:Replace ?)*(?:ByteFallback ?)?(?:Fuse ?(?:Strip)?)?$/.test(order)) {
    throw errors.decoderUnsupported(`the steps ${order}`);
  }
  const replacements = steps.filter((step) => step.type === 'Replace');
  const hasBytes = steps.some((step) => step.type === 'ByteFallback');
  const stripStep = steps.find((step) => step.type === 'Strip');
  return {
    piece: (token) => {
      const text = replacements.reduce((spelled, step) => spelled.replaceAll(step.pattern.String, step.content), token);
      const byte = hasBytes ? /^<0x([\dA-F]{2})>$/.exec(text) : null;
      return byte === null ? text : Uint8Array.of(Number.parseInt(byte[1]!, 16));
    },
    keepsByteOrderMark: false,
    strip: stripStep === undefined ? NO_STRIP : { character: stripStep.content, count: stripStep.start },
  };
}

const byteOfCharacter: ReadonlyMap<string, number> = new Map(
  byteAlphabet().map((character, byte) => [character, byte]),
);

/** The 256 characters by which byte-level vocabularies spell bytes (GPT-2): printable ones stand for themselves. */
export function byteAlphabet(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
    return String.fromCharCode(printable ? byte : next++);
  });
}

function byteLevelPiece(token: string, tokenizer: Tokenizer): Piece {
  if (tokenizer.isAdded(token)) return token;
  return Uint8Array.from(token, (character) => byteOfCharacter.get(character) ?? 0);
}

function describe(config: unknown): string {
  const named = z.object({ type: z.string() });
  const several = z.object({ decoders: z.array(named) }).safeParse(config);
  if (several.success) return `the steps ${several.data.decoders.map((step) => step.type).join(' ')}`;
  const one = named.safeParse(config);
  return one.success ? `the type ${one.data.type}` : 'no type';
}
