import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { z } from 'zod';
import { encodeF16 } from '../base/f16.ts';
import { quantizeCheckpoint } from '../quantize/checkpoint.ts';
import { readTensors, tinyModel, writeModel } from '../model/tiny-model.fixture.ts';
import { embeddedModel } from './flags.ts';
import { openFolder, openWeights } from './open.ts';
import { createOutput } from './output.ts';
import { errorCodeOf, jsonOf, marlinHere, temporaryFolder, writeSourceModel } from './run-marlin.fixture.ts';

const root = temporaryFolder();
const book = join(root, 'book.txt');
writeFileSync(
  book,
  'Once upon a time there was a fox who lived in the woods. Every morning it went to the river. '.repeat(9),
);

const source = writeSourceModel(root, { max_position_embeddings: 64 });
const quantized = join(root, 'w4');
await quantizeCheckpoint({ input: source, output: quantized, group: 32, clip: 'none' });

const CONTEXT = 32;
/** Windows short enough for a slow definition to follow; 8 bits round the activations of one token and of many differently. */
const short = ['--text', book, '--context', String(CONTEXT), '--windows', '3', '--activation-bits', '16'];

const sideSchema = z.strictObject({
  model: z.string(),
  device: z.literal('cpu'),
  bytes: z.int().positive(),
  bitsPerWeight: z.number(),
  perplexity: z.number(),
});
const resultSchema = z.strictObject({
  klDivergence: z.number(),
  sameTopToken: z.number(),
  perplexityRatio: z.number(),
  reference: sideSchema,
  candidate: sideSchema,
  tokens: z.int(),
  windows: z.int(),
  seconds: z.number(),
  context: z.int(),
});

async function compare(...line: readonly string[]): Promise<z.infer<typeof resultSchema>> {
  const ran = await marlinHere(['eval', '--compare', ...line, '--json']);
  assert.deepEqual([ran.code, ran.stderr], [0, ''], ran.stdout);
  return resultSchema.parse(jsonOf(ran));
}

/** Log probabilities after each token but the last of the first windows of the book: [predictions][vocabulary]. */
async function logProbabilities(folderPath: string): Promise<number[][]> {
  const folder = openFolder(folderPath);
  const flags = { model: folderPath, device: 'cpu', activationBits: 16 } as const;
  using model = await openWeights(folder, flags, CONTEXT, createOutput(process, true));
  using sequence = model.newSequence();
  const ids = [0, ...folder.tokenizer.encode(readFileSync(book, 'utf8'), { addSpecialTokens: false })];
  return [0, 1, 2].flatMap((window) => {
    sequence.truncate(0);
    return ids.slice(window * CONTEXT, (window + 1) * CONTEXT - 1).map((id) => {
      const logits = Array.from(sequence.append([id]));
      const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
      return logits.map((logit) => logit - total);
    });
  });
}

describe('the result', () => {
  test('is what the logits of the two models say', async () => {
    const [p, q] = [await logProbabilities(source), await logProbabilities(quantized)];
    const mean = (of: (i: number) => number): number => p.reduce((sum, _, i) => sum + of(i), 0) / p.length;
    const top = (row: readonly number[]): number => row.indexOf(Math.max(...row));
    const result = await compare(source, quantized, ...short);
    assert.deepEqual([result.tokens, result.windows, result.context], [p.length, 3, CONTEXT]);
    const divergence = mean((i) => p[i]!.reduce((sum, one, token) => sum + Math.exp(one) * (one - q[i]![token]!), 0));
    assert.ok(result.klDivergence > 0.001);
    assert.ok(Math.abs(result.klDivergence / divergence - 1) < 1e-3, `${result.klDivergence} and ${divergence}`);
    assert.ok(result.sameTopToken > 0 && result.sameTopToken < 1);
    const same = mean((i) => (top(p[i]!) === top(q[i]!) ? 1 : 0));
    // One prediction in a hundred may have two tokens that are as likely but for the order of sums.
    assert.ok(Math.abs(result.sameTopToken - same) <= 0.01, `${result.sameTopToken} and ${same}`);
  });

  test('has the perplexities that each model has alone', async () => {
    const { reference, candidate, perplexityRatio } = await compare(source, quantized, ...short);
    for (const { model, perplexity } of [reference, candidate]) {
      const alone = jsonOf(await marlinHere(['eval', '--model', model, ...short, '--json']));
      assert.equal(perplexity, alone['perplexity']);
    }
    assert.ok(Math.abs(perplexityRatio - candidate.perplexity / reference.perplexity) < 1e-12);
  });

  test('tells what the two are', async () => {
    const { reference, candidate } = await compare(source, quantized, ...short);
    assert.deepEqual([reference.model, candidate.model], [source, quantized]);
    assert.equal(reference.bitsPerWeight, 16);
    // A scale for 32 weights is half a bit each; the rest is the shape that a matrix carries.
    assert.ok(candidate.bitsPerWeight > 4.5 && candidate.bitsPerWeight < 4.6, String(candidate.bitsPerWeight));
    const bytes = (folder: string): number => readTensors(folder).reduce((sum, tensor) => sum + tensor.bytes.length, 0);
    assert.deepEqual([reference.bytes, candidate.bytes], [bytes(source), bytes(quantized)]);
  });

  test('a model is no distance from itself', async () => {
    const result = await compare(quantized, quantized, '--text', book, '--context', '32');
    assert.deepEqual([result.klDivergence, result.sameTopToken, result.perplexityRatio], [0, 1, 1]);
    assert.deepEqual(result.reference, result.candidate);
  });

  test('for people: a table of the two, and two lines', async () => {
    const { code, stdout } = await marlinHere(['eval', '--compare', source, quantized, ...short]);
    assert.equal(code, 0);
    const [header = '', rule = '', first = '', second = '', ...lines] = stdout.split('\n');
    assert.match(header, /^ +model +device +size +bits a weight +perplexity$/);
    assert.match(rule, /^[─ ]+$/);
    assert.ok(first.startsWith(`reference  ${source} `) && second.startsWith(`candidate  ${quantized} `), stdout);
    assert.match(first, / cpu +[\d.]+ MB +16\.000 +\d+\.\d{4}$/);
    const [gap, divergence, count, end, ...rest] = lines;
    assert.deepEqual([gap, end, rest], ['', '', []]);
    assert.match(
      divergence!,
      /^KL divergence \d\.\d{4} nats a token {3}same top token \d+\.\d\d % {3}perplexity x \d\.\d{4}$/,
    );
    assert.match(count!, /^93 predictions in 3 windows of 32, \d+ a second$/);
  });

  test('windows are as long as both models allow', async () => {
    const shorter = writeSourceModel(root, { max_position_embeddings: 48 });
    for (const pair of [
      [source, shorter],
      [shorter, source],
    ])
      assert.equal((await compare(...pair, '--text', book)).context, 48);
  });
});

async function refused(code: string, ...line: readonly string[]): Promise<string> {
  const ran = await marlinHere(['eval', '--text', book, ...line]);
  assert.deepEqual([ran.code, ran.stdout], [2, ''], ran.stderr);
  assert.ok(ran.stderr.includes(`[${code}]`), ran.stderr);
  const json = await marlinHere(['eval', '--text', book, ...line, '--json']);
  assert.deepEqual([json.code, errorCodeOf(json), json.stderr], [2, code, '']);
  return ran.stderr;
}

describe('the command line', () => {
  test('one folder, or three', async () => {
    const two = /expected two folders, a reference and a candidate/;
    assert.match(await refused('flag-invalid', '--compare', source), two);
    assert.match(await refused('flag-invalid', '--compare', source, quantized, source), two);
  });
  test('none', async () => {
    assert.match(await refused('command-invalid', '--compare'), /'--compare <reference> <candidate>' argument missing/);
  });
  test('an empty one', async () => {
    await refused('path-empty', '--compare', source, '');
  });
  test('--model besides', async () => {
    assert.match(
      await refused('command-invalid', '--compare', source, quantized, '--model', source),
      /'--compare <reference> <candidate>' cannot be used with option '-m, --model <dir>'/,
    );
  });
});

/** A copy of the model whose file `name` is changed. */
function altered(name: string, change: (text: string) => string): string {
  const folder = mkdtempSync(join(root, 'altered-'));
  cpSync(source, folder, { recursive: true });
  const path = join(folder, name);
  const before = readFileSync(path, 'utf8');
  const after = change(before);
  assert.notEqual(after, before);
  writeFileSync(path, after);
  return folder;
}

describe('models that cannot be compared', () => {
  const refuse = async (candidate: string, why: RegExp): Promise<void> => {
    assert.match(await refused('models-not-comparable', '--compare', source, candidate), why);
    await refused('models-not-comparable', '--compare', candidate, source);
  };
  test('vocabularies of two sizes', async () => {
    await refuse(writeSourceModel(root, { vocab_size: 8200 }), /vocabularies have 8192 and 8200 tokens/);
  });
  test('an id that is another token', async () => {
    const other = altered('tokenizer.json', (text) => text.replace('"!":6,"\\"":7', '"!":7,"\\"":6'));
    await refuse(other, /token 6 is "!" in one and "\\"" in the other/);
  });
  test('the same tokens, another cut', async () => {
    const mergeless = altered('tokenizer.json', (text) => {
      const json: unknown = JSON.parse(text);
      const { model, ...rest } = z.looseObject({ model: z.looseObject({ merges: z.array(z.unknown()) }) }).parse(json);
      return JSON.stringify({ ...rest, model: { ...model, merges: model.merges.slice(1) } });
    });
    await refuse(mergeless, /encode the text differently from token \d+ on/);
  });
  test('another token that begins a text', async () => {
    const other = altered('tokenizer_config.json', (text) =>
      text.replace('"bos_token": "<|begin_of_text|>"', '"bos_token": "<|pad|>"'),
    );
    await refuse(other, /encode the text differently from token 0 on/);
  });
  test('a context that is beyond one of them', async () => {
    const shorter = writeSourceModel(root, { max_position_embeddings: 32 });
    await refused('context-too-long', '--compare', source, shorter, '--context', '64');
  });
  test('a candidate that computes no numbers is named', async () => {
    const { config, tensors } = tinyModel(1, { vocab_size: 8192, tie_word_embeddings: true });
    const broken = tensors.map((tensor) => {
      if (tensor.name !== 'model.norm.weight') return tensor;
      const bits = new Uint16Array(tensor.bytes.length / 2);
      encodeF16(new Float32Array(bits.length).fill(Infinity), bits);
      return { ...tensor, bytes: new Uint8Array(bits.buffer) };
    });
    const folder = writeModel(root, config, broken);
    for (const file of ['tokenizer.json', 'tokenizer_config.json'])
      copyFileSync(join(embeddedModel, file), join(folder, file));
    const stderr = await refused('loss-not-finite', '--compare', source, folder, '--context', '32', '--windows', '1');
    assert.ok(stderr.includes(`The model ${folder} computed`), stderr);
  });
});
