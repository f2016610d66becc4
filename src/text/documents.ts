// The token stream on which perplexity is measured: documents in order, cut into windows. Knows nothing of models.
import type { Tokenizer } from './tokenizer.ts';

/**
 * Splits `text` at zero bytes, encodes each document as BOS, its text, EOS, and puts them one after another.
 * Empty documents are left out, and those behind the one that makes the stream `enough` tokens long. `onProgress` gets the number of documents done and of all.
 */
export function encodeDocuments(
  tokenizer: Tokenizer,
  text: string,
  bos: number,
  eos: number,
  onProgress?: (done: number, total: number) => void,
  enough: number = Infinity,
): Uint32Array {
  const documents = text.split('\0').filter((document) => document !== '');
  const encoded: ArrayLike<number>[] = [];
  let length = 0;
  for (const [i, document] of documents.entries()) {
    if (length >= enough) break;
    const ids = tokenizer.encode(document, { addSpecialTokens: false });
    encoded.push(ids);
    length += ids.length + 2;
    onProgress?.(i + 1, documents.length);
  }
  const stream = new Uint32Array(length);
  let at = 0;
  for (const ids of encoded) {
    stream[at] = bos;
    stream.set(ids, at + 1);
    stream[at + 1 + ids.length] = eos;
    at += ids.length + 2;
  }
  return stream;
}

/** Consecutive views of exactly `context` tokens that do not overlap; what remains at the end is dropped. */
export function* windows(tokens: Uint32Array, context: number): Generator<Uint32Array> {
  for (let end = context; end <= tokens.length; end += context) yield tokens.subarray(end - context, end);
}
