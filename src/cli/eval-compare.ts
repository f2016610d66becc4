// marlin eval --compare: a model against a reference, both over the same windows of a text.
import { errors } from '../base/errors.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { compareWindow } from '../model/divergence.ts';
import { contextOf, cutWindows, encodeText, type EvalFlags, readText } from './eval-text.ts';
import { breathe } from './interrupt.ts';
import { bitsPerWeight, bytesOf, modulesOf } from './modules.ts';
import { type ModelFolder, openFolder, openWeights, type TextModel } from './open.ts';
import { type Output, withProgress } from './output.ts';
import { megabytes, percent, table } from './table.ts';

/**
 * `paths`: the folders of the reference and of the candidate.
 * Errors: `flag-invalid` unless there are two, `models-not-comparable`, `loss-not-finite`, those of reading a text and of opening a model.
 */
export async function compareModels(
  flags: EvalFlags,
  paths: readonly string[],
  output: Output,
  signal: AbortSignal,
): Promise<unknown> {
  const [referencePath, candidatePath, ...more] = paths;
  if (referencePath === undefined || candidatePath === undefined || more.length > 0)
    throw errors.flagInvalid('--compare', paths.join(' '), 'two folders, a reference and a candidate');
  const folders = { reference: openFolder(referencePath), candidate: openFolder(candidatePath) };
  checkVocabularies(folders);
  const text = readText(flags.text);
  const tokens = await encodeText(folders.reference, text, output);
  checkTokens(folders, tokens, await encodeText(folders.candidate, text, output));
  const context = contextOf(flags, folders.reference.config.contextLength, folders.candidate.config.contextLength);
  const cut = cutWindows(tokens, context, flags);
  using reference = await openWeights(folders.reference, flags, context, output);
  using candidate = await openWeights(folders.candidate, flags, context, output);
  const started = performance.now();
  const totals = await measure({ reference, candidate }, cut, output, signal);
  const seconds = (performance.now() - started) / 1000;
  const result = {
    klDivergence: totals.divergence / totals.tokens,
    sameTopToken: totals.agreements / totals.tokens,
    perplexityRatio: Math.exp((totals.candidateNats - totals.referenceNats) / totals.tokens),
    reference: describe(reference, totals.referenceNats / totals.tokens),
    candidate: describe(candidate, totals.candidateNats / totals.tokens),
    tokens: totals.tokens,
    windows: cut.length,
    seconds: Number(seconds.toFixed(2)),
    context,
  };
  const row = (name: 'reference' | 'candidate'): string[] => {
    const { model, device, bytes, bitsPerWeight: bits, perplexity } = result[name];
    return [name, model, device, megabytes(bytes), bits.toFixed(3), perplexity.toFixed(4)];
  };
  output.text(
    [
      table(['', 'model', 'device', 'size', 'bits a weight', 'perplexity'], [row('reference'), row('candidate')]),
      `\nKL divergence ${result.klDivergence.toFixed(4)} nats a token   same top token ${percent(result.sameTopToken)}   perplexity x ${result.perplexityRatio.toFixed(4)}\n`,
      `${totals.tokens} predictions in ${cut.length} windows of ${context}, ${Math.round(totals.tokens / seconds)} a second\n`,
    ].join(''),
  );
  return result;
}

interface Both<T> {
  readonly reference: T;
  readonly candidate: T;
}

/** Probabilities can be compared where an id is the same token in both. Errors: `models-not-comparable`. */
function checkVocabularies({ reference, candidate }: Both<ModelFolder>): void {
  const refuse = (why: string): Error => errors.modelsNotComparable(reference.path, candidate.path, why);
  const [size, otherSize] = [reference.config.vocabSize, candidate.config.vocabSize];
  if (size !== otherSize) throw refuse(`their vocabularies have ${size} and ${otherSize} tokens`);
  const spelled = (token: string | undefined): string => (token === undefined ? 'nothing' : JSON.stringify(token));
  for (let id = 0; id < Math.max(reference.tokenizer.vocabSize, candidate.tokenizer.vocabSize); id++) {
    const [token, other] = [reference.tokenizer.token(id), candidate.tokenizer.token(id)];
    if (token !== other) throw refuse(`token ${id} is ${spelled(token)} in one and ${spelled(other)} in the other`);
  }
}

/** The same vocabulary may still cut a text in other places, or begin and end it otherwise. Errors: `models-not-comparable`. */
function checkTokens({ reference, candidate }: Both<ModelFolder>, tokens: Uint32Array, others: Uint32Array): void {
  const difference = tokens.findIndex((token, i) => token !== others[i]);
  if (difference < 0 && tokens.length === others.length) return;
  const at = difference < 0 ? tokens.length : difference;
  throw errors.modelsNotComparable(
    reference.path,
    candidate.path,
    `their tokenizers encode the text differently from token ${at} on`,
  );
}

/** Sums over all predictions so far; losses and divergence in nats. */
interface Totals {
  readonly tokens: number;
  readonly referenceNats: number;
  readonly candidateNats: number;
  readonly divergence: number;
  readonly agreements: number;
}

async function measure(
  models: Both<TextModel>,
  cut: readonly Uint32Array[],
  output: Output,
  signal: AbortSignal,
): Promise<Totals> {
  const { vocabSize } = models.reference.config;
  using reference = models.reference.newSequence();
  using candidate = models.candidate.newSequence();
  return await withProgress(output, 'Comparing', 'windows', async (report) => {
    let totals: Totals = { tokens: 0, referenceNats: 0, candidateNats: 0, divergence: 0, agreements: 0 };
    for (const [i, window] of cut.entries()) {
      await breathe(signal);
      const found = compareWindow(reference, candidate, vocabSize, window);
      totals = {
        tokens: totals.tokens + window.length - 1,
        referenceNats: sum(found.referenceLosses, totals.referenceNats),
        candidateNats: sum(found.candidateLosses, totals.candidateNats),
        divergence: sum(found.divergences, totals.divergence),
        agreements: totals.agreements + found.agreements,
      };
      if (!Number.isFinite(totals.referenceNats)) throw errors.lossNotFinite(models.reference.path);
      if (!Number.isFinite(totals.candidateNats + totals.divergence)) throw errors.lossNotFinite(models.candidate.path);
      report(i + 1, cut.length, `KL divergence ${(totals.divergence / totals.tokens).toFixed(4)}`);
    }
    return totals;
  });
}

function sum(values: Float64Array, start: number): number {
  return values.reduce((total, value) => total + value, start);
}

interface Described {
  readonly model: string;
  readonly device: string;
  readonly bytes: number;
  readonly bitsPerWeight: number;
  readonly perplexity: number;
}

function describe({ path, device }: TextModel, nats: number): Described {
  using checkpoint = Checkpoint.open(path);
  const modules = modulesOf(checkpoint);
  return {
    model: path,
    device,
    bytes: bytesOf(modules),
    bitsPerWeight: bitsPerWeight(modules),
    perplexity: Math.exp(nats),
  };
}
