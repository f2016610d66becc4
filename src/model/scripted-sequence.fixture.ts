// Test support, used by tests only: a sequence without a network, which answers with logits that are given.
import type { Sequence } from './sequence.ts';

/** Scores with the rows of `logits`, [tokens, vocabSize], `rows` at a time, and writes down in `log` what it was asked. */
export function scriptedSequence(logits: Float32Array, vocabSize: number, rows: number, log: string[] = []): Sequence {
  let length = 99;
  return {
    get length() {
      return length;
    },
    truncate(to) {
      log.push(`truncate ${to}`);
      length = to;
    },
    append() {
      throw new Error('not to be called');
    },
    [Symbol.dispose]() {},
    *score(ids) {
      log.push(`score ${Array.from(ids).join(' ')}`);
      length += ids.length;
      for (let at = 0; at < ids.length; at += rows) {
        log.push(`row ${at}`);
        yield logits.subarray(at * vocabSize, Math.min(at + rows, ids.length) * vocabSize);
      }
    },
  };
}
