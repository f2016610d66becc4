// The loop that makes text: read the prompt, sample, read the sample, until something ends it. Token ids in and out; knows no text.
import { errors } from '../base/errors.ts';
import type { Drawing } from './ops.ts';
import type { Sequence } from './sequence.ts';

export interface GenerateOptions {
  /** Tokens to read before the first is sampled; the sequence may hold earlier ones already. At least one. */
  readonly prompt: ArrayLike<number>;
  /** At most this many are made. */
  readonly maxTokens: number;
  /** Positions of the sequence. */
  readonly context: number;
  readonly eosTokenIds: ReadonlySet<number>;
  /** Chooses a token from logits, given all tokens so far. */
  readonly sample: (logits: Float32Array, tokens: readonly number[]) => number;
  /** How the device draws, where it does that itself; `sample` is not called then. */
  readonly drawing?: Drawing;
  /** Tokens the sequence holds already, for the repetition penalty. */
  readonly earlier?: readonly number[];
}

export type FinishReason = 'stop' | 'length' | 'context';

export interface GenerateResult {
  readonly finishReason: FinishReason;
  /** Tokens made, the one that ended the text not counted. */
  readonly tokens: number;
  readonly promptTokens: number;
  readonly prefillSeconds: number;
  /** Time in the network for all steps after the prompt, and how many they were (the last token made is not read). */
  readonly decodeSeconds: number;
  readonly decodeSteps: number;
}

/** Yields each token as it is made and returns how it went. Errors: 'prompt-empty', 'prompt-too-long' (nothing is read then). */
export function* generate(sequence: Sequence, options: GenerateOptions): Generator<number, GenerateResult> {
  const { context, maxTokens, eosTokenIds } = options;
  const prompt = Array.from(options.prompt);
  if (sequence.length + prompt.length > context) throw errors.promptTooLong(sequence.length + prompt.length, context);
  const all = [...(options.earlier ?? []), ...prompt];
  const started = performance.now();
  let next = read(prompt);
  const prefillSeconds = (performance.now() - started) / 1000;
  let decodeMilliseconds = 0;
  let decodeSteps = 0;
  let tokens = 0;
  const end = (finishReason: FinishReason): GenerateResult => ({
    finishReason,
    tokens,
    promptTokens: prompt.length,
    prefillSeconds,
    decodeSeconds: decodeMilliseconds / 1000,
    decodeSteps,
  });
  /** Reads tokens; what follows them is told when it is asked for. */
  function read(ids: readonly number[]): () => number {
    const { drawing, sample } = options;
    if (drawing !== undefined && sequence.drawing !== undefined) {
      const token = sequence.drawing.append(ids, drawing);
      return () => token;
    }
    const logits = sequence.append(ids);
    return () => sample(logits, all);
  }

  for (;;) {
    if (tokens >= maxTokens) return end('length');
    const token = next();
    if (eosTokenIds.has(token)) return end('stop');
    all.push(token);
    tokens++;
    yield token;
    if (tokens >= maxTokens) return end('length');
    if (sequence.length >= context) return end('context');
    const resumed = performance.now();
    next = read([token]);
    decodeMilliseconds += performance.now() - resumed;
    decodeSteps++;
  }
}
