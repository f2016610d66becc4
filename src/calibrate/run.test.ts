// Quantizing small models by second order: it loses less than rounding, goes on where it was stopped, and gives the same bytes however it ran.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { SimulatedDevice } from '../device/simulated.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { readModelConfig } from '../formats/config.ts';
import { quantizedModules, readQuantized } from '../formats/modules.ts';
import { dequantize, unpackCodes } from '../formats/quantized.ts';
import { openModel } from '../model/language-model.ts';
import { type TinyConfig, tinyModel, writeModel } from '../model/tiny-model.fixture.ts';
import { quantizeCheckpoint } from '../quantize/checkpoint.ts';
import { type CalibrateOptions, type CalibratedRecipe, quantizeCalibrated } from './run.ts';

const root = mkdtempSync(join(tmpdir(), 'calibrate-'));
after(() => rmSync(root, { recursive: true }));
let outputs = 0;
const newOutput = (): string => join(root, `out-${outputs++}`);

function tiny(changes: Partial<TinyConfig> = {}): string {
  const { config, tensors } = tinyModel(3, changes);
  return writeModel(root, config, tensors);
}

function randomWindows(count: number, length: number, seed = 1): readonly Uint32Array[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => Uint32Array.from({ length }, () => random.integer(61)));
}

const GPTQ: CalibratedRecipe = {
  codes: { group: 32, symmetric: true, clip: 'gptq' },
  prune: false,
  damp: 0.1,
  actOrder: false,
};

function run(input: string, changes: Partial<CalibrateOptions> = {}) {
  return quantizeCalibrated({
    input,
    output: newOutput(),
    format: 'compressed-tensors',
    producer: 'test:1',
    recipe: GPTQ,
    windows: randomWindows(6, 48),
    threads: 1,
    ...changes,
  });
}

/** Logits of a text that nobody calibrated with. */
function logitsOf(folder: string): Float32Array {
  using model = openModel(folder, { threads: 1, activationBits: 16, context: 64 });
  const rows = [...model.newSequence().score(randomWindows(1, 60, 9)[0]!)];
  return Float32Array.from(rows.flatMap((row) => [...row]));
}

const bytesOf = (folder: string): Uint8Array => readFileSync(join(folder, 'model.safetensors'));

/** All quantized weights as numbers. */
function weightsOf(folder: string): Map<string, Float32Array> {
  using checkpoint = Checkpoint.open(folder);
  const { quantization } = readModelConfig(folder);
  return new Map(
    quantizedModules(checkpoint).map(({ name }) => [name, dequantize(readQuantized(checkpoint, name, quantization!))]),
  );
}

describe('a model', () => {
  const variants: Readonly<Record<string, Partial<TinyConfig>>> = {
    'f16, grouped queries': {},
    'bf16, tied, with all biases': {
      torch_dtype: 'bfloat16',
      tie_word_embeddings: true,
      attention_bias: true,
      mlp_bias: true,
    },
  };
  for (const [name, config] of Object.entries(variants)) {
    test(`${name}: loses less by second order than by rounding`, async () => {
      const input = tiny(config);
      const rtn = newOutput();
      await quantizeCheckpoint({ input, output: rtn, group: 32, clip: 'none' });
      const { output, tensors, totals } = await run(input);
      assert.equal(tensors.length, 14);
      assert.equal(totals.quantizedTensors, 14);
      const exact = logitsOf(input);
      const [ours, theirs] = [output, rtn].map((folder) => relativeError(logitsOf(folder), exact));
      assert.ok(ours! < 0.85 * theirs!, `${ours} after calibration, ${theirs} rounded`);
      assert.ok(tensors.every(({ relativeError: error, damp }) => error > 0 && error < 0.3 && damp === 0.1));
      assert.ok(!existsSync(`${output}.work`), 'unfinished work goes when it is finished');
    });
  }

  test('is the same bytes with any number of threads', async () => {
    const input = tiny();
    const [one, two] = await Promise.all([run(input), run(input, { threads: 2 })]);
    assert.deepEqual(bytesOf(one.output), bytesOf(two.output));
  });

  test('in every form has the same weights', async () => {
    const input = tiny();
    const expected = weightsOf((await run(input)).output);
    for (const format of ['gptq', 'awq'] as const)
      assert.deepEqual(weightsOf((await run(input, { format })).output), expected, format);
    const { output: sharded } = await run(input, { shardBytes: 2000 });
    assert.ok(existsSync(join(sharded, 'model.safetensors.index.json')));
    assert.deepEqual(weightsOf(sharded), expected, 'in shards');
    const asymmetric = { ...GPTQ, codes: { ...GPTQ.codes!, symmetric: false } };
    const first = weightsOf((await run(input, { recipe: asymmetric })).output);
    assert.notDeepEqual(first, expected);
    assert.deepEqual(weightsOf((await run(input, { recipe: asymmetric, format: 'gptq-v2' })).output), first);
  });

  test('in the order of activations keeps its groups', async () => {
    const { output } = await run(tiny(), { recipe: { ...GPTQ, actOrder: true } });
    assert.deepEqual(readModelConfig(output).quantization?.group, 32);
    assert.ok(Number.isFinite(logitsOf(output)[0]));
  });
});

describe('on a GPU', () => {
  const input = tiny({ num_hidden_layers: 2, attention_bias: true });
  const windows = randomWindows(4, 40);

  test('linears lose what they lose on the CPU, and the same bytes come out again, interrupted or not', async () => {
    using device = new SimulatedDevice();
    const cpu = await run(input, { windows });
    const gpu = await run(input, { windows, device });
    for (const [i, { name, relativeError: error }] of gpu.tensors.entries()) {
      const other = cpu.tensors[i]!.relativeError;
      assert.ok(Math.abs(error / other - 1) < 0.03, `${name}: ${error} on the GPU, ${other} on the CPU`);
    }
    const exact = logitsOf(input);
    const [ours, theirs] = [gpu, cpu].map(({ output }) => relativeError(logitsOf(output), exact));
    assert.ok(ours! < 1.2 * theirs!, `${ours} by the GPU, ${theirs} by the CPU`);
    const output = newOutput();
    const controller = new AbortController();
    const onProgress = (done: number): void => void (done === 25 && controller.abort('stop'));
    await assert.rejects(run(input, { windows, device, output, signal: controller.signal, onProgress }));
    await assert.rejects(run(input, { windows, output }), { code: 'work-differs' });
    const { continuedAt } = await run(input, { windows, device, output });
    assert.equal(continuedAt, 1);
    assert.deepEqual(bytesOf(output), bytesOf(gpu.output));
  });
});

describe('2:4', () => {
  test('alone leaves a 16-bit model, half of whose weights are 0', async () => {
    const input = tiny({ torch_dtype: 'bfloat16' });
    const { output, totals } = await run(input, { recipe: { ...GPTQ, codes: null, prune: true } });
    assert.equal(readModelConfig(output).quantization, null);
    assert.equal(totals.bitsPerWeight, 16);
    using checkpoint = Checkpoint.open(output);
    const weights = checkpoint.readFloats('model.layers.1.mlp.up_proj.weight');
    assert.equal(checkpoint.info('model.layers.1.mlp.up_proj.weight').dtype, 'BF16');
    for (let at = 0; at < weights.length; at += 4)
      assert.equal(weights.subarray(at, at + 4).filter((weight) => weight === 0).length, 2);
    assert.ok(Number.isFinite(logitsOf(output)[0]));
  });

  test('with 4 bits stores the code of 0 twice in four', async () => {
    const { output } = await run(tiny(), { recipe: { ...GPTQ, prune: true } });
    using checkpoint = Checkpoint.open(output);
    const matrix = readQuantized(checkpoint, 'model.layers.0.self_attn.o_proj', readModelConfig(output).quantization!);
    const codes = unpackCodes(matrix.packed, matrix.rows, matrix.columns);
    for (let at = 0; at < codes.length; at += 4)
      assert.ok(codes.subarray(at, at + 4).filter((code) => code === 8).length >= 2);
  });
});

describe('work that is interrupted', () => {
  const input = tiny({ num_hidden_layers: 3 });
  const STEPS = 3 * 5 * 6 - 6;

  /** Stops after so many windows. */
  async function stopped(output: string, after: number): Promise<void> {
    const controller = new AbortController();
    const onProgress = (done: number): void => {
      if (done === after) controller.abort('stop');
    };
    await assert.rejects(run(input, { output, signal: controller.signal, onProgress }), (error) => error === 'stop');
    assert.ok(!existsSync(output), 'the output appears only when it is complete');
  }

  test('goes on at the block it was in, and gives the same bytes', async () => {
    const expected = bytesOf((await run(input)).output);
    for (const [after, block] of [
      [1, 0],
      [29, 0],
      [31, 1],
      [64, 2],
      [STEPS - 1, 2],
    ] as const) {
      const output = newOutput();
      await stopped(output, after);
      const seen: number[] = [];
      const { continuedAt } = await run(input, { output, onProgress: (done) => void seen.push(done), resume: true });
      assert.equal(continuedAt, block, `stopped after ${after} windows`);
      assert.deepEqual(bytesOf(output), expected);
      assert.deepEqual(
        readdirSync(root).filter((name) => name.includes('.work') || name.includes('.partial')),
        [],
      );
    }
  });

  test('goes on without being told to, and can be stopped again', async () => {
    const output = newOutput();
    await stopped(output, 40);
    await stopped(output, 65);
    const { continuedAt } = await run(input, { output });
    assert.equal(continuedAt, 2);
    assert.deepEqual(bytesOf(output), bytesOf((await run(input)).output));
  });

  test('is not mixed with other work', async () => {
    const output = newOutput();
    await stopped(output, 40);
    const others: readonly Partial<CalibrateOptions>[] = [
      { recipe: { ...GPTQ, damp: 0.01 } },
      { windows: randomWindows(6, 48, 2) },
      { input: tiny() },
    ];
    for (const other of others) await assert.rejects(run(input, { output, ...other }), { code: 'work-differs' });
    await assert.rejects(run(input, { resume: true }), { code: 'nothing-to-resume' });
    rmSync(`${output}.work`, { recursive: true });
  });
});

describe('refused', () => {
  test('before any work', async () => {
    const input = tiny();
    const quantized = newOutput();
    await quantizeCheckpoint({ input, output: quantized, group: 32, clip: 'none' });
    await assert.rejects(run(quantized), { code: 'already-quantized' });
    await assert.rejects(run(input, { output: quantized }), { code: 'output-exists' });
    const codes = { group: 40, symmetric: true, clip: 'none' } as const;
    await assert.rejects(run(input, { recipe: { ...GPTQ, codes } }), { code: 'group-invalid' });
    const odd = { ...GPTQ, codes: { ...codes, group: 4 } };
    await assert.rejects(run(input, { recipe: odd }), { code: 'group-unsupported' });
    const narrow = tiny({ intermediate_size: 100 });
    const channel = { ...GPTQ, codes: { ...codes, group: 'channel' } } as const;
    await assert.rejects(run(narrow, { recipe: channel, format: 'awq' }), { code: 'conversion-lossy' });
    assert.deepEqual(
      readdirSync(root).filter((name) => name.includes('.work')),
      [],
    );
  });

  test('weights that are no numbers, by name', async () => {
    const { config, tensors } = tinyModel(3);
    const spoiled = tensors.map((tensor) => {
      if (!tensor.name.endsWith('layers.1.mlp.gate_proj.weight')) return tensor;
      const bytes = tensor.bytes.slice();
      new Uint16Array(bytes.buffer)[7] = 0x7e00;
      return { ...tensor, bytes };
    });
    const output = newOutput();
    await assert.rejects(run(writeModel(root, config, spoiled), { output }), {
      code: 'weight-not-finite',
      message: /layers\.1\.mlp\.gate_proj/,
    });
    assert.ok(!existsSync(output));
    rmSync(`${output}.work`, { recursive: true });
  });
});
