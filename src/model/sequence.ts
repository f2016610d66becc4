// One sequence of tokens in a network: what has been read, its keys and values, and the logits that follow. Knows no text.
import { errors } from '../base/errors.ts';
import type { Llama } from './llama.ts';
import type { Drawing, Kinds } from './ops.ts';

/** The face of a sequence, whatever device runs it. Dispose gives its room to the next one. */
export interface Sequence extends Disposable {
  /** Tokens read so far. */
  readonly length: number;
  /** Forgets what stands at `length` and beyond. */
  truncate(length: number): void;
  /** Reads tokens and returns the logits, [vocabSize], of what comes after the last one. Errors: 'prompt-empty', 'token-unknown', 'context-exceeded'. */
  append(ids: ArrayLike<number>): Float32Array;
  /** Where the device draws tokens itself, so that a step brings back the token and not all logits. */
  readonly drawing?: DrawingSequence;
  /** Reads tokens and yields the logits after each of them, a few rows at a time: [rows, vocabSize]. Errors as `append`. */
  score(ids: ArrayLike<number>): Iterable<Float32Array>;
}

export interface DrawingSequence {
  /** Reads tokens and returns the one that is drawn to follow. Errors as `append`, and 'logits-not-drawable'. */
  append(ids: ArrayLike<number>, drawing: Drawing): number;
}

export function newSequence<K extends Kinds>(network: Llama<K>): Sequence {
  let cache: { readonly room: K['cache'] } | null = { room: network.takeCache() };
  let length = 0;

  /** Runs the tokens step by step and yields how many each step held; its logits can be taken until the next. */
  function* steps(tokens: ArrayLike<number>): Generator<number> {
    const ids = Uint32Array.from(tokens, (token) => checkedToken(token, network.config.vocabSize));
    if (cache === null) throw errors.internal('a sequence was used after it was disposed');
    if (ids.length === 0) throw errors.promptEmpty();
    if (length + ids.length > network.context) throw errors.contextExceeded(length + ids.length, network.context);
    for (let start = 0; start < ids.length; start += network.maxTokens) {
      const part = ids.subarray(start, start + network.maxTokens);
      network.forward(part, length, cache.room);
      length += part.length;
      yield part.length;
    }
  }

  const drawing: DrawingSequence = {
    append(ids, how) {
      let last = 0;
      for (const tokens of steps(ids)) last = tokens;
      return network.draw(last - 1, how);
    },
  };

  return {
    ...(network.draws ? { drawing } : {}),
    get length() {
      return length;
    },
    truncate(to) {
      if (!(Number.isInteger(to) && to >= 0)) throw errors.internal(`a sequence cannot be cut to ${to} tokens`);
      length = Math.min(length, to);
    },
    append(ids) {
      let last = 0;
      for (const tokens of steps(ids)) last = tokens;
      for (const logits of network.logits(last - 1, 1)) return logits;
      throw errors.internal('a step without logits');
    },
    *score(ids) {
      for (const tokens of steps(ids)) yield* network.logits(0, tokens);
    },
    [Symbol.dispose]() {
      if (cache !== null) network.returnCache(cache.room);
      cache = null;
    },
  };
}

/** An id beyond the vocabulary would read past the embedding's end. */
function checkedToken(token: number, vocabSize: number): number {
  if (!(Number.isInteger(token) && token >= 0 && token < vocabSize)) throw errors.tokenUnknown(token, vocabSize);
  return token;
}
