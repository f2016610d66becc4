// The next token from logits: penalty, temperature, top-k, top-p, min-p in the order of Hugging Face transformers. Pure arithmetic.
import { errors } from '../base/errors.ts';
import { Random } from '../base/random.ts';
import type { Drawing } from './ops.ts';

/** How the next token is drawn. Each neutral value switches its rule off; all together draw from the model's own distribution. */
export interface SamplingParameters {
  /** Logits are divided by it. From 0; 0 always takes the largest logit; neutral 1. */
  readonly temperature: number;
  /** Only the k largest logits stay, and all that equal the smallest of them. A whole number; neutral 0. */
  readonly topK: number;
  /** Only the most probable tokens stay, until their probabilities reach this sum. In (0, 1]; neutral 1. */
  readonly topP: number;
  /** Only tokens stay that are at least this fraction as probable as the most probable one. In [0, 1]; neutral 0. */
  readonly minP: number;
  /** Logits of tokens in the text so far are divided by it if positive, else multiplied. Above 0; neutral 1. */
  readonly repetitionPenalty: number;
}

export const neutralSampling: SamplingParameters = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

/** Errors: `sampling-invalid`, naming the parameter as it is spelled in `SamplingParameters`. */
export function checkSampling(parameters: SamplingParameters): void {
  const { temperature, topK, topP, minP, repetitionPenalty } = parameters;
  const require = (valid: boolean, name: keyof SamplingParameters, expected: string): void => {
    if (!valid) throw errors.samplingInvalid(name, parameters[name], expected);
  };
  require(temperature >= 0 && temperature < Infinity, 'temperature', 'a number from 0 on, such as 0.8');
  require(Number.isSafeInteger(topK) && topK >= 0, 'topK', 'a whole number, such as 40, or 0 for no limit');
  require(topP > 0 && topP <= 1, 'topP', 'a number above 0 and up to 1, such as 0.95');
  require(minP >= 0 && minP <= 1, 'minP', 'a number from 0 to 1, such as 0.05');
  require(repetitionPenalty > 0 && repetitionPenalty < Infinity, 'repetitionPenalty', 'a number above 0, such as 1.1');
}

/** The same for a device that draws itself; null where it cannot, with a penalty. Its random numbers are others than those of `Sampler`. */
export function drawingOf(parameters: SamplingParameters, seed: number): Drawing | null {
  const { temperature, topK, topP, minP, repetitionPenalty } = parameters;
  if (repetitionPenalty !== 1) return null;
  return { temperature, topK, topP, minP, seed: [seed % 2 ** 32, Math.floor(seed / 2 ** 32)] };
}

/** Draws the tokens of one sequence. Equal seeds and logits give equal tokens on every machine with the same `Math.exp`. */
export class Sampler {
  readonly parameters: SamplingParameters;
  readonly seed: number;
  private readonly random: Random;
  // Scratch of the size of the vocabulary, so that a step allocates nothing.
  private scores = new Float32Array(0);
  /** The step in which a token was last penalized. */
  private penalizedIn = new Uint32Array(0);
  private step = 0;
  /** Tokens still possible, in order of their ids, and the weight of each: its probability up to a common factor. */
  private ids = new Uint32Array(0);
  private weights = new Float64Array(0);
  private heap = new Uint32Array(0);

  /** `seed`: any integer from 0 to 2^53 - 1. Errors: `sampling-invalid`. */
  constructor(parameters: SamplingParameters, seed: number) {
    checkSampling(parameters);
    this.parameters = parameters;
    this.seed = seed;
    this.random = new Random(seed);
  }

  /**
   * The next token. `logits` [vocabulary] f32 stay as they are; -Infinity rules a token out. `recent`: the tokens so far, for
   * the penalty. The draw inverts the cumulative distribution in order of token ids, with one uniform number a token;
   * temperature 0 takes the first of the largest logits and no number. For 128,000 tokens a draw takes 0.7 ms with top-k 40, 2 ms
   * with top-p on a usual distribution, 25 ms with top-p alone on one that is nearly flat.
   * Errors: `logits-not-finite` for NaN or +Infinity, `no-token-possible`.
   */
  sample(logits: Float32Array, recent: ArrayLike<number>): number {
    const { temperature, topK, topP, minP } = this.parameters;
    if (this.scores.length !== logits.length) this.allocate(logits.length);
    this.scores.set(logits);
    this.penalize(recent);
    const best = checkedArgmax(this.scores);
    if (temperature === 0) return best;

    const largest = this.scores[best]!;
    let count = this.gather(topK > 0 && topK < logits.length ? this.kthLargest(topK) : -Infinity);
    for (let i = 0; i < count; i++) this.weights[i] = Math.exp((this.scores[this.ids[i]!]! - largest) / temperature);
    if (topP < 1) count = this.keepNucleus(count, topP);
    if (minP > 0) count = this.keep(count, (i) => this.weights[i]! >= minP);
    return this.draw(count);
  }

  private allocate(vocabulary: number): void {
    this.scores = new Float32Array(vocabulary);
    this.penalizedIn = new Uint32Array(vocabulary);
    this.ids = new Uint32Array(vocabulary);
    this.weights = new Float64Array(vocabulary);
    this.heap = new Uint32Array(vocabulary);
    this.step = 0;
  }

  /** Each token counts once, however often it came. Keskar and others 2019 (CTRL), as in transformers. */
  private penalize(recent: ArrayLike<number>): void {
    const { repetitionPenalty } = this.parameters;
    if (repetitionPenalty === 1) return;
    this.step++;
    for (let i = 0; i < recent.length; i++) {
      const token = recent[i]!;
      if (this.penalizedIn[token] === this.step) continue;
      this.penalizedIn[token] = this.step;
      const score = this.scores[token]!;
      this.scores[token] = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
    }
  }

  /** Fills `ids` with the tokens whose score is at least `floor`, without those ruled out; returns how many. */
  private gather(floor: number): number {
    let count = 0;
    for (let id = 0; id < this.scores.length; id++) {
      const score = this.scores[id]!;
      if (score >= floor && score > -Infinity) this.ids[count++] = id;
    }
    return count;
  }

  /** The k-th largest score: the root of a min-heap of the k largest, which most scores do not enter. */
  private kthLargest(k: number): number {
    const heap = this.weights; // not in use yet
    for (let i = 0; i < k; i++) heap[i] = this.scores[i]!;
    for (let i = (k >>> 1) - 1; i >= 0; i--) siftSmallest(heap, i, k);
    for (let i = k; i < this.scores.length; i++) {
      if (this.scores[i]! <= heap[0]!) continue;
      heap[0] = this.scores[i]!;
      siftSmallest(heap, 0, k);
    }
    return heap[0]!;
  }

  /** Top-p: a token stays while the tokens before it, by score and then by id, sum to less than `topP`. */
  private keepNucleus(count: number, topP: number): number {
    const { scores, ids, weights, heap } = this;
    const total = sum(weights, count);
    // Tokens below this sum to less than 1 - topP even if all are: none of them can stay. It leaves a short list to order.
    const least = (0.5 * (1 - topP) * total) / count;
    let size = 0;
    for (let i = 0; i < count; i++) if (weights[i]! >= least) heap[size++] = i;

    const precedes = (a: number, b: number): boolean => {
      const difference = scores[ids[a]!]! - scores[ids[b]!]!;
      return difference > 0 || (difference === 0 && a < b);
    };
    for (let i = (size >>> 1) - 1; i >= 0; i--) siftFirst(heap, i, size, precedes);
    let last = heap[0]!;
    for (let reached = 0; reached < topP * total && size > 0;) {
      last = heap[0]!;
      reached += weights[last]!;
      heap[0] = heap[--size]!;
      siftFirst(heap, 0, size, precedes);
    }
    const floor = scores[ids[last]!]!;
    return this.keep(count, (i) => scores[ids[i]!]! > floor || (scores[ids[i]!] === floor && i <= last));
  }

  /** Shortens `ids` and `weights` to the places that `stays` accepts; returns how many. */
  private keep(count: number, stays: (place: number) => boolean): number {
    const { ids, weights } = this;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      if (!stays(i)) continue;
      ids[kept] = ids[i]!;
      weights[kept++] = weights[i]!;
    }
    return kept;
  }

  private draw(count: number): number {
    const target = this.random.uniform() * sum(this.weights, count);
    let chosen = this.ids[0]!;
    let reached = 0;
    for (let i = 0; i < count && reached <= target; i++) {
      chosen = this.ids[i]!;
      reached += this.weights[i]!;
    }
    return chosen;
  }
}

/** The first index of the largest score. Errors: `logits-not-finite`, `no-token-possible`. */
function checkedArgmax(scores: Float32Array): number {
  let best = -1;
  let largest = -Infinity;
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i]!;
    if (!(score < Infinity)) throw errors.logitsNotFinite(i, score);
    if (score > largest) {
      largest = score;
      best = i;
    }
  }
  if (best === -1) throw errors.noTokenPossible();
  return best;
}

function sum(values: Float64Array, count: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += values[i]!;
  return total;
}

/** Restores a min-heap of `size` values whose entry at `at` may be too large. */
function siftSmallest(heap: Float64Array, at: number, size: number): void {
  const moved = heap[at]!;
  for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= moved) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = moved;
}

/** The same for a heap of places, the first of them by `precedes` at its root. */
function siftFirst(heap: Uint32Array, at: number, size: number, precedes: (a: number, b: number) => boolean): void {
  const moved = heap[at]!;
  for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && precedes(heap[child + 1]!, heap[child]!)) child++;
    if (!precedes(heap[child]!, moved)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = moved;
}
