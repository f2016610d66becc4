// marlin generate: continues a text.
import { addAbortSignal, type Readable } from 'node:stream';
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import { errors } from '../base/errors.ts';
import type { FinishReason } from '../model/generate.ts';
import { Sampler } from '../model/sampling.ts';
import {
  freshSeed,
  type ModelFlags,
  samplingParameters,
  type SamplingFlags,
  withModelFlags,
  withSamplingFlags,
} from './flags.ts';
import { openFolder, openWeights } from './open.ts';
import type { Output } from './output.ts';
import { speeds, stream } from './stream.ts';
import type { Verb } from './verb.ts';

interface GenerateFlags extends ModelFlags, SamplingFlags {}

const ENDS: Readonly<Record<FinishReason, string>> = {
  stop: 'the model ended the text',
  length: '--max-tokens reached',
  context: 'the context is full',
};

async function run(argument: string, flags: GenerateFlags, output: Output, signal: AbortSignal): Promise<unknown> {
  const folder = openFolder(flags.model);
  const seed = flags.seed ?? freshSeed();
  const sampler = new Sampler(samplingParameters(flags, folder.defaults), seed);
  const prompt = argument === '-' ? await readPrompt(output.streams.stdin, signal) : argument;
  const ids = folder.tokenizer.encode(prompt);
  const trained = folder.config.contextLength;
  // Keys and values are planned for the whole context: no more than this text can need.
  const context = flags.context ?? Math.min(trained, ids.length + flags.maxTokens);
  if (ids.length === 0) throw errors.promptEmpty();
  if (ids.length > context) throw errors.promptTooLong(ids.length, context, trained);
  using model = await openWeights(folder, flags, context, output);
  using sequence = model.newSequence();
  let text: string | null = null;
  const result = await stream(
    model,
    sequence,
    {
      prompt: ids,
      earlier: [],
      continues: true,
      maxTokens: flags.maxTokens,
      sampler,
      onText: (piece) => {
        output.text(text === null ? prompt + piece : piece);
        text = (text ?? '') + piece;
      },
    },
    output,
    signal,
  ).finally(() => text === null || output.text('\n'));
  const { tokens, promptTokens, finishReason } = result;
  const { tokensPerSecond, prefillTokensPerSecond } = speeds(result);
  output.note(
    `${promptTokens} tokens read at ${prefillTokensPerSecond}/s, ${tokens} made at ${tokensPerSecond}/s on ${model.device}; ${ENDS[finishReason]}; seed ${seed}`,
  );
  return {
    text,
    tokens,
    promptTokens,
    tokensPerSecond,
    prefillTokensPerSecond,
    device: model.device,
    model: model.path,
    finishReason,
    seed,
  };
}

/** All of standard input, without the line end that `echo` and editors put at its end. */
async function readPrompt(stdin: Readable, signal: AbortSignal): Promise<string> {
  try {
    return (await readAll(addAbortSignal(signal, stdin))).replace(/\r?\n$/, '');
  } catch (cause) {
    signal.throwIfAborted();
    throw errors.fileUnreadable('Standard input', cause);
  }
}

export const generate: Verb = {
  name: 'generate',
  examples: [
    'marlin generate "Once upon a time"',
    'marlin generate "Once upon a time" --seed 7 --max-tokens 50 --json',
    'marlin generate "The law of gravity" --model ./my-model --temperature 0',
    'marlin generate - < opening.txt',
  ],
  define: (command: Command, action) =>
    withSamplingFlags(
      withModelFlags(
        command
          .description('continue a text')
          .argument('<prompt>', 'the text to continue; - reads it from standard input; "" starts from nothing'),
        { meaning: 'most tokens of prompt and text together (default: as many as they need)', least: 1 },
      ),
      200,
    ).action((prompt: string, flags: GenerateFlags) => action((output, signal) => run(prompt, flags, output, signal))),
};
