import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { numberToBf16, numberToF16 } from '../base/f16.ts';
import { Checkpoint } from './checkpoint.ts';
import {
  quantizationConfigJson,
  quantizedSpecs,
  writeQuantized,
  writeQuantizedRows,
  writeQuantizedShape,
} from './compressed-tensors.ts';
import type { Dtype } from './dtype.ts';
import { isQuantized, parseQuantizationConfig, readQuantized } from './modules.ts';
import type { QuantizationConfig } from './quantization.ts';
import { dequantize, packCodes, type QuantizedMatrix } from './quantized.ts';
import { SafetensorsWriter } from './safetensors-writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'compressed-tensors-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'model.safetensors');

type Changes = Readonly<Record<string, unknown>>;

/** A config as llm-compressor writes it, with changes at its three levels. */
function config(top: Changes = {}, scheme: Changes = {}, weights: Changes = {}): Changes {
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    quantization_status: 'compressed',
    config_groups: {
      group_0: {
        targets: ['Linear'],
        input_activations: null,
        output_activations: null,
        weights: {
          num_bits: 4,
          type: 'int',
          symmetric: true,
          strategy: 'group',
          group_size: 128,
          dynamic: false,
          actorder: null,
          ...weights,
        },
        ...scheme,
      },
    },
    ignore: ['lm_head', 're:.*vision.*'],
    kv_cache_scheme: null,
    sparsity_config: {},
    transform_config: {},
    version: '0.12.2',
    ...top,
  };
}

describe('quantization_config', () => {
  test('is read in the forms it is written in', () => {
    const ignore = ['lm_head', 're:.*vision.*'];
    const expected = {
      method: 'compressed-tensors',
      group: 128,
      symmetric: true,
      activationOrder: false,
      storedZero: 'literal',
      ignore,
    };
    assert.deepEqual(parseQuantizationConfig(config(), 'c'), expected);
    assert.deepEqual(
      parseQuantizationConfig(config({}, { format: 'pack-quantized' }, { actorder: 'static' }), 'c'),
      expected,
    );
    assert.deepEqual(parseQuantizationConfig(config({ config_groups: { W4A16: ['Linear'] } }), 'c'), expected);
    const asymmetric = { ...expected, symmetric: false };
    assert.deepEqual(parseQuantizationConfig(config({}, {}, { symmetric: false }), 'c'), asymmetric);
    assert.deepEqual(parseQuantizationConfig(config({ config_groups: { W4A16_ASYM: ['Linear'] } }), 'c'), asymmetric);
    for (const actorder of ['group', 'dynamic', true]) {
      const ordered = parseQuantizationConfig(config({}, {}, { actorder }), 'c');
      assert.deepEqual(ordered, { ...expected, activationOrder: true });
    }
    for (const size of [null, -1, undefined]) {
      const channel = config({}, {}, { strategy: 'channel', group_size: size });
      assert.deepEqual(parseQuantizationConfig(channel, 'c'), { ...expected, group: 'channel' });
    }
    assert.deepEqual(parseQuantizationConfig(config({ ignore: undefined }), 'c').ignore, []);
  });

  test('what we write, we read', () => {
    for (const group of [32, 64, 128, 'channel'] as const) {
      for (const options of [{}, { symmetric: false }, { activationOrder: true }]) {
        const json: unknown = JSON.parse(JSON.stringify(quantizationConfigJson(group, ['lm_head'], options)));
        assert.deepEqual(parseQuantizationConfig(json, 'c'), {
          method: 'compressed-tensors',
          group,
          symmetric: true,
          activationOrder: false,
          storedZero: 'literal',
          ignore: ['lm_head'],
          ...options,
        });
      }
    }
  });

  const refused: readonly [what: RegExp, json: unknown][] = [
    [/quantization_config to 4/, 4],
    [/quant_method to "hqq"/, config({ quant_method: 'hqq' })],
    [/quant_method to nothing/, {}],
    [/format to "marlin-24"/, config({ format: 'marlin-24' })],
    [/quantization_status to "frozen"/, config({ quantization_status: 'frozen' })],
    [/kv_cache_scheme to \{"num_bits":8\}/, config({ kv_cache_scheme: { num_bits: 8 } })],
    [
      /sparsity_config to \{"format":"sparse-24-bitmask"\}/,
      config({ sparsity_config: { format: 'sparse-24-bitmask' } }),
    ],
    [/transform_config to/, config({ transform_config: { R1: {} } })],
    [/config_groups to \{\}/, config({ config_groups: {} })],
    [/config_groups to \{"a"/, config({ config_groups: { a: {}, b: {} } })],
    [/config_groups to "W8A16"/, config({ config_groups: { W8A16: ['Linear'] } })],
    [/targets to \["Embedding"\]/, config({ config_groups: { W4A16: ['Embedding'] } })],
    [/targets to \["re:.*"\]/, config({}, { targets: ['re:.*'] })],
    [/format to "nvfp4-pack-quantized"/, config({}, { format: 'nvfp4-pack-quantized' })],
    [/input_activations to \{"num_bits":8\}/, config({}, { input_activations: { num_bits: 8 } })],
    [/output_activations to/, config({}, { output_activations: { num_bits: 8 } })],
    [/num_bits to 8/, config({}, {}, { num_bits: 8 })],
    [/num_bits to nothing/, config({}, { weights: null })],
    [/type to "float"/, config({}, {}, { type: 'float' })],
    [/symmetric to "no"/, config({}, {}, { symmetric: 'no' })],
    [/dynamic to true/, config({}, {}, { dynamic: true })],
    [/actorder to "sideways"/, config({}, {}, { actorder: 'sideways' })],
    [/strategy to "block"/, config({}, {}, { strategy: 'block' })],
    [/group_size to -1/, config({}, {}, { group_size: -1 })],
    [/group_size to 0/, config({}, {}, { group_size: 0 })],
    [/group_size to nothing/, config({}, {}, { group_size: undefined })],
    [/group_size to 64/, config({}, {}, { strategy: 'channel', group_size: 64 })],
  ];
  for (const [what, json] of refused) {
    test(`refused: ${what.source}`, () => {
      assert.throws(() => parseQuantizationConfig(json, 'c'), { code: 'quantization-unsupported', message: what });
    });
  }
  test('an ignore list that is none', () => {
    assert.throws(() => parseQuantizationConfig(config({ ignore: [1] }), 'c'), { code: 'json-invalid' });
  });
});

/** Writes tensors from raw bytes and opens the file. */
function checkpointOf(
  tensors: Readonly<Record<string, { dtype: Dtype; shape: readonly number[]; data: ArrayBufferView }>>,
): Checkpoint {
  const specs = Object.entries(tensors).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  using writer = SafetensorsWriter.create(path, specs);
  for (const [name, { data }] of Object.entries(tensors)) writer.write(name, new Uint8Array(data.buffer));
  writer.commit();
  return Checkpoint.open(path);
}

describe('tensors', () => {
  const by4: QuantizationConfig = {
    method: 'compressed-tensors',
    group: 4,
    symmetric: true,
    activationOrder: false,
    storedZero: 'literal',
    ignore: [],
  };
  const codes = Uint8Array.from({ length: 2 * 12 }, (_, i) => (i * 7) & 15);
  const matrix: QuantizedMatrix = {
    rows: 2,
    columns: 12,
    group: 4,
    packed: packCodes(codes, 2, 12),
    scales: Uint16Array.from([1, 2, 3, 4, 5, 6], numberToBf16),
    scaleDtype: 'BF16',
    zeroPoints: null,
  };

  /** The tensors of `matrix` as other tools write them; nothing here is shared with our writer. */
  const stored = {
    'm.weight_packed': { dtype: 'I32', shape: [2, 2], data: Int32Array.from(matrix.packed) },
    'm.weight_scale': { dtype: 'BF16', shape: [2, 3], data: matrix.scales },
    'm.weight_shape': { dtype: 'I64', shape: [2], data: BigInt64Array.of(2n, 12n) },
  } as const;

  test('are read as other tools write them', () => {
    using checkpoint = checkpointOf(stored);
    assert.deepEqual(readQuantized(checkpoint, 'm', by4), matrix);
    assert.ok(isQuantized(checkpoint, 'm') && !isQuantized(checkpoint, 'n'));
  });

  test('weight_shape as I32, scales per channel in F16, a zero point that old symmetric files carry', () => {
    using checkpoint = checkpointOf({
      ...stored,
      'm.weight_shape': { dtype: 'I32', shape: [2], data: Int32Array.of(2, 12) },
      'm.weight_scale': { dtype: 'F16', shape: [2, 1], data: Uint16Array.of(0x3c00, 0x4000) },
      'm.weight_zero_point': { dtype: 'I8', shape: [2, 1], data: new Int8Array(2) },
    });
    const read = readQuantized(checkpoint, 'm', { ...by4, group: 'channel' });
    assert.deepEqual(read, { ...matrix, group: 12, scales: Uint16Array.of(0x3c00, 0x4000), scaleDtype: 'F16' });
  });

  test('F32 scales are rounded to F16', () => {
    const scales = Float32Array.of(1, 0.1, -2, 65504, 0, 1e-7);
    using checkpoint = checkpointOf({ ...stored, 'm.weight_scale': { dtype: 'F32', shape: [2, 3], data: scales } });
    const read = readQuantized(checkpoint, 'm', by4);
    assert.deepEqual([read.scaleDtype, read.scales], ['F16', Uint16Array.from(scales, numberToF16)]);
  });

  const faulty: readonly [title: string, code: string, message: RegExp, tensors: Parameters<typeof checkpointOf>[0]][] =
    [
      [
        'packed of another shape',
        'tensor-mismatch',
        /m\.weight_packed.*expected I32 \[2, 2\], found I32 \[4\]/,
        { ...stored, 'm.weight_packed': { dtype: 'I32', shape: [4], data: new Int32Array(4) } },
      ],
      [
        'packed of another dtype',
        'tensor-mismatch',
        /m\.weight_packed.*found F32 \[2, 2\]/,
        { ...stored, 'm.weight_packed': { dtype: 'F32', shape: [2, 2], data: new Int32Array(4) } },
      ],
      [
        'too few scales',
        'tensor-mismatch',
        /m\.weight_scale.*BF16.*\[2, 3\].*found BF16 \[2, 1\]/,
        { ...stored, 'm.weight_scale': { dtype: 'BF16', shape: [2, 1], data: new Uint16Array(2) } },
      ],
      [
        'integer scales',
        'tensor-mismatch',
        /m\.weight_scale.*found I16/,
        { ...stored, 'm.weight_scale': { dtype: 'I16', shape: [2, 3], data: new Uint16Array(6) } },
      ],
      [
        'a shape of three',
        'tensor-mismatch',
        /m\.weight_shape/,
        { ...stored, 'm.weight_shape': { dtype: 'I64', shape: [3], data: BigInt64Array.of(2n, 2n, 3n) } },
      ],
      [
        'a negative shape',
        'tensor-mismatch',
        /m\.weight_shape.*found -2, 12/,
        { ...stored, 'm.weight_shape': { dtype: 'I64', shape: [2], data: BigInt64Array.of(-2n, 12n) } },
      ],
      [
        'a shape beyond exact numbers',
        'tensor-mismatch',
        /m\.weight_shape/,
        { ...stored, 'm.weight_shape': { dtype: 'I64', shape: [2], data: BigInt64Array.of(2n, 2n ** 62n) } },
      ],
      [
        'columns that groups do not divide',
        'group-invalid',
        /group of 4 .* 10 input channels of m/,
        { ...stored, 'm.weight_shape': { dtype: 'I64', shape: [2], data: BigInt64Array.of(2n, 10n) } },
      ],
      [
        'a scale that is NaN',
        'scale-overflow',
        /m\.weight_scale is NaN/,
        { ...stored, 'm.weight_scale': { dtype: 'BF16', shape: [2, 3], data: Uint16Array.of(0, 0, 0x7fc0, 0, 0, 0) } },
      ],
      [
        'an F32 scale too large for F16',
        'scale-overflow',
        /m\.weight_scale is 70000/,
        { ...stored, 'm.weight_scale': { dtype: 'F32', shape: [2, 3], data: Float32Array.of(0, 0, 70000, 0, 0, 0) } },
      ],
      [
        'an F32 scale too small for F16',
        'scale-overflow',
        /m\.weight_scale is 9\.99/,
        { ...stored, 'm.weight_scale': { dtype: 'F32', shape: [2, 3], data: Float32Array.of(0, 0, 0, 0, 0, 1e-9) } },
      ],
      [
        'no scales',
        'tensor-missing',
        /m\.weight_scale/,
        { 'm.weight_packed': stored['m.weight_packed'], 'm.weight_shape': stored['m.weight_shape'] },
      ],
    ];
  for (const [title, code, message, tensors] of faulty) {
    test(`refused: ${title}`, () => {
      using checkpoint = checkpointOf(tensors);
      assert.throws(() => readQuantized(checkpoint, 'm', by4), { code, message });
    });
  }

  test('what is written, whole or in parts, is read back', () => {
    const sizes = fc.record({
      rows: fc.integer({ min: 1, max: 6 }),
      groups: fc.integer({ min: 1, max: 4 }),
      group: fc.integer({ min: 1, max: 9 }),
      seed: fc.nat(255),
    });
    fc.assert(
      fc.property(sizes, ({ rows, groups, group, seed }) => {
        const columns = groups * group;
        const make = (count: number, salt: number): QuantizedMatrix => ({
          rows: count,
          columns,
          group,
          packed: packCodes(
            Uint8Array.from({ length: count * columns }, (_, i) => ((i + salt) * 5) & 15),
            count,
            columns,
          ),
          scales: Uint16Array.from({ length: count * groups }, (_, i) => 0x3c00 + ((i * 31 + salt) & 0xff)),
          scaleDtype: 'F16',
          zeroPoints: null,
        });
        const whole = make(rows, seed);
        const [top, bottom] = [make(rows, seed + 1), make(2, seed + 2)];
        const parts = { rows: rows + 2, columns, group, scaleDtype: 'F16' } as const;
        using writer = SafetensorsWriter.create(path, [...quantizedSpecs('a', whole), ...quantizedSpecs('b', parts)]);
        writeQuantized(writer, 'a', whole);
        writeQuantizedShape(writer, 'b', parts.rows, columns);
        writeQuantizedRows(writer, 'b', bottom, rows);
        writeQuantizedRows(writer, 'b', top, 0);
        writer.commit();
        using checkpoint = Checkpoint.open(path);
        assert.deepEqual(readQuantized(checkpoint, 'a', { ...by4, group }), whole);
        const read = readQuantized(checkpoint, 'b', { ...by4, group });
        assert.deepEqual([...dequantize(read)], [...dequantize(top), ...dequantize(bottom)]);
      }),
      { numRuns: 50 },
    );
  });

  test('zero points are not dropped silently', () => {
    using writer = SafetensorsWriter.create(path, quantizedSpecs('m', matrix));
    assert.throws(() => writeQuantized(writer, 'm', { ...matrix, zeroPoints: new Uint8Array(6) }), {
      code: 'internal',
    });
  });
});
