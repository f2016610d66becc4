// marlin eval: perplexity of a model on a text.
import { type Command, Option } from 'commander';
import { errors } from '../base/errors.ts';
import { windowLosses } from '../model/perplexity.ts';
import { compareModels } from './eval-compare.ts';
import { contextOf, cutWindows, DEFAULT_CONTEXT, encodeText, type EvalFlags, readText } from './eval-text.ts';
import { integer, path, withModelFlags } from './flags.ts';
import { breathe } from './interrupt.ts';
import { openFolder, openWeights, type TextModel } from './open.ts';
import { type Output, withProgress } from './output.ts';
import type { Verb } from './verb.ts';

async function run(flags: EvalFlags, output: Output, signal: AbortSignal): Promise<unknown> {
  const folder = openFolder(flags.model);
  const text = readText(flags.text);
  const context = contextOf(flags, folder.config.contextLength);
  const cut = cutWindows(await encodeText(folder, text, output), context, flags);
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

/** commander knows one value or many; the help is to name the two there are. */
function compareOption(): Option {
  const option = new Option('--compare <dirs...>', 'measure how far a model is from a reference, instead of one model')
    .argParser<readonly string[] | undefined>((value, others = []) => [...others, path('--compare')(value)])
    .conflicts('model');
  option.flags = '--compare <reference> <candidate>';
  return option;
}

export const evaluate: Verb = {
  name: 'eval',
  examples: [
    'marlin eval --text book.txt',
    'marlin eval --model ./my-model-w4 --text heldout.txt --windows 32 --json',
    'marlin eval --compare ./my-model ./my-model-w4 --text heldout.txt --windows 32 --json',
  ],
  define: (command: Command, action) =>
    withModelFlags(
      command
        .description(
          'measure the perplexity of a model on a text (a zero byte separates documents), or compare two: KL divergence a token, how often the likeliest token is the same, both perplexities',
        )
        .requiredOption('--text <file>', 'UTF-8 text to predict', path('--text'))
        .option('--windows <n>', 'only the first n windows', integer('--windows', 1))
        .addOption(compareOption()),
      {
        meaning: `tokens of a window; windows do not overlap (default: ${DEFAULT_CONTEXT}, or what the model was trained for)`,
        least: 2,
      },
    ).action((flags: EvalFlags) =>
      action((output, signal) =>
        flags.compare === undefined ? run(flags, output, signal) : compareModels(flags, flags.compare, output, signal),
      ),
    ),
};
