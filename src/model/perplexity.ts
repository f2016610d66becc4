// Perplexity of a model over windows of tokens. Token ids in, nats out; knows no text.
import type { Sequence } from './sequence.ts';

/** Natural log of the sum of e^x, without overflow. */
export function logSumExp(values: Float32Array): number {
  let largest = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i]! > largest) largest = values[i]!;
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i]! - largest);
  return largest + Math.log(sum);
}

/**
 * Negative log likelihoods (nats) of tokens 2..n of a window, each predicted from those before it in the window:
 * -log softmax(logits)[token]. The sequence is used from its start.
 */
export function windowLosses(sequence: Sequence, vocabSize: number, window: Uint32Array): Float64Array {
  const losses = new Float64Array(window.length - 1);
  sequence.truncate(0);
  let at = 0;
  // The last token predicts nothing that is in the window.
  for (const rows of sequence.score(window.subarray(0, window.length - 1))) {
    for (let start = 0; start < rows.length; start += vocabSize, at++) {
      const row = rows.subarray(start, start + vocabSize);
      losses[at] = logSumExp(row) - row[window[at + 1]!]!;
    }
  }
  return losses;
}
