// Weights by name: what comes out of a file, and what is refused because config.json and the tensors do not belong together.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { f16ToNumber, numberToF16 } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { quantizationConfigJson } from '../formats/compressed-tensors.ts';
import { readModelConfig } from '../formats/config.ts';
import { dequantize, type QuantizedMatrix } from '../formats/quantized.ts';
import { quantizeRtn } from '../quantize/rtn.ts';
import { openModel } from './language-model.ts';
import {
  floatTensor,
  quantizedTensors,
  replaceModules,
  type Tensor,
  tinyModel,
  writeModel,
} from './tiny-model.fixture.ts';
import { type MatrixSource, Weights } from './weights.ts';

const root = mkdtempSync(join(tmpdir(), 'weights-'));
after(() => rmSync(root, { recursive: true }));

const Q = 'model.layers.1.self_attn.q_proj';
const ROWS = 128;
const COLUMNS = 64;
const values = new Random(1).fillNormal(new Float32Array(ROWS * COLUMNS));
const { config, tensors } = tinyModel(2);

/** The tiny model with `replacement` in the place of its modules; `group`: it says it is quantized so. */
function folderWith(replacement: readonly Tensor[], group?: number | 'channel'): string {
  const quantization = group === undefined ? {} : { quantization_config: quantizationConfigJson(group, ['lm_head']) };
  return writeModel(root, { ...config, ...quantization }, replaceModules(tensors, replacement));
}

function quantized(rows: number, columns: number, group: number | 'channel' = 32): QuantizedMatrix {
  return quantizeRtn(values.subarray(0, rows * columns), rows, columns, { group, clip: 'none', scaleDtype: 'F16' });
}

/** What `use` makes of the weights of `folder`, while its files are open. */
function withWeights<T>(folder: string, use: (weights: Weights) => T): T {
  using checkpoint = Checkpoint.open(folder);
  return use(new Weights(checkpoint, readModelConfig(folder)));
}

function bitsOf(source: MatrixSource): Uint16Array {
  assert.ok(source.kind === 'w16');
  const bits = new Uint16Array(source.rows * source.columns);
  source.read(bits);
  return bits;
}

describe('what comes out', () => {
  for (const dtype of ['F16', 'BF16'] as const) {
    test(`a ${dtype} matrix: its bits as they are stored`, () => {
      const tensor = floatTensor(`${Q}.weight`, dtype, [ROWS, COLUMNS], values);
      withWeights(folderWith([tensor]), (weights) => {
        const source = weights.matrix(Q, ROWS, COLUMNS);
        const { kind, name, rows, columns } = source;
        assert.deepEqual([kind, name, rows, columns], ['w16', `${Q}.weight`, ROWS, COLUMNS]);
        assert.equal(source.kind === 'w16' && source.dtype, dtype);
        assert.deepEqual(new Uint8Array(bitsOf(source).buffer), tensor.bytes);
      });
    });
  }

  test('an F32 matrix: rounded to F16', () => {
    withWeights(folderWith([floatTensor(`${Q}.weight`, 'F32', [ROWS, COLUMNS], values)]), (weights) => {
      const source = weights.matrix(Q, ROWS, COLUMNS);
      assert.equal(source.kind === 'w16' && source.dtype, 'F16');
      assert.deepEqual(bitsOf(source), Uint16Array.from(values, numberToF16));
    });
  });

  test('a quantized matrix: what was written, beside modules that are not quantized', () => {
    for (const group of [32, 'channel'] as const) {
      const matrix = quantized(ROWS, COLUMNS, group);
      withWeights(folderWith(quantizedTensors(Q, matrix), group), (weights) => {
        const source = weights.matrix(Q, ROWS, COLUMNS);
        assert.ok(source.kind === 'w4');
        assert.deepEqual([source.name, source.rows, source.columns], [Q, ROWS, COLUMNS]);
        assert.deepEqual(dequantize(source.read()), dequantize(matrix));
        assert.equal(weights.matrix('model.layers.0.self_attn.q_proj', ROWS, COLUMNS).kind, 'w16');
      });
    }
  });

  test('a vector of any float type: as f32', () => {
    const gains = values.subarray(0, 64);
    for (const dtype of ['F16', 'BF16', 'F32'] as const) {
      const tensor = floatTensor('model.norm.weight', dtype, [64], gains);
      const found = withWeights(folderWith([tensor]), (weights) => weights.vector('model.norm.weight', 64));
      const precision = { F16: 2 ** -11, BF16: 2 ** -8, F32: 0 }[dtype];
      found.forEach((value, i) => assert.ok(Math.abs(value - gains[i]!) <= precision * Math.abs(gains[i]!) + 2 ** -25));
      if (dtype === 'F16') assert.equal(found[5], f16ToNumber(numberToF16(gains[5]!)));
    }
  });
});

describe('refused, and the tensor named, by whoever opens the model', () => {
  const cases: readonly {
    readonly what: string;
    readonly tensors: readonly Tensor[];
    readonly group?: number;
    readonly code: string;
    readonly message: RegExp;
  }[] = [
    {
      what: 'a matrix turned on its side',
      tensors: replaceModules(tensors, [floatTensor(`${Q}.weight`, 'F16', [COLUMNS, ROWS], values)]),
      code: 'tensor-mismatch',
      message: /layers\.1\.self_attn\.q_proj\.weight .*expected \[128, 64\], found \[64, 128\]/,
    },
    {
      what: 'a matrix of another rank',
      tensors: replaceModules(tensors, [floatTensor(`${Q}.weight`, 'F16', [ROWS], values.subarray(0, ROWS))]),
      code: 'tensor-mismatch',
      message: /q_proj\.weight .*expected \[128, 64\], found \[128\]/,
    },
    {
      what: 'a matrix of integers',
      tensors: replaceModules(tensors, [
        { name: `${Q}.weight`, dtype: 'I32', shape: [ROWS, COLUMNS], bytes: new Uint8Array(ROWS * COLUMNS * 4) },
      ]),
      code: 'tensor-mismatch',
      message: /q_proj\.weight .*expected F16, BF16 or F32, found I32/,
    },
    {
      what: 'a matrix with a weight that is not finite',
      tensors: replaceModules(tensors, [
        floatTensor(
          `${Q}.weight`,
          'F16',
          [ROWS, COLUMNS],
          values.map((value, i) => (i === 77 ? Infinity : value)),
        ),
      ]),
      code: 'weight-not-finite',
      message: /q_proj\.weight holds the value Infinity/,
    },
    {
      what: 'a norm of another length',
      tensors: replaceModules(tensors, [floatTensor('model.norm.weight', 'F16', [63], values.subarray(0, 63))]),
      code: 'tensor-mismatch',
      message: /model\.norm\.weight .*expected \[64\], found \[63\]/,
    },
    {
      what: 'a quantized matrix of other rows',
      tensors: replaceModules(tensors, quantizedTensors(Q, quantized(ROWS - 4, COLUMNS))),
      group: 32,
      code: 'tensor-mismatch',
      message: /q_proj\.weight_packed .*expected \[128, 64\], found \[124, 64\]/,
    },
    {
      what: 'a quantized matrix of other columns',
      tensors: replaceModules(tensors, quantizedTensors(Q, quantized(ROWS, COLUMNS - 32))),
      group: 32,
      code: 'tensor-mismatch',
      message: /q_proj\.weight_packed .*expected \[128, 64\], found \[128, 32\]/,
    },
    {
      what: 'a quantized matrix without its scales',
      tensors: replaceModules(tensors, quantizedTensors(Q, quantized(ROWS, COLUMNS))).filter(
        ({ name }) => name !== `${Q}.weight_scale`,
      ),
      group: 32,
      code: 'tensor-missing',
      message: /q_proj\.weight_scale/,
    },
    {
      what: 'a quantized matrix that config.json does not announce',
      tensors: replaceModules(tensors, quantizedTensors(Q, quantized(ROWS, COLUMNS))),
      code: 'tensor-missing',
      message: /no tensor model\.layers\.1\.self_attn\.q_proj\.weight .*q_proj\.weight_packed/,
    },
  ];
  for (const { what, tensors: changed, group, code, message } of cases) {
    test(what, () => {
      const quantization = group === undefined ? {} : { quantization_config: quantizationConfigJson(group, []) };
      const folder = writeModel(root, { ...config, ...quantization }, changed);
      assert.throws(() => openModel(folder, { threads: 1 }), { code, message });
    });
  }

  const biased = tinyModel(3, { attention_bias: true, mlp_bias: true, num_hidden_layers: 1 });
  for (const { name } of biased.tensors) {
    test(`a model without ${name}`, () => {
      const folder = writeModel(
        root,
        biased.config,
        biased.tensors.filter((tensor) => tensor.name !== name),
      );
      const message = new RegExp(`no tensor ${name.replaceAll('.', '\\.')}[ .]`);
      assert.throws(() => openModel(folder, { threads: 1 }), { code: 'tensor-missing', message });
    });
  }
});
