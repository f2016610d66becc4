// How far the predictions of one model are from those of another over a window of tokens. Token ids in, nats out; knows no text.
import { errors } from '../base/errors.ts';
import { argmax } from '../base/stats.ts';
import { logSumExp, windowLogits } from './perplexity.ts';
import type { Sequence } from './sequence.ts';

/**
 * D(P || Q) in nats of P = softmax(p) and Q = softmax(q), in float64: sum of P (log P - log Q). `logSumP`, `logSumQ`: `logSumExp` of p and of q.
 * NaN if a logit is; Infinity where Q excludes (-Infinity) what P does not.
 */
export function klDivergence(p: Float32Array, q: Float32Array, logSumP: number, logSumQ: number): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const logP = p[i]! - logSumP;
    const probability = Math.exp(logP);
    // What P excludes costs nothing, whatever Q says of it.
    if (probability !== 0) sum += probability * (logP - (q[i]! - logSumQ));
  }
  // It is never negative, only rounding can be.
  return Math.max(0, sum);
}

/** Two models on tokens 2..n of a window; each array holds one number a token. */
export interface WindowComparison {
  /** Negative log likelihoods in nats, as of `windowLosses`. */
  readonly referenceLosses: Float64Array;
  readonly candidateLosses: Float64Array;
  /** D(reference || candidate) in nats. */
  readonly divergences: Float64Array;
  /** Tokens for which both find the same one likeliest; of equals, the lowest id counts. */
  readonly agreements: number;
}

/**
 * Runs both sequences, which are used from their starts, over a window side by side, so that no more than the rows that a device computes at once are
 * held. The vocabularies must be the same.
 */
export function compareWindow(
  reference: Sequence,
  candidate: Sequence,
  vocabSize: number,
  window: Uint32Array,
): WindowComparison {
  const tokens = window.length - 1;
  const referenceLosses = new Float64Array(tokens);
  const candidateLosses = new Float64Array(tokens);
  const divergences = new Float64Array(tokens);
  let agreements = 0;
  let at = 0;
  const others = windowLogits(candidate, vocabSize, window);
  for (const p of windowLogits(reference, vocabSize, window)) {
    const other = others.next();
    if (other.done === true) throw errors.internal('one of two sequences ended before the other');
    const q = other.value;
    const target = window[at + 1]!;
    const [logSumP, logSumQ] = [logSumExp(p), logSumExp(q)];
    referenceLosses[at] = logSumP - p[target]!;
    candidateLosses[at] = logSumQ - q[target]!;
    divergences[at] = klDivergence(p, q, logSumP, logSumQ);
    if (argmax(p) === argmax(q)) agreements++;
    at++;
  }
  return { referenceLosses, candidateLosses, divergences, agreements };
}
