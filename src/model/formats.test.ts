// A network is the same network in whatever 4-bit form its weights are stored: logits bit for bit, and activation order as 16-bit weights on every device.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { SimulatedDevice } from '../device/simulated.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { quantizationConfigJson, quantizedSpecs, writeQuantized } from '../formats/compressed-tensors.ts';
import { readModelConfig } from '../formats/config.ts';
import { quantizedModules, readQuantized } from '../formats/modules.ts';
import { dequantize, packCodes, type QuantizedMatrix, unpackCodes } from '../formats/quantized.ts';
import { SafetensorsWriter } from '../formats/safetensors-writer.ts';
import type { WrittenFormat } from '../formats/written.ts';
import { quantizeCheckpoint } from '../quantize/checkpoint.ts';
import { convertCheckpoint } from '../quantize/convert.ts';
import { type LanguageModel, openModel, openModelOn } from './language-model.ts';
import { readReference, referenceLogits } from './reference-llama.fixture.ts';
import { floatTensor, readTensors, replaceModules, type Tensor, tinyModel, writeModel } from './tiny-model.fixture.ts';

const root = mkdtempSync(join(tmpdir(), 'formats-'));
after(() => rmSync(root, { recursive: true }));

const ids = Array.from(
  { length: 12 },
  (
    (random) => () =>
      random.integer(61)
  )(new Random(1)),
);
const logitsOf = (model: LanguageModel): Float32Array => model.newSequence().append(ids).slice();

function cpuLogits(folder: string, activationBits: 8 | 16 = 16): Float32Array {
  using model = openModel(folder, { threads: 1, activationBits, context: 40 });
  return logitsOf(model);
}

async function quantized(name: string): Promise<string> {
  const { config, tensors } = tinyModel(5, { attention_bias: true });
  const folder = join(root, name);
  await quantizeCheckpoint({ input: writeModel(root, config, tensors), output: folder, group: 32, clip: 'none' });
  return folder;
}

/** The model of `folder` with every quantized module changed; its config says what it then is. */
function changed(
  folder: string,
  change: (matrix: QuantizedMatrix, random: Random) => QuantizedMatrix,
  scheme: { readonly symmetric: boolean; readonly activationOrder: boolean },
): { readonly folder: string; readonly dense: string } {
  const { quantization, raw } = readModelConfig(folder);
  const random = new Random(9);
  const packed: Tensor[] = [];
  const dense: Tensor[] = [];
  using checkpoint = Checkpoint.open(folder);
  for (const { name } of quantizedModules(checkpoint)) {
    const matrix = change(readQuantized(checkpoint, name, quantization!), random);
    const options = { zeroPoints: !scheme.symmetric, activationOrder: scheme.activationOrder };
    const file = join(root, 'module.safetensors');
    using writer = SafetensorsWriter.create(file, quantizedSpecs(name, matrix, options));
    writeQuantized(writer, name, matrix, options);
    writer.commit();
    packed.push(...readTensors(file));
    dense.push(floatTensor(`${name}.weight`, 'F16', [matrix.rows, matrix.columns], dequantize(matrix)));
  }
  const base = readTensors(folder);
  const { quantization_config: _, ...plain } = raw;
  const json = quantizationConfigJson(32, ['lm_head'], scheme);
  return {
    folder: writeModel(root, { ...plain, quantization_config: json }, replaceModules(base, packed)),
    dense: writeModel(root, plain, replaceModules(base, dense)),
  };
}

/** Other zero points; codes move along as far as they can. */
function withZeroPoints(matrix: QuantizedMatrix, random: Random): QuantizedMatrix {
  const { rows, columns, group } = matrix;
  const zeroPoints = Uint8Array.from(matrix.scales, () => 6 + random.integer(5));
  const codes = unpackCodes(matrix.packed, rows, columns).map((code, i) =>
    Math.min(15, Math.max(0, code - 8 + zeroPoints[Math.floor(i / group)]!)),
  );
  return { ...matrix, packed: packCodes(codes, rows, columns), zeroPoints };
}

/** Columns of every group spread over the whole row. */
function scattered(matrix: QuantizedMatrix): QuantizedMatrix {
  const groups = matrix.columns / matrix.group;
  return { ...matrix, groupOf: Uint32Array.from({ length: matrix.columns }, (_, k) => k % groups) };
}

describe('logits are the same, bit for bit', () => {
  for (const format of ['compressed-tensors', 'gptq', 'gptq-v2', 'awq'] satisfies WrittenFormat[]) {
    test(`converted to ${format}, with and without zero points`, async () => {
      const symmetric = await quantized(`symmetric-${format}`);
      const asymmetric = changed(symmetric, withZeroPoints, { symmetric: false, activationOrder: false }).folder;
      for (const [i, input] of [symmetric, asymmetric].entries()) {
        const output = join(root, `${format}-${i}`);
        await convertCheckpoint({ input, output, format, producer: 'test:1' });
        for (const bits of [8, 16] as const) assert.deepEqual(cpuLogits(output, bits), cpuLogits(input, bits));
      }
    });
  }
});

describe('against the reference', () => {
  test('zero points', async () => {
    const { folder } = changed(await quantized('zeros'), withZeroPoints, { symmetric: false, activationOrder: false });
    const expected = referenceLogits(readReference(folder), ids).at(-1);
    assert.ok(relativeError(cpuLogits(folder), expected) < 5e-4);
    using device = new SimulatedDevice();
    using model = openModelOn(device, folder, { context: 40 });
    assert.ok(relativeError(logitsOf(model), expected) < 2e-3);
  });

  test('zero points up to 16, as GPTQ of version 1 may have them', async () => {
    const high = (matrix: QuantizedMatrix, random: Random): QuantizedMatrix => ({
      ...matrix,
      zeroPoints: Uint8Array.from(matrix.scales, () => 5 + random.integer(11)),
    });
    const { folder } = changed(await quantized('high'), high, { symmetric: false, activationOrder: false });
    const output = join(root, 'one-more');
    await convertCheckpoint({ input: folder, output, format: 'gptq-v2', producer: 'test:1' });
    // The same tensors, said to be of version 1, have zero points that are one more.
    const path = join(output, 'config.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"gptq_v2"', '"gptq"'));
    const expected = referenceLogits(readReference(output), ids).at(-1);
    assert.ok(relativeError(cpuLogits(output), expected) < 5e-4);
    using device = new SimulatedDevice();
    using model = openModelOn(device, output, { context: 40 });
    assert.ok(relativeError(logitsOf(model), expected) < 2e-3);
  });

  test('activation order: the same as the weights in 16 bits, on every device', async () => {
    const { folder, dense } = changed(await quantized('order'), scattered, { symmetric: true, activationOrder: true });
    assert.deepEqual(cpuLogits(folder), cpuLogits(dense));
    const expected = referenceLogits(readReference(folder), ids).at(-1);
    assert.ok(relativeError(cpuLogits(folder), expected) < 2e-3);
    using device = new SimulatedDevice();
    using model = openModelOn(device, folder, { context: 40 });
    using other = openModelOn(device, dense, { context: 40 });
    assert.deepEqual(logitsOf(model), logitsOf(other));
  });
});
