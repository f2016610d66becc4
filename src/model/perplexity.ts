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
 * The logits, [vocabSize], of tokens 2..n of a window, each predicted from those before it in the window. Computed a few rows at a time as they are
 * asked for. The sequence is used from its start.
 */
export function* windowLogits(sequence: Sequence, vocabSize: number, window: Uint32Array): Generator<Float32Array> {
  sequence.truncate(0);
  // The last token predicts nothing that is in the window.
  for (const rows of sequence.score(window.subarray(0, window.length - 1))) {
    for (let start = 0; start < rows.length; start += vocabSize) yield rows.subarray(start, start + vocabSize);
  }
}

/** Negative log likelihoods (nats) of tokens 2..n of a window: -log softmax(logits)[token]. The sequence is used from its start. */
export function windowLosses(sequence: Sequence, vocabSize: number, window: Uint32Array): Float64Array {
  const losses = new Float64Array(window.length - 1);
  let at = 0;
  for (const logits of windowLogits(sequence, vocabSize, window)) {
    losses[at] = logSumExp(logits) - logits[window[at + 1]!]!;
    at++;
  }
  return losses;
}
