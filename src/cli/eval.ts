// marlin eval: perplexity of a model on a text.
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { errors } from '../base/errors.ts';
import { reading } from '../formats/files.ts';
import { windowLosses } from '../model/perplexity.ts';
import { encodeDocuments, windows } from '../text/documents.ts';
import { integer, type ModelFlags, path, withModelFlags } from './flags.ts';
import { breathe } from './interrupt.ts';
import { type ModelFolder, openFolder, openWeights, type TextModel } from './open.ts';
import { type Output, withProgress } from './output.ts';
import type { Verb } from './verb.ts';

interface EvalFlags extends ModelFlags {
  readonly text: string;
  readonly windows?: number;
}

/** Long enough for the context to help, short enough for every model; --context takes others. */
const DEFAULT_CONTEXT = 1024;

async function run(flags: EvalFlags, output: Output, signal: AbortSignal): Promise<unknown> {
  const folder = openFolder(flags.model);
  const text = readText(flags.text);
  const context = flags.context ?? Math.min(folder.config.contextLength, DEFAULT_CONTEXT);
  const tokens = await withProgress(output, 'Encoding', 'documents', async (report) =>
    encodeText(folder, text, report),
  );
  const cut = [...windows(tokens, context)].slice(0, flags.windows ?? Infinity);
  if (cut.length === 0) throw errors.evalTextShort(flags.text, tokens.length, context);
  using model = await openWeights(folder, flags, context, output);
  const started = performance.now();
  const loss = await measure(model, cut, output, signal);
  const seconds = (performance.now() - started) / 1000;
  const result = {
    perplexity: perplexityOf(loss),
    bitsPerByte: loss.nats / Math.LN2 / loss.bytes,
    tokens: loss.tokens,
    windows: cut.length,
    seconds: Number(seconds.toFixed(2)),
    context,
    device: model.device,
    model: model.path,
  };
  output.text(
    `perplexity ${result.perplexity.toFixed(4)}   ${result.bitsPerByte.toFixed(4)} bits a byte\n${loss.tokens} predictions in ${cut.length} windows of ${context}, ${Math.round(loss.tokens / seconds)} a second on ${model.device}\n`,
  );
  return result;
}

function readText(file: string): string {
  const bytes = reading(file, () => readFileSync(file));
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw errors.textNotUtf8(file);
  }
}

function encodeText(folder: ModelFolder, text: string, report: (done: number, total: number) => void): Uint32Array {
  const defaults = folder.defaults.eosTokenIds;
  // The first of the model's end tokens is the end of a text; others end a turn.
  const eos = [...defaults, ...folder.config.eosTokenIds][0];
  if (eos === undefined) throw errors.evalTokensMissing(folder.path);
  return encodeDocuments(folder.tokenizer, text, folder.tokenizer.bosTokenId ?? eos, eos, report);
}

/** What predicting cost so far. */
interface Loss {
  readonly nats: number;
  readonly tokens: number;
  /** Of the text that was predicted. */
  readonly bytes: number;
}

function perplexityOf({ nats, tokens }: Loss): number {
  return Math.exp(nats / tokens);
}

async function measure(
  model: TextModel,
  cut: readonly Uint32Array[],
  output: Output,
  signal: AbortSignal,
): Promise<Loss> {
  using sequence = model.newSequence();
  return await withProgress(output, 'Evaluating', 'windows', async (report) => {
    let loss: Loss = { nats: 0, tokens: 0, bytes: 0 };
    for (const [i, window] of cut.entries()) {
      await breathe(signal);
      const nats = windowLosses(sequence, model.config.vocabSize, window).reduce((sum, one) => sum + one, loss.nats);
      if (!Number.isFinite(nats)) throw errors.lossNotFinite(model.path);
      const text = model.tokenizer.decode(window.subarray(1), { skipSpecialTokens: true });
      loss = { nats, tokens: loss.tokens + window.length - 1, bytes: loss.bytes + Buffer.byteLength(text) };
      report(i + 1, cut.length, `perplexity ${perplexityOf(loss).toFixed(3)}`);
    }
    return loss;
  });
}

export const evaluate: Verb = {
  name: 'eval',
  examples: ['marlin eval --text book.txt', 'marlin eval --model ./my-model-w4 --text heldout.txt --windows 32 --json'],
  define: (command: Command, action) =>
    withModelFlags(
      command
        .description('measure the perplexity of a model on a text (a zero byte separates documents)')
        .requiredOption('--text <file>', 'UTF-8 text to predict', path('--text'))
        .option('--windows <n>', 'only the first n windows', integer('--windows', 1)),
      {
        meaning: `tokens of a window; windows do not overlap (default: ${DEFAULT_CONTEXT}, or what the model was trained for)`,
        least: 2,
      },
    ).action((flags: EvalFlags) => action((output, signal) => run(flags, output, signal))),
};
