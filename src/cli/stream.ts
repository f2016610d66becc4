// Makes text in a sequence and hands it out as it becomes certain. Looks up between steps, so that Ctrl-C is heard.
import { generate, type GenerateResult } from '../model/generate.ts';
import { drawingOf, type Sampler } from '../model/sampling.ts';
import type { Sequence } from '../model/sequence.ts';
import { Detokenizer } from '../text/detokenizer.ts';
import { breathe } from './interrupt.ts';
import type { TextModel } from './open.ts';
import { type Output, withProgress } from './output.ts';

export interface StreamRequest {
  /** Tokens to read; at least one. */
  readonly prompt: Uint32Array;
  /** Tokens the sequence holds already. */
  readonly earlier: readonly number[];
  /** Whether the text goes on from the prompt, so that a space between them counts, or answers it. */
  readonly continues: boolean;
  readonly maxTokens: number;
  readonly sampler: Sampler;
  /** Called with each token and the text that became certain with it; at the end once more, with the rest of the text. */
  readonly onText: (text: string, token: number | null) => void;
}

/** Reads the prompt and makes text until something ends it. Errors: those of `generate`; the signal's reason. */
export async function stream(
  model: Pick<TextModel, 'tokenizer' | 'context' | 'eosTokenIds' | 'stepTokens'>,
  sequence: Sequence,
  request: StreamRequest,
  output: Output,
  signal: AbortSignal,
): Promise<GenerateResult> {
  const { prompt, maxTokens, sampler, onText } = request;
  const { context, eosTokenIds } = model;
  await breathe(signal);
  const ahead = await readAhead(sequence, prompt, model.stepTokens, output, signal);
  const detokenizer = new Detokenizer(model.tokenizer, { skipSpecialTokens: true });
  // Some tokenizers drop a space at the beginning of a text; after the prompt's last token it is none.
  if (request.continues) detokenizer.push(prompt[prompt.length - 1]!);
  const drawing = drawingOf(sampler.parameters, sampler.seed);
  const steps = generate(sequence, {
    prompt: prompt.subarray(ahead.tokens),
    earlier: [...request.earlier, ...prompt.subarray(0, ahead.tokens)],
    maxTokens,
    context,
    eosTokenIds,
    ...(drawing === null ? {} : { drawing }),
    sample: (logits, tokens) => sampler.sample(logits, tokens),
  });
  for (;;) {
    const step = steps.next();
    if (step.done === true) {
      onText(detokenizer.flush(), null);
      const prefillSeconds = step.value.prefillSeconds + ahead.seconds;
      return { ...step.value, promptTokens: prompt.length, prefillSeconds };
    }
    onText(detokenizer.push(step.value), step.value);
    await breathe(signal);
  }
}

/** Reads all but the last part of a long prompt, a step between two looks at the signal; the logits that follow it are of no use. */
async function readAhead(
  sequence: Sequence,
  prompt: Uint32Array,
  stepTokens: number,
  output: Output,
  signal: AbortSignal,
): Promise<{ readonly tokens: number; readonly seconds: number }> {
  return await withProgress(output, 'Reading', 'tokens', async (report) => {
    let tokens = 0;
    let milliseconds = 0;
    while (prompt.length - tokens > stepTokens) {
      const started = performance.now();
      sequence.append(prompt.subarray(tokens, tokens + stepTokens));
      milliseconds += performance.now() - started;
      tokens += stepTokens;
      report(tokens, prompt.length);
      await breathe(signal);
    }
    return { tokens, seconds: milliseconds / 1000 };
  });
}

/** Speeds in tokens a second, 0 where nothing was done. */
export function speeds(result: GenerateResult): { tokensPerSecond: number; prefillTokensPerSecond: number } {
  return {
    tokensPerSecond: rate(result.decodeSteps, result.decodeSeconds),
    prefillTokensPerSecond: rate(result.promptTokens, result.prefillSeconds),
  };
}

function rate(tokens: number, seconds: number): number {
  return seconds > 0 ? Number((tokens / seconds).toFixed(1)) : 0;
}
