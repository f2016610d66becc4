// Quantized modules as other tools write them: which form they are taken for, what comes out, and what is refused by the name of the tensor.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { MarlinError } from '../base/errors.ts';
import { numberToF16 } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { Checkpoint } from './checkpoint.ts';
import { encodeMarlin, marlinPermutation } from './decoder.fixture.ts';
import { byteLength, type Dtype } from './dtype.ts';
import { formOf, parseQuantizationConfig, quantizedModules, readQuantized } from './modules.ts';
import type { QuantizationConfig, QuantizationMethod, StoredZero } from './quantization.ts';
import { dequantize, packCodes, type QuantizedMatrix, stack, unpackCodes } from './quantized.ts';
import { SafetensorsWriter } from './safetensors-writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'modules-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'model.safetensors');

interface Stored {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
}
type Tensors = Readonly<Record<string, Stored>>;

function write(tensors: Tensors): void {
  const specs = Object.entries(tensors).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  using writer = SafetensorsWriter.create(path, specs);
  for (const [name, { data }] of Object.entries(tensors))
    writer.write(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  writer.commit();
}

function read(tensors: Tensors, config: QuantizationConfig, size?: { rows: number; columns: number }): QuantizedMatrix {
  write(tensors);
  using checkpoint = Checkpoint.open(path);
  return readQuantized(checkpoint, 'm', config, size);
}

function configOf(method: QuantizationMethod, changes: Partial<QuantizationConfig> = {}): QuantizationConfig {
  const common = { group: 8, symmetric: false, activationOrder: false, storedZero: 'literal', ignore: [] } as const;
  return { method, ...common, ...changes };
}

const int32 = (shape: readonly number[], value: number | readonly number[]): Stored => {
  const count = shape.reduce((product, size) => product * size, 1);
  return {
    dtype: 'I32',
    shape,
    data: typeof value === 'number' ? new Int32Array(count).fill(value) : Int32Array.from(value),
  };
};
const half = (shape: readonly number[], value = 1): Stored => {
  const count = shape.reduce((product, size) => product * size, 1);
  return { dtype: 'F16', shape, data: new Uint16Array(count).fill(numberToF16(value)) };
};
const without = (tensors: Tensors, ...names: readonly string[]): Tensors =>
  Object.fromEntries(Object.entries(tensors).filter(([name]) => !names.includes(name)));

/** 16 outputs, 32 inputs, groups of 8. */
const gptqTensors: Tensors = {
  'm.qweight': int32([4, 16], 0x76543210),
  'm.qzeros': int32([4, 2], 0x77777777),
  'm.scales': half([4, 16]),
  'm.g_idx': int32(
    [32],
    Array.from({ length: 32 }, (_, k) => k >> 3),
  ),
};
const awqTensors: Tensors = {
  'm.qweight': int32([32, 2], 0x75316420),
  'm.qzeros': int32([4, 2], 0x75316420),
  'm.scales': half([4, 16]),
};
const packedTensors: Tensors = {
  'm.weight_packed': int32([16, 4], 0x76543210),
  'm.weight_scale': half([16, 4]),
  'm.weight_shape': { dtype: 'I64', shape: [2], data: BigInt64Array.of(16n, 32n) },
  'm.weight_zero_point': int32([2, 4], 0x76543210),
};

describe('GPTQ', () => {
  const v1 = configOf('gptq', { storedZero: 'minus-one' });
  const zerosOf = (word: number, changes: Partial<QuantizationConfig>): Uint8Array | null =>
    read({ ...gptqTensors, 'm.qzeros': int32([4, 2], word) }, { ...v1, ...changes }).zeroPoints;

  test('codes go along inputs', () => {
    const { rows, columns, packed, zeroPoints } = read(gptqTensors, v1);
    assert.deepEqual([rows, columns, zeroPoints], [16, 32, null]);
    assert.deepEqual(
      [...unpackCodes(packed, 16, 32).subarray(0, 16)],
      [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7],
    );
  });

  test('zero points of version 1 are one more than stored, nibble by nibble, up to 16', () => {
    const zeros = zerosOf(0xf6543210 | 0, {})!;
    // [outputs, groups]: the zero point of group 0 of each of the first eight outputs.
    assert.deepEqual(
      Array.from({ length: 8 }, (_, n) => zeros[4 * n]),
      [1, 2, 3, 4, 5, 6, 7, 16],
    );
  });

  test('or word by word where GPTQModel wrote them: a true 0 had borrowed of the next', () => {
    // True zero points 0 1 2 3 4 5 6 7, so 0x76543210 - 0x11111111.
    const zeros = zerosOf((0x76543210 - 0x11111111) | 0, { storedZero: 'minus-one-of-words' })!;
    assert.deepEqual(
      Array.from({ length: 8 }, (_, n) => zeros[4 * n]),
      [0, 1, 2, 3, 4, 5, 6, 7],
    );
  });

  test('word by word, and back, for any zero points', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 8, maxLength: 8 }), (truth) => {
        const word = truth.reduce((sum, zero, i) => sum + BigInt(zero) * 16n ** BigInt(i), 0n);
        const stored = Number(BigInt.asIntN(32, word - 0x11111111n));
        const zeros = zerosOf(stored, { storedZero: 'minus-one-of-words' }) ?? new Uint8Array(64).fill(8);
        assert.deepEqual(
          Array.from({ length: 8 }, (_, n) => zeros[4 * n]),
          truth,
        );
      }),
      { numRuns: 40 },
    );
  });

  test('zero points of version 2 are as stored', () => {
    const zeros = zerosOf(0x76543210, { storedZero: 'literal' })!;
    assert.deepEqual(
      Array.from({ length: 8 }, (_, n) => zeros[4 * n]),
      [0, 1, 2, 3, 4, 5, 6, 7],
    );
  });

  test('a symmetric file has either word of eight, whatever its version', () => {
    for (const storedZero of ['minus-one', 'literal', 'minus-one-of-words'] as const satisfies readonly StoredZero[]) {
      for (const word of [2004318071, -2004318072]) assert.equal(zerosOf(word, { storedZero, symmetric: true }), null);
    }
    assert.deepEqual(zerosOf(2004318071, { storedZero: 'literal' }), new Uint8Array(64).fill(7));
    assert.deepEqual(zerosOf(-2004318072, { storedZero: 'minus-one' }), new Uint8Array(64).fill(9));
  });

  test('one scale a channel', () => {
    const tensors = {
      ...gptqTensors,
      'm.qzeros': int32([1, 2], 0x77777777),
      'm.scales': half([1, 16], 0.5),
      'm.g_idx': int32([32], 0),
    };
    const { group, scales, groupOf } = read(tensors, { ...v1, group: 'channel' });
    assert.deepEqual([group, scales.length, groupOf], [32, 16, undefined]);
  });

  test('without g_idx, or with BF16 scales', () => {
    const { groupOf } = read(without(gptqTensors, 'm.g_idx'), v1);
    assert.equal(groupOf, undefined);
    const scales: Stored = { dtype: 'BF16', shape: [4, 16], data: new Uint16Array(64).fill(0x3f80) };
    assert.equal(read({ ...gptqTensors, 'm.scales': scales }, v1).scaleDtype, 'BF16');
  });

  test('activation order: each column has the scale and zero point of its own group', () => {
    const groups = Array.from({ length: 32 }, (_, k) => (k * 5) & 3);
    const scales = Uint16Array.from({ length: 64 }, (_, i) => numberToF16(1 + (i >> 4)));
    const matrix = read(
      { ...gptqTensors, 'm.g_idx': int32([32], groups), 'm.scales': { dtype: 'F16', shape: [4, 16], data: scales } },
      v1,
    );
    assert.deepEqual([...matrix.groupOf!], groups);
    const weights = dequantize(matrix);
    assert.deepEqual(
      [...weights.subarray(0, 32)],
      groups.map((g, k) => ((k & 7) - 8) * (1 + g)),
    );
    assert.equal(stack([matrix]), null);
    assert.equal(stack([matrix, matrix], 8), null);
  });
});

test('AWQ: codes go along outputs in an order of their own, zero points are literal', () => {
  const { rows, columns, packed, zeroPoints } = read(awqTensors, configOf('awq'));
  assert.deepEqual([rows, columns], [16, 32]);
  const codes = unpackCodes(packed, 16, 32);
  for (let n = 0; n < 16; n++)
    assert.deepEqual([codes[32 * n], codes[32 * n + 31], zeroPoints![4 * n]], [n & 7, n & 7, n & 7]);
});

describe('compressed-tensors', () => {
  test('zero points are packed along outputs', () => {
    const { zeroPoints } = read(packedTensors, configOf('compressed-tensors'));
    assert.deepEqual(
      Array.from({ length: 16 }, (_, n) => zeroPoints![4 * n + 3]),
      Array.from({ length: 16 }, (_, n) => n & 7),
    );
  });

  test('all zero points 8: symmetric', () => {
    const tensors = { ...packedTensors, 'm.weight_zero_point': int32([2, 4], 0x88888888 | 0) };
    assert.equal(read(tensors, configOf('compressed-tensors')).zeroPoints, null);
  });

  test('weight_g_idx: groups of columns; a -1 anywhere means none', () => {
    const groups = Array.from({ length: 32 }, (_, k) => (k * 5) & 3);
    const config = configOf('compressed-tensors', { activationOrder: true });
    const tensors = { ...packedTensors, 'm.weight_g_idx': int32([32], groups) };
    assert.deepEqual([...read(tensors, config).groupOf!], groups);
    const unset = { ...packedTensors, 'm.weight_g_idx': int32([32], groups.with(31, -1)) };
    assert.equal(read(unset, config).groupOf, undefined);
  });
});

describe('Marlin', () => {
  test('the order begins as the packer of the paper has it', () => {
    const first = [0, 128, 8, 136, 16, 144, 24, 152, 256, 384, 264, 392, 272, 400, 280, 408];
    assert.deepEqual(marlinPermutation().slice(0, 16), first);
  });

  for (const [rows, columns, group] of [
    [256, 128, 128],
    [64, 32, 16],
    [192, 64, 64],
  ] as const) {
    test(`${rows} x ${columns} in groups of ${group}`, () => {
      const random = new Random(rows + columns);
      const codes = Uint8Array.from({ length: rows * columns }, () => random.integer(16));
      const scales = Uint16Array.from({ length: (rows * columns) / group }, () => numberToF16(random.uniform()));
      const table = (values: Uint8Array | Uint16Array): number[][] => {
        const width = values.length / rows;
        return Array.from({ length: rows }, (_, n) => [...values.subarray(n * width, (n + 1) * width)]);
      };
      const { B, s } = encodeMarlin(table(codes), table(scales));
      const tensors: Tensors = {
        'm.B': { dtype: 'I32', shape: [columns / 16, 2 * rows], data: B },
        'm.s': { dtype: 'F16', shape: [columns / group, rows], data: s },
      };
      const expected = {
        rows,
        columns,
        group,
        packed: packCodes(codes, rows, columns),
        scales,
        scaleDtype: 'F16',
        zeroPoints: null,
      };
      const config = configOf('marlin', { symmetric: true, group: group === columns ? 'channel' : group });
      assert.deepEqual(read(tensors, config), expected);
    });
  }
});

test('the form is told by the tensors', () => {
  const square = without({ ...gptqTensors }, 'm.g_idx');
  const cases: readonly [Tensors, QuantizationMethod | null][] = [
    [gptqTensors, 'gptq'],
    [square, 'gptq'],
    [awqTensors, 'awq'],
    [packedTensors, 'compressed-tensors'],
    [{ 'm.B': int32([2, 128], 0), 'm.s': half([1, 64]) }, 'marlin'],
    [{ 'm.weight': half([4, 4]) }, null],
  ];
  for (const [tensors, form] of cases) {
    write({ ...tensors, 'other.weight': half([1]) });
    using checkpoint = Checkpoint.open(path);
    assert.equal(formOf(checkpoint, 'm'), form);
    assert.deepEqual(quantizedModules(checkpoint), form === null ? [] : [{ name: 'm', form }]);
  }
});

describe('refused by name', () => {
  const v1 = configOf('gptq', { storedZero: 'minus-one' });
  const packed = configOf('compressed-tensors');
  const size = { rows: 16, columns: 32 };
  const changed = (tensors: Tensors, name: string, stored: Stored): Tensors => ({ ...tensors, [name]: stored });
  const cases: readonly [title: string, tensors: Tensors, config: QuantizationConfig, code: string, message: RegExp][] =
    [
      [
        'GPTQ of other inputs',
        changed(gptqTensors, 'm.qweight', int32([5, 16], 0)),
        v1,
        'tensor-mismatch',
        /m\.qweight .*expected \[16, 32\], found \[16, 40\]/,
      ],
      [
        'GPTQ of other outputs',
        changed(gptqTensors, 'm.qweight', int32([4, 24], 0)),
        v1,
        'tensor-mismatch',
        /m\.qweight .*expected \[16, 32\], found \[24, 32\]/,
      ],
      [
        'a qweight of floats',
        changed(gptqTensors, 'm.qweight', half([4, 16])),
        v1,
        'tensor-mismatch',
        /m\.qweight .*expected I32 \[4, 16\], found F16 \[4, 16\]/,
      ],
      [
        'a flat qweight',
        changed(gptqTensors, 'm.qweight', int32([64], 0)),
        v1,
        'tensor-mismatch',
        /m\.qweight .*found I32 \[64\]/,
      ],
      [
        'qzeros of other groups',
        changed(gptqTensors, 'm.qzeros', int32([2, 2], 0)),
        v1,
        'tensor-mismatch',
        /m\.qzeros .*expected I32 \[4, 2\], found I32 \[2, 2\]/,
      ],
      [
        'scales of other groups',
        changed(gptqTensors, 'm.scales', half([2, 16])),
        v1,
        'tensor-mismatch',
        /m\.scales .*expected F16 or BF16 \[4, 16\], found F16 \[2, 16\]/,
      ],
      [
        'scales in F32',
        changed(gptqTensors, 'm.scales', { dtype: 'F32', shape: [4, 16], data: new Float32Array(64) }),
        v1,
        'tensor-mismatch',
        /m\.scales .*found F32/,
      ],
      [
        'a scale that is infinite',
        changed(gptqTensors, 'm.scales', half([4, 16], Infinity)),
        v1,
        'scale-overflow',
        /m\.scales is Infinity/,
      ],
      ['no qzeros', without(gptqTensors, 'm.qzeros'), v1, 'tensor-missing', /m\.qzeros/],
      ['no scales', without(gptqTensors, 'm.scales'), v1, 'tensor-missing', /m\.scales/],
      [
        'a g_idx of other length',
        changed(gptqTensors, 'm.g_idx', int32([16], 0)),
        v1,
        'tensor-mismatch',
        /m\.g_idx .*expected I32 \[32\]/,
      ],
      [
        'a g_idx beyond the groups',
        changed(
          gptqTensors,
          'm.g_idx',
          int32(
            [32],
            Array.from({ length: 32 }, (_, k) => (k === 9 ? 4 : k >> 3)),
          ),
        ),
        v1,
        'tensor-mismatch',
        /m\.g_idx .*groups from 0 to 3, found 4 for column 9/,
      ],
      [
        'a negative g_idx',
        changed(gptqTensors, 'm.g_idx', int32([32], -1)),
        v1,
        'tensor-mismatch',
        /m\.g_idx .*found -1 for column 0/,
      ],
      [
        'a g_idx of uneven groups',
        changed(gptqTensors, 'm.g_idx', int32([32], 1)),
        v1,
        'tensor-mismatch',
        /m\.g_idx .*8 columns in every group, found 0 in group 0/,
      ],
      [
        'a group that does not divide',
        gptqTensors,
        { ...v1, group: 24 },
        'group-invalid',
        /group of 24 .* 32 input channels of m/,
      ],
      ['AWQ without qzeros', without(awqTensors, 'm.qzeros'), configOf('awq'), 'tensor-missing', /m\.qzeros/],
      ['AWQ without scales', without(awqTensors, 'm.scales'), configOf('awq'), 'tensor-missing', /m\.scales/],
      [
        'AWQ of other inputs',
        changed(awqTensors, 'm.qweight', int32([40, 2], 0)),
        configOf('awq'),
        'tensor-mismatch',
        /m\.qweight .*expected \[16, 32\], found \[16, 40\]/,
      ],
      [
        'AWQ qzeros of floats',
        changed(awqTensors, 'm.qzeros', half([4, 2])),
        configOf('awq'),
        'tensor-mismatch',
        /m\.qzeros .*expected I32 \[4, 2\], found F16/,
      ],
      ['AWQ tensors said to be GPTQ', awqTensors, v1, 'quantization-disagrees', /m\.qweight, .*"gptq"/],
      ['GPTQ tensors said to be AWQ', gptqTensors, configOf('awq'), 'quantization-disagrees', /m\.qweight, .*"awq"/],
      [
        'no zero points, said to be there',
        without(packedTensors, 'm.weight_zero_point'),
        packed,
        'tensor-missing',
        /m\.weight_zero_point/,
      ],
      [
        'zero points packed along inputs',
        changed(packedTensors, 'm.weight_zero_point', int32([16, 1], 0)),
        packed,
        'tensor-mismatch',
        /m\.weight_zero_point .*expected I32 \[2, 4\], found I32 \[16, 1\]/,
      ],
      [
        'a weight_g_idx beyond the groups',
        changed(packedTensors, 'm.weight_g_idx', int32([32], 7)),
        packed,
        'tensor-mismatch',
        /m\.weight_g_idx .*found 7/,
      ],
      [
        'a B of too few outputs',
        { 'm.B': int32([2, 32], 0), 'm.s': half([4, 16]) },
        configOf('marlin'),
        'tensor-mismatch',
        /m\.B .*multiple of 64/,
      ],
      [
        'an s of other groups',
        { 'm.B': int32([2, 128], 0), 'm.s': half([1, 64]) },
        configOf('marlin'),
        'tensor-mismatch',
        /m\.B .*expected \[16, 32\], found \[64, 32\]/,
      ],
    ];
  for (const [title, tensors, config, code, message] of cases) {
    test(title, () => {
      assert.throws(() => read(tensors, config, size), { code, message });
    });
  }

  test('a file that ends too soon', () => {
    write(gptqTensors);
    truncateSync(path, 400);
    assert.throws(() => Checkpoint.open(path), { code: 'safetensors-truncated' });
  });

  test('any tensor with any other dtype or shape: read or refused, nothing else', () => {
    const names = (tensors: Tensors): fc.Arbitrary<string> => fc.constantFrom(...Object.keys(tensors));
    const forms = [
      [gptqTensors, v1],
      [awqTensors, configOf('awq')],
      [packedTensors, packed],
    ] as const;
    const any = fc.constantFrom(...forms).chain(([tensors, config]) =>
      fc.record({
        tensors: fc.constant(tensors),
        config: fc.constant(config),
        name: names(tensors),
        dtype: fc.constantFrom<Dtype>('I32', 'F16', 'I64', 'F32', 'U8'),
        shape: fc.array(fc.nat(40), { maxLength: 3 }),
      }),
    );
    fc.assert(
      fc.property(any, ({ tensors, config, name, dtype, shape }) => {
        const bytes = byteLength(dtype, shape);
        try {
          read({ ...tensors, [name]: { dtype, shape, data: new Uint8Array(bytes) } }, config);
        } catch (error) {
          assert.ok(error instanceof MarlinError && error.code !== 'internal', String(error));
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('descriptions', () => {
  const parse = (json: object, otherwise?: QuantizationMethod): QuantizationConfig =>
    parseQuantizationConfig(json, 'config.json', otherwise);
  const gptq = { quant_method: 'gptq', bits: 4, group_size: 128, desc_act: false, sym: true };
  const awq = {
    quant_method: 'awq',
    bits: 4,
    group_size: 128,
    zero_point: true,
    version: 'gemm',
    modules_to_not_convert: null,
  };
  const base = { group: 128, activationOrder: false, ignore: [] } as const;

  test('of GPTQ', () => {
    const expected = { ...base, method: 'gptq', symmetric: true, storedZero: 'minus-one' };
    assert.deepEqual(parse(gptq), expected);
    assert.deepEqual(parse({ ...gptq, checkpoint_format: 'gptq', static_groups: false }), expected);
    assert.deepEqual(parse({ quant_method: 'gptq', wbits: 4, group_size: 128 }), expected);
    assert.deepEqual(parse({ bits: 4, group_size: 128, sym: true }, 'gptq'), expected);
    assert.deepEqual(parse({ ...gptq, group_size: -1, desc_act: true }), {
      ...expected,
      group: 'channel',
      activationOrder: true,
    });
    assert.deepEqual(parse({ ...gptq, sym: false }), { ...expected, symmetric: false });
    for (const checkpoint_format of ['gptq_v2', 'gptq_p'])
      assert.deepEqual(parse({ ...gptq, checkpoint_format }), { ...expected, storedZero: 'literal' });
    for (const quantizer of ['gptqmodel:7.4.0', ['gptqmodel:7.4.0']])
      assert.deepEqual(parse({ ...gptq, meta: { quantizer } }), { ...expected, storedZero: 'minus-one-of-words' });
    assert.deepEqual(parse({ ...gptq, dynamic: { '-:.*mlp.*': {} } }), expected);
  });

  test('of AWQ, also in the names of AutoAWQ and GPTQModel', () => {
    const expected = { ...base, method: 'awq', symmetric: false, storedZero: 'literal' };
    assert.deepEqual(parse(awq), expected);
    assert.deepEqual(parse({ zero_point: true, q_group_size: 128, w_bit: 4, version: 'GEMM' }, 'awq'), expected);
    assert.deepEqual(parse({ method: 'awq', bits: 4, group_size: 128, format: 'gemm', sym: false }), expected);
    assert.deepEqual(parse({ ...awq, modules_to_not_convert: ['visual'] }), { ...expected, ignore: ['visual'] });
  });

  test('of Marlin, by itself or in GPTQ', () => {
    const expected = { ...base, method: 'marlin', symmetric: true, storedZero: 'literal' };
    assert.deepEqual(parse({ quant_method: 'marlin', group_size: 128 }), expected);
    assert.deepEqual(parse({ ...gptq, checkpoint_format: 'marlin' }), expected);
    assert.deepEqual(parse({ ...gptq, is_marlin_format: true, group_size: -1 }), { ...expected, group: 'channel' });
  });

  const refused: readonly [what: RegExp, json: object][] = [
    [/quant_method to "bitsandbytes"/, { quant_method: 'bitsandbytes', load_in_4bit: true }],
    [/quant_method to "exl3"/, { quant_method: 'exl3' }],
    [/bits to 8/, { ...gptq, bits: 8 }],
    [/bits to nothing/, { quant_method: 'gptq', group_size: 128 }],
    [/group_size to 0/, { ...gptq, group_size: 0 }],
    [/group_size to "128"/, { ...gptq, group_size: '128' }],
    [/group_size to nothing/, { quant_method: 'gptq', bits: 4 }],
    [/checkpoint_format to "bitblas"/, { ...gptq, checkpoint_format: 'bitblas' }],
    [/checkpoint_format to "marlin_24"/, { ...gptq, checkpoint_format: 'marlin_24' }],
    [/pack_dtype to "int16"/, { ...gptq, pack_dtype: 'int16' }],
    [/desc_act to "yes"/, { ...gptq, desc_act: 'yes' }],
    [/sym to 1/, { ...gptq, sym: 1 }],
    [/rotation to "hadamard"/, { ...gptq, rotation: 'hadamard' }],
    [/dynamic to \{"\+:.*mlp":\{"bits":8\}\}/, { ...gptq, dynamic: { '+:.*mlp': { bits: 8 } } }],
    [/version to "gemv"/, { ...awq, version: 'gemv' }],
    [/version to "marlin"/, { ...awq, version: 'marlin' }],
    [/bits to 3/, { ...awq, bits: 3 }],
    [/sym to false/, { quant_method: 'marlin', group_size: 128, sym: false }],
  ];
  for (const [what, json] of refused) {
    test(`refused: ${what.source}`, () => {
      assert.throws(() => parse(json), { code: 'quantization-unsupported', message: what });
    });
  }
  test('a list of modules that is none', () => {
    assert.throws(() => parse({ ...awq, modules_to_not_convert: [1] }), {
      code: 'json-invalid',
      message: /modules_to_not_convert/,
    });
  });
  test('any one field replaced by anything: read or refused, nothing else', () => {
    const fields = [
      ...Object.keys(gptq),
      ...Object.keys(awq),
      'checkpoint_format',
      'meta',
      'dynamic',
      'config_groups',
      'format',
    ];
    fc.assert(
      fc.property(fc.constantFrom(gptq, awq), fc.constantFrom(...fields), fc.jsonValue(), (json, field, value) => {
        try {
          parse({ ...json, [field]: value });
        } catch (error) {
          assert.ok(error instanceof MarlinError && error.code !== 'internal', String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});
