import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { encodeBf16, encodeF16 } from '../base/f16.ts';
import { MarlinError } from '../base/errors.ts';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { readModelConfig } from '../formats/config.ts';
import { readQuantized } from '../formats/modules.ts';
import { dequantize } from '../formats/quantized.ts';
import { SafetensorsWriter } from '../formats/safetensors-writer.ts';
import { quantizeCheckpoint, type QuantizeOptions } from './checkpoint.ts';
import { quantizeRtn } from './rtn.ts';

const root = mkdtempSync(join(tmpdir(), 'quantize-'));
after(() => rmSync(root, { recursive: true }));
let folder = root;
let input = root;
let output = root;
beforeEach(() => {
  folder = mkdtempSync(join(root, 'test-'));
  input = join(folder, 'input');
  output = join(folder, 'output');
  mkdirSync(input);
});

const HIDDEN = 16;
const CONFIG = {
  model_type: 'llama',
  hidden_size: HIDDEN,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 32,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  torch_dtype: 'bfloat16',
};

interface Tensor {
  readonly name: string;
  readonly dtype: 'F16' | 'BF16' | 'F32';
  readonly shape: readonly number[];
  readonly data: Uint16Array | Float32Array;
}

function tensor(name: string, dtype: Tensor['dtype'], shape: readonly number[]): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const values = new Random(name.length * 1000 + count).fillNormal(new Float32Array(count), 0.1);
  const bits = new Uint16Array(count);
  if (dtype !== 'F32') (dtype === 'F16' ? encodeF16 : encodeBf16)(values, bits);
  return { name, dtype, shape, data: dtype === 'F32' ? values : bits };
}

/** All tensors of the model of CONFIG. */
function tinyModel(dtype: Tensor['dtype'] = 'BF16'): Tensor[] {
  const linears: readonly [string, number, number][] = [
    ['self_attn.q_proj', HIDDEN, HIDDEN],
    ['self_attn.k_proj', 8, HIDDEN],
    ['self_attn.v_proj', 8, HIDDEN],
    ['self_attn.o_proj', HIDDEN, HIDDEN],
    ['mlp.gate_proj', 24, HIDDEN],
    ['mlp.up_proj', 24, HIDDEN],
    ['mlp.down_proj', HIDDEN, 24],
  ];
  const layers = [0, 1].flatMap((layer) => [
    tensor(`model.layers.${layer}.input_layernorm.weight`, dtype, [HIDDEN]),
    tensor(`model.layers.${layer}.self_attn.q_proj.bias`, dtype, [HIDDEN]),
    ...linears.map(([name, rows, columns]) => tensor(`model.layers.${layer}.${name}.weight`, dtype, [rows, columns])),
  ]);
  return [
    tensor('model.embed_tokens.weight', dtype, [32, HIDDEN]),
    ...layers,
    tensor('lm_head.weight', dtype, [32, HIDDEN]),
  ];
}

function writeModel(tensors: readonly Tensor[], config = JSON.stringify(CONFIG)): void {
  writeFileSync(join(input, 'config.json'), config);
  const weightMap: Record<string, string> = {};
  for (const part of [0, 1]) {
    const fileName = `part-${part}.safetensors`;
    const mine = tensors.filter((_, i) => i % 2 === part);
    using writer = SafetensorsWriter.create(join(input, fileName), mine);
    for (const { name, data } of mine) {
      writer.write(name, new Uint8Array(data.buffer));
      weightMap[name] = fileName;
    }
    writer.commit();
  }
  writeFileSync(join(input, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }));
}

/** Quantizes the model in `input` in groups of 8 and expects it to fail and to leave the folder as it was. */
async function fails(options: Partial<QuantizeOptions>): Promise<unknown> {
  const before = readdirSync(folder, { recursive: true });
  let failure: unknown;
  try {
    await quantizeCheckpoint({ input, output, group: 8, clip: 'none', ...options });
  } catch (error) {
    failure = error;
  }
  assert.notEqual(failure, undefined, 'it did not fail');
  assert.deepEqual(readdirSync(folder, { recursive: true }), before);
  return failure;
}

async function failsWith(code: string, options: Partial<QuantizeOptions> = {}): Promise<MarlinError> {
  const failure = await fails(options);
  assert.ok(failure instanceof MarlinError, String(failure));
  assert.equal(failure.code, code, failure.message);
  return failure;
}

/** The output holds every tensor of `tensors`: Linears as `quantizeRtn` makes them, the others bit for bit. */
function checkOutput(tensors: readonly Tensor[], group: number, clip: 'none' | 'mse'): void {
  const { quantization } = readModelConfig(output);
  assert.ok(quantization !== null);
  assert.deepEqual(
    [quantization.method, quantization.group, quantization.symmetric, quantization.ignore],
    ['compressed-tensors', group, true, ['lm_head']],
  );
  using original = Checkpoint.open(input);
  using checkpoint = Checkpoint.open(output);
  let count = 0;
  for (const { name, dtype, shape } of tensors) {
    if (name.endsWith('_proj.weight')) {
      const [rows, columns] = [shape[0]!, shape[1]!];
      const scaleDtype = dtype === 'BF16' ? 'BF16' : 'F16';
      const expected = quantizeRtn(original.readFloats(name), rows, columns, { group, clip, scaleDtype });
      assert.deepEqual(readQuantized(checkpoint, name.slice(0, -'.weight'.length), quantization), expected, name);
      count += 3;
    } else {
      assert.deepEqual(checkpoint.info(name).dtype, dtype);
      assert.deepEqual(checkpoint.read(name), original.read(name), name);
      count += 1;
    }
  }
  assert.equal(checkpoint.tensors.size, count);
}

const bytes = (opened: Checkpoint): number => [...opened.tensors.values()].reduce((sum, info) => sum + info.bytes, 0);

describe('a whole model', () => {
  for (const dtype of ['BF16', 'F16', 'F32'] as const) {
    test(`${dtype}: Linears quantized, everything else as it was`, async () => {
      const tensors = tinyModel(dtype);
      writeModel(tensors);
      const report = await quantizeCheckpoint({ input, output, group: 8, clip: 'mse' });
      checkOutput(tensors, 8, 'mse');
      assert.deepEqual(readdirSync(output).toSorted(), ['config.json', 'model.safetensors']);
      assert.deepEqual(readdirSync(folder).toSorted(), ['input', 'output']);
      assert.equal(report.totals.quantizedTensors, 14);
      assert.equal(report.totals.copiedTensors, 6);
    });
  }

  test('the report says what was lost and what was won', async () => {
    const tensors = tinyModel();
    writeModel(tensors);
    const { totals, tensors: reports } = await quantizeCheckpoint({ input, output, group: 8, clip: 'none' });
    using original = Checkpoint.open(input);
    using checkpoint = Checkpoint.open(output);
    const config = readModelConfig(output).quantization!;
    const weights: number[] = [];
    const rounded: number[] = [];
    for (const { name, rows, columns, group, relativeError: error, bytesBefore, bytesAfter } of reports) {
      const values = original.readFloats(name);
      const matrix = readQuantized(checkpoint, name.slice(0, -'.weight'.length), config);
      assert.deepEqual([rows, columns, group], [matrix.rows, matrix.columns, 8]);
      assert.ok(Math.abs(error - relativeError(dequantize(matrix), values)) < 1e-12);
      assert.equal(bytesBefore, rows * columns * 2);
      assert.equal(bytesAfter, (rows * columns) / 2 + (rows * columns * 2) / 8 + 16);
      weights.push(...values);
      rounded.push(...dequantize(matrix));
    }
    assert.ok(Math.abs(totals.relativeError - relativeError(rounded, weights)) < 1e-12);
    assert.deepEqual([totals.bytesBefore, totals.bytesAfter], [bytes(original), bytes(checkpoint)]);
    assert.equal(totals.bitsPerWeight, 4 + 2 + (14 * 16 * 8) / weights.length);
  });

  test('one scale per channel', async () => {
    writeModel(tinyModel());
    await quantizeCheckpoint({ input, output, group: 'channel', clip: 'none' });
    const config = readModelConfig(output).quantization!;
    assert.equal(config.group, 'channel');
    using checkpoint = Checkpoint.open(output);
    assert.equal(readQuantized(checkpoint, 'model.layers.0.mlp.down_proj', config).group, 24);
  });

  test('shards under an index when one file would be too large', async () => {
    const tensors = tinyModel();
    writeModel(tensors);
    const { totals } = await quantizeCheckpoint({ input, output, group: 8, clip: 'none', shardBytes: 2000 });
    checkOutput(tensors, 8, 'none');
    const shards = readdirSync(output).filter((name) => name.endsWith('.safetensors'));
    assert.ok(shards.length > 2 && shards.includes(`model-00001-of-0000${shards.length}.safetensors`), shards.join());
    const index: unknown = JSON.parse(readFileSync(join(output, 'model.safetensors.index.json'), 'utf8'));
    assert.ok(typeof index === 'object' && index !== null && 'metadata' in index);
    assert.deepEqual(index.metadata, { total_size: totals.bytesAfter });
  });

  test('a matrix larger than what is worked on at once', async () => {
    const large = tensor('model.layers.0.self_attn.q_proj.weight', 'F16', [4099, 1024]);
    const tensors = tinyModel('F16').map((small) => (small.name === large.name ? large : small));
    writeModel(tensors);
    await quantizeCheckpoint({ input, output, group: 8, clip: 'none' });
    checkOutput(tensors, 8, 'none');
  });

  test('the files beside the weights are copied, config.json keeps the spelling of its numbers', async () => {
    const config = `{"rope_theta": 10000.0, "attention_dropout": 0.0, "rms_eps_too": 1e-05, ${JSON.stringify(CONFIG).slice(1)}`;
    writeModel(tinyModel(), config);
    const copied = [
      'LICENSE',
      'chat_template.jinja',
      'generation_config.json',
      'merges.txt',
      'special_tokens_map.json',
      'tokenizer.json',
      'tokenizer_config.json',
      'vocab.json',
    ];
    for (const name of [...copied, 'README.md', 'optimizer.pt']) writeFileSync(join(input, name), `content of ${name}`);
    await quantizeCheckpoint({ input, output, group: 8, clip: 'none' });
    assert.deepEqual(readdirSync(output).toSorted(), [...copied, 'config.json', 'model.safetensors'].toSorted());
    for (const name of copied) assert.equal(readFileSync(join(output, name), 'utf8'), `content of ${name}`);
    const written = readFileSync(join(output, 'config.json'), 'utf8');
    for (const number of ['"rope_theta": 10000.0', '"attention_dropout": 0.0', '"rms_eps_too": 1e-05'])
      assert.ok(written.includes(number), written);
  });

  test('progress runs from 0 to all tensors', async () => {
    writeModel(tinyModel());
    const seen: [number, number, string][] = [];
    await quantizeCheckpoint({ input, output, group: 8, clip: 'none', onProgress: (...update) => seen.push(update) });
    assert.deepEqual(
      seen.map(([done]) => done),
      Array.from({ length: 21 }, (_, i) => i),
    );
    assert.ok(seen.every(([, total]) => total === 20));
  });

  test('an empty folder is taken', async () => {
    writeModel(tinyModel());
    mkdirSync(output);
    await quantizeCheckpoint({ input, output, group: 8, clip: 'none' });
    assert.ok(readdirSync(output).includes('model.safetensors'));
  });
});

describe('nothing is left behind', () => {
  test('when aborted before, in the middle, or at the last tensor', async () => {
    writeModel(tinyModel());
    assert.equal(await fails({ signal: AbortSignal.abort('stop') }), 'stop');
    for (const at of [0, 7, 20]) {
      const controller = new AbortController();
      const onProgress = (done: number): void => {
        if (done === at) controller.abort('stop');
      };
      assert.equal(await fails({ signal: controller.signal, onProgress }), 'stop');
    }
  });

  test('when a weight is NaN', async () => {
    const tensors = tinyModel();
    const bad = tensors.find(({ name }) => name === 'model.layers.1.mlp.down_proj.weight')!;
    bad.data[100] = 0x7fc0;
    writeModel(tensors);
    const { message } = await failsWith('weight-not-finite');
    assert.match(message, /model\.layers\.1\.mlp\.down_proj\.weight/);
  });

  test('when the progress callback throws', async () => {
    writeModel(tinyModel());
    const failure = new Error('display');
    const onProgress = (done: number): void => {
      if (done === 5) throw failure;
    };
    assert.equal(await fails({ onProgress }), failure);
  });
});

describe('refused before anything is written', () => {
  test('an output that exists', async () => {
    writeModel(tinyModel());
    mkdirSync(output);
    writeFileSync(join(output, 'mine.txt'), 'keep');
    await failsWith('output-exists');
    await failsWith('output-exists', { output: join(output, 'mine.txt') });
    await failsWith('output-exists', { output: input });
    assert.equal(readFileSync(join(output, 'mine.txt'), 'utf8'), 'keep');
  });

  test('an output whose parent is not there, or a file', async () => {
    writeModel(tinyModel());
    await failsWith('output-unwritable', { output: join(folder, 'nowhere', 'output') });
    await failsWith('output-unwritable', { output: join(input, 'config.json', 'output') });
  });

  test('a model that is quantized already', async () => {
    writeModel(tinyModel());
    await quantizeCheckpoint({ input, output, group: 8, clip: 'none' });
    await failsWith('already-quantized', { input: output, output: join(folder, 'again') });
    // also where config.json does not say so
    writeFileSync(join(output, 'config.json'), JSON.stringify(CONFIG));
    await failsWith('already-quantized', { input: output, output: join(folder, 'again') });
  });

  test('a group that some layer does not divide by', async () => {
    writeModel(tinyModel());
    const { message } = await failsWith('group-invalid', { group: 16 });
    assert.match(message, /group of 16 .* 24 input channels of model\.layers\.0\.mlp\.down_proj/);
  });

  test('a model with a tensor missing, of another rank, of integers', async () => {
    const tensors = tinyModel();
    const name = 'model.layers.1.mlp.up_proj.weight';
    writeModel(tensors.filter((other) => other.name !== name));
    assert.match((await failsWith('tensor-missing')).message, /no tensor model\.layers\.1\.mlp\.up_proj\.weight/);
    writeModel(tensors.map((other) => (other.name === name ? { ...other, shape: [24 * HIDDEN] } : other)));
    assert.match((await failsWith('tensor-mismatch')).message, /up_proj\.weight .*found BF16 \[384\]/);
  });

  test('a folder that is no model', async () => {
    await failsWith('file-not-found');
    writeFileSync(join(input, 'config.json'), JSON.stringify(CONFIG));
    await failsWith('checkpoint-missing');
  });
});
