// The network on the CPU against the float64 reference: every member of the family, long and short prompts, 16 and 4 bits.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { simdLevel, type SimdLevel } from '../cpu/kernels.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { readModelConfig } from '../formats/config.ts';
import { quantizeCheckpoint } from '../quantize/checkpoint.ts';
import { quantizeRtn } from '../quantize/rtn.ts';
import { CpuOps, type CpuOpsOptions } from './cpu.ts';
import { openModel, type OpenModelOptions } from './language-model.ts';
import { Llama } from './llama.ts';
import { readReference, referenceLogits } from './reference-llama.fixture.ts';
import { newSequence, type Sequence } from './sequence.ts';
import {
  quantizedTensors,
  readTensors,
  replaceModules,
  type Tensor,
  type TinyConfig,
  tinyModel,
  writeModel,
} from './tiny-model.fixture.ts';
import { Weights } from './weights.ts';

// Limits on ||logits - reference|| / ||reference||; the first two hold for every single token.
/** f32 arithmetic: 1.6e-6 measured. */
const EXACT_LIMIT = 1e-5;
/** 4-bit weights, activations rounded to 16 bits: 1.9e-4 measured over eight models. */
const BITS16_LIMIT = 5e-4;
/** 4-bit weights, activations rounded to 8 bits, over all tokens of a text: 0.021 measured over eight models (the 4 bits themselves cost 0.2). */
const BITS8_LIMIT = 0.04;

const VOCAB = 61;
const root = mkdtempSync(join(tmpdir(), 'llama-'));
after(() => rmSync(root, { recursive: true }));

type Rows = readonly ArrayLike<number>[];

function randomIds(count: number, seed = 1): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => random.integer(VOCAB));
}

/** Logits after each token, read at once. */
function scoreAll(sequence: Sequence, ids: readonly number[]): Float32Array[] {
  return [...sequence.score(ids)].flatMap((rows) =>
    Array.from({ length: rows.length / VOCAB }, (_, i) => rows.slice(i * VOCAB, (i + 1) * VOCAB)),
  );
}

/** Logits after each token, read one by one. */
function appendEach(sequence: Sequence, ids: readonly number[]): Float32Array[] {
  return ids.map((id) => sequence.append([id]));
}

function assertEachClose(actual: Rows, expected: Rows, limit: number): void {
  assert.equal(actual.length, expected.length);
  for (const [i, row] of actual.entries()) {
    assert.equal(row.length, expected[i]!.length);
    const error = relativeError(row, expected[i]!);
    assert.ok(error <= limit, `relative error ${error} after token ${i}`);
  }
}

function overallError(actual: Rows, expected: Rows): number {
  const flat = (rows: Rows): number[] => rows.flatMap((row) => Array.from(row));
  return relativeError(flat(actual), flat(expected));
}

function tiny(seed: number, config: Partial<TinyConfig> = {}): string {
  const model = tinyModel(seed, config);
  return writeModel(root, model.config, model.tensors);
}

/** Logits after each of `ids` as the model in `folder` gives them: the first `prompt` tokens at once, the others one by one. */
function run(
  folder: string,
  ids: readonly number[],
  options: OpenModelOptions = {},
  prompt: number = ids.length,
): Float32Array[] {
  using model = openModel(folder, { threads: 1, ...options });
  const sequence = model.newSequence();
  const scored = prompt === 0 ? [] : scoreAll(sequence, ids.slice(0, prompt));
  return [...scored, ...appendEach(sequence, ids.slice(prompt))];
}

describe('16-bit weights equal the reference, a prompt at once and then token by token', () => {
  const variants: Readonly<Record<string, Partial<TinyConfig>>> = {
    'f16, grouped queries': {},
    'bf16, the head tied to the embedding': { torch_dtype: 'bfloat16', tie_word_embeddings: true },
    'a key head for every query head': { num_key_value_heads: 4 },
    'one key head': { num_key_value_heads: 1 },
    'six query heads on two, one layer': { num_attention_heads: 6, num_hidden_layers: 1 },
    // Their products need more scratch memory than a short context does.
    'many heads': { num_attention_heads: 32 },
    'a wide MLP': { intermediate_size: 1024 },
    'all biases': { attention_bias: true, mlp_bias: true },
    'attention biases, bf16': { attention_bias: true, torch_dtype: 'bfloat16' },
    'MLP biases, tied': { mlp_bias: true, tie_word_embeddings: true },
    qwen2: { model_type: 'qwen2', rope_theta: 1e6 },
    mistral: { model_type: 'mistral', torch_dtype: 'bfloat16' },
    'a large epsilon': { rms_norm_eps: 0.1 },
    'positions scaled linearly': { rope_scaling: { type: 'linear', factor: 4 } },
    'positions scaled as in Llama 3.1': {
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 128,
      },
    },
    'sizes that are multiples of 8 only': { hidden_size: 72, intermediate_size: 104, head_dim: 96 },
  };
  for (const [name, config] of Object.entries(variants)) {
    test(name, () => {
      const folder = tiny(7, config);
      const ids = randomIds(60);
      const expected = referenceLogits(readReference(folder), ids);
      assertEachClose(run(folder, ids, {}, 45), expected, EXACT_LIMIT);
      assertEachClose(run(folder, ids, {}, 0), expected, EXACT_LIMIT);
    });
  }

  test('a whole context of 800, longer than two steps', () => {
    const folder = tiny(8, { max_position_embeddings: 800 });
    const ids = randomIds(800);
    const expected = referenceLogits(readReference(folder), ids);
    for (const prompt of [800, 385, 383]) assertEachClose(run(folder, ids, {}, prompt), expected, EXACT_LIMIT);
  });

  test('the reference sees every part of the model', () => {
    // A test of the tests: were the logits blind to a tensor, a mistake with it would pass above.
    const config = { attention_bias: true, mlp_bias: true };
    const { tensors } = tinyModel(7, config);
    const model = readReference(tiny(7, config));
    const ids = randomIds(12);
    const expected = referenceLogits(model, ids);
    for (const { name } of tensors) {
      // Adding the same to all keys changes no softmax; only the rotation makes the bias of k matter, and little.
      const least = name.endsWith('k_proj.bias') ? 1e-3 : 0.02;
      const changed = new Map(model.weights).set(name, model.weights.get(name)!.toReversed());
      const error = overallError(referenceLogits({ ...model, weights: changed }, ids), expected);
      assert.ok(error > least, `${name}: ${error}`);
    }
  });
});

describe('a sequence', () => {
  const ids = randomIds(50, 2);
  let folder = '';
  before(() => {
    folder = tiny(9);
  });

  test('append gives the last of the logits that score gives, also across steps', () => {
    using model = openModel(folder, { threads: 1 });
    for (const count of [1, 2, 13, 384, 385, 500]) {
      const text = randomIds(count, count);
      const last = scoreAll(model.newSequence(), text).slice(-1);
      // One row of logits takes another kernel than many.
      assertEachClose([model.newSequence().append(text)], last, EXACT_LIMIT);
    }
  });

  test('truncated and continued, it is the same as a fresh one', () => {
    using model = openModel(folder, { threads: 1 });
    const other = randomIds(40, 3);
    const sequence = model.newSequence();
    sequence.append(ids);
    for (const length of [33, 32, 7, 0]) {
      sequence.truncate(length);
      const fresh = model.newSequence();
      if (length > 0) fresh.append(ids.slice(0, length));
      // Bit for bit, though the first `length` tokens were read in steps of different lengths: a row does not depend on the others of its step.
      assert.deepEqual(scoreAll(sequence, other), scoreAll(fresh, other), `from ${length}`);
      sequence.truncate(length);
      sequence.append(ids.slice(length));
    }
  });

  test('two of one model do not disturb each other', () => {
    using model = openModel(folder, { threads: 1 });
    const texts = [ids, randomIds(50, 4)] as const;
    const alone = texts.map((text) => appendEach(model.newSequence(), text));
    const [a, b] = [model.newSequence(), model.newSequence()];
    for (let i = 0; i < ids.length; i++) {
      assert.deepEqual(a.append([texts[0][i]!]), alone[0]![i]);
      assert.deepEqual(b.append([texts[1][i]!]), alone[1]![i]);
    }
  });
});

describe('4-bit weights', () => {
  const ids = randomIds(100, 5);
  const biased: Partial<TinyConfig> = { model_type: 'qwen2', torch_dtype: 'bfloat16' };
  let input = '';
  let output = '';
  let channel = '';

  async function quantize(folder: string, group: number | 'channel'): Promise<string> {
    const target = join(root, `${String(group)}-${folder.slice(-6)}`);
    await quantizeCheckpoint({ input: folder, output: target, group, clip: 'none' });
    return target;
  }

  before(async () => {
    input = tiny(10, biased);
    output = await quantize(input, 32);
    channel = await quantize(tiny(11), 'channel');
  });

  /** The quantized model with some modules of the original one. */
  function mixed(keep: (tensor: Tensor) => boolean): string {
    const original = readTensors(input).filter((tensor) => tensor.name.endsWith('.weight') && keep(tensor));
    return withModules(original);
  }

  function withModules(replacement: readonly Tensor[]): string {
    const config = readModelConfig(output).raw;
    return writeModel(root, config, replaceModules(readTensors(output), replacement));
  }

  function check(folder: string, text: readonly number[] = ids): void {
    const expected = referenceLogits(readReference(folder), text);
    const prompt = text.length - 15;
    assertEachClose(run(folder, text, { activationBits: 16 }, prompt), expected, BITS16_LIMIT);
    const coarse = overallError(run(folder, text, { activationBits: 8 }, prompt), expected);
    assert.ok(coarse <= BITS8_LIMIT, `relative error ${coarse} with 8-bit activations`);
  }

  test('in groups of 32 equal the reference on the dequantized weights', () => check(output));

  test('with a scale per channel equal the reference on the dequantized weights', () => check(channel));

  test('8-bit activations are the default, and are coarser than 16-bit ones', () => {
    const few = ids.slice(0, 20);
    const [bits8, bits16] = ([8, 16] as const).map((activationBits) => run(output, few, { activationBits }));
    assert.deepEqual(run(output, few), bits8);
    assert.ok(overallError(bits8!, bits16!) > 1e-3);
  });

  test('a prompt longer than one step', () => {
    const long = randomIds(400, 6);
    const expected = referenceLogits(readReference(output), long);
    assertEachClose(run(output, long, { activationBits: 16 }), expected, BITS16_LIMIT);
  });

  for (const [name, keep] of Object.entries({
    'only q quantized': /(k|v)_proj/,
    'only q in 16 bits': /q_proj/,
    'only v in 16 bits': /v_proj/,
    'k in 16 bits between two quantized': /k_proj/,
    'gate in 16 bits, up quantized': /gate_proj/,
    'up in 16 bits, gate quantized': /up_proj/,
    'o and down in 16 bits': /(o|down)_proj/,
    'the first layer in 16 bits': /layers\.0\..*_proj/,
  })) {
    test(`mixed with 16-bit weights: ${name}`, () => check(mixed((tensor) => keep.test(tensor.name))));
  }

  test('a quantized head of an odd vocabulary', () => {
    using checkpoint = Checkpoint.open(output);
    const head = quantizeRtn(checkpoint.readFloats('lm_head.weight'), VOCAB, 64, {
      group: 32,
      clip: 'none',
      scaleDtype: 'F16',
    });
    // 145 tokens: more rows than the head computes at once, in tiles that its last rows do not fill.
    check(withModules(quantizedTensors('lm_head', head)), randomIds(160, 7));
  });

  test('one and two threads give the same bits', async () => {
    for (const folder of [input, output]) {
      for (const activationBits of [8, 16] as const) {
        using one = openModel(folder, { threads: 1, activationBits });
        using two = openModel(folder, { threads: 2, activationBits });
        await setTimeout(100); // until the helper is up: before, the caller does everything
        const [a, b] = [one.newSequence(), two.newSequence()];
        assert.deepEqual(scoreAll(b, ids), scoreAll(a, ids));
        assert.deepEqual(appendEach(b, ids.slice(0, 10)), appendEach(a, ids.slice(0, 10)));
      }
    }
  });

  const oneLevel = simdLevel() !== 'plain' ? false : 'this engine has one level of SIMD only';
  test('plain and relaxed SIMD agree', { skip: oneLevel }, () => {
    for (const folder of [input, output]) {
      const [plain, relaxed] = (['plain', 'relaxed'] as const).map((simd) => runOn(folder, ids, simd));
      assertEachClose(plain!, relaxed!, 1e-4);
    }
  });

  function runOn(folder: string, text: readonly number[], simd: SimdLevel): Float32Array[] {
    const config = readModelConfig(folder);
    const options: CpuOpsOptions = { threads: 1, context: 128, maxColumns: 128, bits: 16, simd };
    using ops = new CpuOps(options);
    assert.equal(ops.cpu.pool.simd, simd);
    using checkpoint = Checkpoint.open(folder);
    return scoreAll(newSequence(new Llama(ops, config, new Weights(checkpoint, config), 128)), text);
  }
});
