// Whole folders from one 4-bit form into another and back: the same codes, zero points and scales, or nothing at all.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { MarlinError } from '../base/errors.ts';
import { numberToBf16, numberToF16 } from '../base/f16.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { readModelConfig } from '../formats/config.ts';
import { decodeAwq, decodeCompressedTensors, decodeGptq, encodeMarlin } from '../formats/decoder.fixture.ts';
import type { Dtype } from '../formats/dtype.ts';
import { quantizedModules, readQuantized } from '../formats/modules.ts';
import { type MatrixShape, randomMatrix } from '../formats/quantized.fixture.ts';
import { type QuantizedMatrix, unpackCodes } from '../formats/quantized.ts';
import { SafetensorsWriter } from '../formats/safetensors-writer.ts';
import { type WrittenFormat, writers } from '../formats/written.ts';
import { convertCheckpoint, type ConvertOptions, type ConvertReport } from './convert.ts';

const root = mkdtempSync(join(tmpdir(), 'convert-'));
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

const CONFIG = {
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 32,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  torch_dtype: 'bfloat16',
};

type Matrices = Readonly<Record<string, QuantizedMatrix>>;

const shape: MatrixShape = {
  rows: 16,
  columns: 32,
  group: 8,
  zeros: { low: 1, high: 15 },
  scattered: false,
  scaleDtype: 'F16',
  seed: 1,
};
const matrices = (changes: Partial<MatrixShape> = {}): Matrices => ({
  'model.layers.0.self_attn.q_proj': randomMatrix({ ...shape, ...changes, seed: 1 }),
  'model.layers.0.mlp.up_proj': randomMatrix({ ...shape, ...changes, rows: 24, columns: 16, seed: 2 }),
  'model.layers.1.self_attn.q_proj': randomMatrix({ ...shape, ...changes, seed: 3 }),
});

/** Tensors that are not quantized. */
const others: readonly { name: string; dtype: Dtype; shape: readonly number[]; data: ArrayBufferView }[] = [
  {
    name: 'model.embed_tokens.weight',
    dtype: 'BF16',
    shape: [32, 16],
    data: new Uint16Array(512).fill(numberToBf16(3)),
  },
  { name: 'model.layers.0.self_attn.q_proj.bias', dtype: 'F16', shape: [16], data: new Uint16Array(16).fill(0x3c00) },
  { name: 'model.layers.0.mlp.gate_proj.weight', dtype: 'F16', shape: [24, 16], data: new Uint16Array(384).fill(7) },
  { name: 'model.norm.weight', dtype: 'F32', shape: [16], data: new Float32Array(16).fill(0.1) },
];

/** Writes a model of `quantized` modules in `format` into `input`. */
function writeInput(
  quantized: Matrices,
  format: WrittenFormat = 'compressed-tensors',
  group: number | 'channel' = 8,
): void {
  const all = Object.entries(quantized);
  const scheme = {
    group,
    symmetric: all.every(([, matrix]) => matrix.zeroPoints === null),
    activationOrder: all.some(([, matrix]) => matrix.groupOf !== undefined),
    ignore: ['lm_head'],
    producer: 'test:1',
  };
  const writer = writers[format];
  using file = SafetensorsWriter.create(join(input, 'model.safetensors'), [
    ...others,
    ...all.flatMap(([name, matrix]) => writer.specs(name, matrix, scheme)),
  ]);
  for (const { name, data } of others) file.write(name, new Uint8Array(data.buffer));
  for (const [name, matrix] of all) writer.write(file, name, matrix, scheme);
  file.commit();
  writeFileSync(
    join(input, 'config.json'),
    JSON.stringify({ ...CONFIG, quantization_config: writer.configJson(scheme) }),
  );
}

const run = async (format: WrittenFormat, options: Partial<ConvertOptions> = {}): Promise<ConvertReport> =>
  await convertCheckpoint({ input, output, format, producer: 'marlin-ts:0.0.0', ...options });

/** `path` holds exactly `quantized`, bit for bit, and the other tensors. */
function assertHolds(path: string, quantized: Matrices): void {
  const { quantization } = readModelConfig(path);
  using checkpoint = Checkpoint.open(path);
  assert.deepEqual(
    quantizedModules(checkpoint)
      .map(({ name }) => name)
      .toSorted(),
    Object.keys(quantized).toSorted(),
  );
  for (const [name, matrix] of Object.entries(quantized))
    assert.deepEqual(readQuantized(checkpoint, name, quantization!), matrix, name);
  for (const { name, dtype, data } of others) {
    assert.equal(checkpoint.info(name).dtype, dtype);
    assert.deepEqual(checkpoint.read(name), new Uint8Array(data.buffer), name);
  }
}

const decoders = {
  'compressed-tensors': decodeCompressedTensors,
  gptq: (path: string, module: string) => decodeGptq(path, module, 1),
  'gptq-v2': (path: string, module: string) => decodeGptq(path, module, 2),
  awq: decodeAwq,
} as const;
const formats = ['compressed-tensors', 'gptq', 'gptq-v2', 'awq'] as const;

describe('every form into every form', () => {
  for (const from of formats) {
    for (const to of formats) {
      test(`${from} to ${to}`, async () => {
        for (const changes of [{}, { zeros: null }, ...(from === 'awq' || to === 'awq' ? [] : [{ scattered: true }])]) {
          for (const path of [input, output]) rmSync(path, { recursive: true, force: true });
          mkdirSync(input);
          const quantized = matrices(changes);
          writeInput(quantized, from);
          const report = await run(to);
          assertHolds(output, quantized);
          for (const name of Object.keys(quantized)) {
            const decode = (path: string, format: WrittenFormat): object =>
              decoders[format](join(path, 'model.safetensors'), name);
            assert.deepEqual(decode(output, to), decode(input, from), name);
          }
          assert.equal(report.symmetric, changes.zeros === null);
          assert.equal(report.activationOrder, 'scattered' in changes);
          assert.deepEqual([report.convertedModules, report.copiedTensors], [3, 4]);
        }
      });
    }
  }

  test('one scale a channel; modules of which only some have zero points', async () => {
    const quantized: Matrices = {
      a: randomMatrix({ ...shape, group: 32 }),
      b: randomMatrix({ ...shape, columns: 16, group: 16, zeros: null }),
    };
    writeInput(quantized, 'gptq-v2', 'channel');
    for (const format of formats) {
      await run(format);
      assertHolds(output, quantized);
      rmSync(output, { recursive: true });
    }
  });

  test('Marlin is read', async () => {
    const matrix = randomMatrix({ ...shape, rows: 64, columns: 32, group: 16, zeros: null });
    const codes = unpackCodes(matrix.packed, 64, 32);
    const table = (values: ArrayLike<number>, width: number): number[][] =>
      Array.from({ length: 64 }, (_, n) => Array.from({ length: width }, (_, i) => values[n * width + i]!));
    const { B, s } = encodeMarlin(table(codes, 32), table(matrix.scales, 2));
    const specs = [
      ...others,
      { name: 'm.B', dtype: 'I32', shape: [2, 128], data: B } as const,
      { name: 'm.s', dtype: 'F16', shape: [2, 64], data: s } as const,
    ];
    using file = SafetensorsWriter.create(join(input, 'model.safetensors'), specs);
    for (const { name, data } of specs) file.write(name, new Uint8Array(data.buffer));
    file.commit();
    writeFileSync(join(input, 'config.json'), JSON.stringify(CONFIG));
    const description = { bits: 4, group_size: 16, desc_act: false, sym: true, is_marlin_format: true };
    writeFileSync(join(input, 'quantize_config.json'), JSON.stringify(description));
    const report = await run('gptq');
    assert.deepEqual([report.from, report.format], ['marlin', 'gptq']);
    assertHolds(output, { m: matrix });
  });

  test('BF16 scales become F16 where that is exact', async () => {
    const quantized = matrices({ scaleDtype: 'BF16' });
    writeInput(quantized);
    await run('awq');
    const q = 'model.layers.0.self_attn.q_proj';
    const [before, later] = [
      decodeCompressedTensors(join(input, 'model.safetensors'), q),
      decodeAwq(join(output, 'model.safetensors'), q),
    ];
    assert.deepEqual([later.codes, later.zeros], [before.codes, before.zeros]);
    const { scales } = quantized[q]!;
    const half = (bits: number): number => numberToF16(new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!);
    assert.deepEqual(later.scales.flat(), Array.from(scales, half));
  });
});

describe('a folder', () => {
  test('has a description that its tensors agree with, and its small files', async () => {
    writeInput(matrices());
    writeFileSync(join(input, 'tokenizer.json'), 'a tokenizer');
    writeFileSync(join(input, 'optimizer.pt'), 'not wanted');
    writeFileSync(
      join(input, 'config.json'),
      readFileSync(join(input, 'config.json'), 'utf8')
        .replace('{', '{"rope_theta":10000.0,')
        .replace('quantization_config', 'compression_config'),
    );
    await run('gptq');
    assert.deepEqual(readdirSync(output).toSorted(), [
      'config.json',
      'model.safetensors',
      'quantize_config.json',
      'tokenizer.json',
    ]);
    const text = readFileSync(join(output, 'config.json'), 'utf8');
    assert.ok(text.includes('"rope_theta": 10000.0') && !text.includes('compression_config'));
    const beside: unknown = JSON.parse(readFileSync(join(output, 'quantize_config.json'), 'utf8'));
    const config: unknown = JSON.parse(text);
    assert.ok(typeof config === 'object' && config !== null && 'quantization_config' in config);
    assert.deepEqual(config.quantization_config, beside);
    assert.deepEqual(beside, {
      quant_method: 'gptq',
      bits: 4,
      group_size: 8,
      desc_act: false,
      static_groups: false,
      sym: false,
      lm_head: false,
      true_sequential: true,
      checkpoint_format: 'gptq',
      pack_dtype: 'int32',
      meta: { quantizer: ['marlin-ts:0.0.0'] },
    });
  });

  test('names the matrices that are not quantized', async () => {
    writeInput(matrices(), 'gptq');
    await run('compressed-tensors');
    assert.deepEqual(readModelConfig(output).quantization?.ignore, ['lm_head', 'model.layers.0.mlp.gate_proj']);
    await run('awq', { output: join(folder, 'awq') });
    assert.deepEqual(readModelConfig(join(folder, 'awq')).quantization?.ignore, ['model.layers.0.mlp.gate_proj']);
  });

  test('is in shards when one file would be too large; progress runs over modules', async () => {
    const quantized = matrices();
    writeInput(quantized);
    const seen: number[] = [];
    await run('awq', { shardBytes: 1000, onProgress: (done) => seen.push(done) });
    assert.ok(existsSync(join(output, 'model.safetensors.index.json')));
    assertHolds(output, quantized);
    assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe('nothing is made', () => {
  async function refuses(
    code: string,
    message: RegExp,
    format: WrittenFormat,
    options: Partial<ConvertOptions> = {},
  ): Promise<void> {
    const before = readdirSync(folder, { recursive: true });
    await assert.rejects(run(format, options), (error: unknown) => {
      assert.ok(error instanceof MarlinError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    });
    assert.deepEqual(readdirSync(folder, { recursive: true }), before);
  }

  test('where something would be lost', async () => {
    writeInput(matrices({ zeros: { low: 0, high: 15 } }));
    await refuses('conversion-lossy', /model\.layers\.\d\.\S+ .*gptq: it has the zero point 0/, 'gptq');
    writeInput(matrices({ scattered: true }));
    await refuses('conversion-lossy', /q_proj .*awq: .*activation order/, 'awq');
    writeInput({ m: randomMatrix({ ...shape, rows: 12 }) });
    await refuses('conversion-lossy', /m .*12 outputs/, 'awq');
    const scales = new Uint16Array(64).fill(numberToBf16(1e-9));
    writeInput({ m: { ...randomMatrix(shape), scales, scaleDtype: 'BF16' } });
    await refuses('conversion-lossy', /m .*BF16/, 'gptq-v2');
  });

  test('where F32 scales would be rounded', async () => {
    const specs = [
      { name: 'm.weight_packed', dtype: 'I32', shape: [8, 1], data: new Int32Array(8) },
      { name: 'm.weight_scale', dtype: 'F32', shape: [8, 1], data: new Float32Array(8).fill(0.1) },
      { name: 'm.weight_shape', dtype: 'I64', shape: [2], data: BigInt64Array.of(8n, 8n) },
    ] as const;
    {
      using file = SafetensorsWriter.create(join(input, 'model.safetensors'), specs);
      for (const { name, data } of specs) file.write(name, new Uint8Array(data.buffer));
      file.commit();
    }
    const json = writers['compressed-tensors'].configJson({
      group: 8,
      symmetric: true,
      activationOrder: false,
      ignore: [],
      producer: '',
    });
    writeFileSync(join(input, 'config.json'), JSON.stringify({ ...CONFIG, quantization_config: json }));
    await refuses('conversion-lossy', /m .*0\.1\d* is F32/, 'gptq');
  });

  test('of a model that is not quantized, or does not say how', async () => {
    writeInput({});
    await refuses('not-quantized', /not quantized/, 'gptq');
    writeInput(matrices());
    writeFileSync(join(input, 'config.json'), JSON.stringify(CONFIG));
    await refuses('quantization-unsupported', /quantization_config/, 'gptq');
  });

  test('where the output exists', async () => {
    writeInput(matrices());
    await refuses('output-exists', /input exists already/, 'gptq', { output: input });
  });

  test('when aborted, wherever that is', async () => {
    writeInput(matrices());
    const before = readdirSync(folder, { recursive: true });
    await assert.rejects(run('gptq', { signal: AbortSignal.abort('stop') }), (error: unknown) => error === 'stop');
    for (const at of [0, 3, 7]) {
      const controller = new AbortController();
      const onProgress = (done: number): void => {
        if (done === at) controller.abort('stop');
      };
      await assert.rejects(
        run('gptq', { signal: controller.signal, onProgress }),
        (error: unknown) => error === 'stop',
      );
      assert.deepEqual(readdirSync(folder, { recursive: true }), before);
    }
  });
});
