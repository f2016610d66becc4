// Every form we write, read back by our readers and by the decoder of the fixture, bit for bit; and what a form refuses because it cannot hold it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { numberToBf16 } from '../base/f16.ts';
import { Checkpoint } from './checkpoint.ts';
import { type Decoded, decodeAwq, decodeCompressedTensors, decodeGptq, parseFile } from './decoder.fixture.ts';
import type { WrittenScheme } from './gptq-config.ts';
import { parseQuantizationConfig, readQuantized } from './modules.ts';
import { dequantize, packCodes, type QuantizedMatrix, type ScaleDtype, unpackCodes } from './quantized.ts';
import { type MatrixShape, randomMatrix } from './quantized.fixture.ts';
import { SafetensorsWriter } from './safetensors-writer.ts';
import { type WrittenFormat, writers } from './written.ts';

const folder = mkdtempSync(join(tmpdir(), 'written-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'model.safetensors');

const schemeOf = ({ columns, group, zeroPoints, groupOf }: QuantizedMatrix): WrittenScheme => ({
  group: group === columns ? 'channel' : group,
  symmetric: zeroPoints === null,
  activationOrder: groupOf !== undefined,
  ignore: ['lm_head'],
  producer: 'test:1',
});

/** Writes module `m` and reads it back as a stranger would, by what its description says. */
function roundTrip(format: WrittenFormat, matrix: QuantizedMatrix): QuantizedMatrix {
  const scheme = schemeOf(matrix);
  const writer = writers[format];
  writer.check('m', matrix);
  {
    using file = SafetensorsWriter.create(path, writer.specs('m', matrix, scheme));
    writer.write(file, 'm', matrix, scheme);
    file.commit();
  }
  const config = parseQuantizationConfig(JSON.parse(JSON.stringify(writer.configJson(scheme))), 'config.json');
  using checkpoint = Checkpoint.open(path);
  return readQuantized(checkpoint, 'm', config, { rows: matrix.rows, columns: matrix.columns });
}

const decoders: Readonly<Record<WrittenFormat, () => Decoded>> = {
  'compressed-tensors': () => decodeCompressedTensors(path, 'm'),
  gptq: () => decodeGptq(path, 'm', 1),
  'gptq-v2': () => decodeGptq(path, 'm', 2),
  awq: () => decodeAwq(path, 'm'),
};

/** What the decoder of the fixture should find. */
function plain(matrix: QuantizedMatrix): Decoded {
  const { rows, columns, group, scales, zeroPoints, groupOf } = matrix;
  const groups = columns / group;
  const codes = unpackCodes(matrix.packed, rows, columns);
  const byRow = (values: ArrayLike<number>, width: number): number[][] =>
    Array.from({ length: rows }, (_, row) => Array.from({ length: width }, (_, i) => values[row * width + i]!));
  return {
    codes: byRow(codes, columns),
    zeros: byRow(zeroPoints ?? new Uint8Array(rows * groups).fill(8), groups),
    scales: byRow(scales, groups),
    groups: Array.from({ length: columns }, (_, k) => groupOf?.[k] ?? Math.floor(k / group)),
  };
}

/** Without the nibbles past the last column, which mean nothing. */
const meaning = (matrix: QuantizedMatrix): object => ({
  ...matrix,
  packed: unpackCodes(matrix.packed, matrix.rows, matrix.columns),
});

const limits: Readonly<
  Record<WrittenFormat, { readonly eights: boolean; readonly low: number; readonly high: number }>
> = {
  'compressed-tensors': { eights: false, low: 0, high: 15 },
  gptq: { eights: true, low: 1, high: 16 },
  'gptq-v2': { eights: true, low: 0, high: 15 },
  awq: { eights: true, low: 0, high: 15 },
};
const formats = ['compressed-tensors', 'gptq', 'gptq-v2', 'awq'] as const;

const shapes = (format: WrittenFormat): fc.Arbitrary<MatrixShape> => {
  const { eights, low, high } = limits[format];
  const unit = eights ? 8 : 1;
  return fc
    .record({
      rows: fc.integer({ min: 1, max: 5 }).map((n) => n * unit),
      group: fc.constantFrom(8, 16, 24, ...(eights ? [] : [1, 3, 4])),
      zeros: fc.constantFrom(null, { low, high }),
      scattered: format === 'awq' ? fc.constant(false) : fc.boolean(),
      scaleDtype: fc.constantFrom<ScaleDtype>('F16', ...(eights ? [] : (['BF16'] as const))),
      seed: fc.nat(2 ** 31),
      groups: fc.integer({ min: 1, max: 5 }),
    })
    .map(({ groups, ...shape }) => ({ ...shape, columns: groups * shape.group }));
};

for (const format of formats) {
  describe(format, () => {
    test('what is written is read back, by us and by another decoder', () => {
      fc.assert(
        fc.property(shapes(format), (shape) => {
          const matrix = randomMatrix(shape);
          const read = roundTrip(format, matrix);
          assert.deepEqual(meaning(read), meaning(matrix));
          assert.deepEqual(decoders[format](), plain(matrix));
        }),
        { numRuns: 60 },
      );
    });

    test('a matrix of many slabs', () => {
      const matrix = randomMatrix({
        rows: 2048,
        columns: 8192,
        group: 128,
        zeros: { low: 1, high: 15 },
        scattered: false,
        scaleDtype: 'F16',
        seed: 3,
      });
      assert.deepEqual(roundTrip(format, matrix), matrix);
    });
  });
}

test('the same codes are the same weights in every form', () => {
  const common = fc.record({ shape: shapes('awq'), zeros: fc.constantFrom(null, { low: 1, high: 15 }) });
  fc.assert(
    fc.property(common, ({ shape, zeros }) => {
      const matrix = randomMatrix({ ...shape, zeros });
      const weights = dequantize(matrix);
      for (const format of formats) assert.deepEqual(dequantize(roundTrip(format, matrix)), weights, format);
    }),
    { numRuns: 40 },
  );
});

describe('words that every tool writes so', () => {
  const word = (tensor: string, at = 0): number =>
    parseFile(path)
      .get(`m.${tensor}`)!
      .bytes.readInt32LE(4 * at);
  const counting = randomMatrix({
    rows: 8,
    columns: 8,
    group: 8,
    zeros: null,
    scattered: false,
    scaleDtype: 'F16',
    seed: 1,
  });

  test('codes 0 to 7', () => {
    const alongInputs = { ...counting, packed: new Uint32Array(8).fill(0x76543210) };
    roundTrip('gptq', alongInputs);
    assert.equal(word('qweight'), 1985229328);
    roundTrip('compressed-tensors', alongInputs);
    assert.equal(word('weight_packed'), 1985229328);
    const codes = Uint8Array.from({ length: 64 }, (_, i) => Math.floor(i / 8));
    roundTrip('awq', { ...counting, packed: packCodes(codes, 8, 8) });
    assert.equal(word('qweight'), 1966171168);
  });

  test('symmetric zero points', () => {
    roundTrip('gptq', counting);
    assert.equal(word('qzeros'), 2004318071);
    roundTrip('gptq-v2', counting);
    assert.equal(word('qzeros'), -2004318072);
  });
});

describe('refused, because something would be lost', () => {
  const matrix = randomMatrix({
    rows: 16,
    columns: 32,
    group: 8,
    zeros: null,
    scattered: false,
    scaleDtype: 'F16',
    seed: 5,
  });
  const zeros = (value: number): Uint8Array => new Uint8Array(64).fill(8).with(9, value);
  const tiny = { scales: new Uint16Array(64).fill(numberToBf16(1e-9)), scaleDtype: 'BF16' } as const;
  const cases: readonly [title: string, format: WrittenFormat, changes: Partial<QuantizedMatrix>, message: RegExp][] = [
    ['a zero point 0 in gptq', 'gptq', { zeroPoints: zeros(0) }, /m .*zero point 0, and 1 to 16/],
    ['a zero point 16 in gptq-v2', 'gptq-v2', { zeroPoints: zeros(16) }, /m .*zero point 16, and 0 to 15/],
    ['a zero point 16 in awq', 'awq', { zeroPoints: zeros(16) }, /zero point 16/],
    ['a zero point 16 in compressed-tensors', 'compressed-tensors', { zeroPoints: zeros(16) }, /zero point 16/],
    ['a BF16 scale in gptq', 'gptq', tiny, /scale 9\.\d+e-10 is BF16/],
    ['a BF16 scale in awq', 'awq', tiny, /scale 9\.\d+e-10 is BF16/],
    ['activation order in awq', 'awq', { groupOf: new Uint32Array(32) }, /activation order/],
    ['12 outputs in awq', 'awq', { rows: 12 }, /12 outputs/],
    ['12 outputs in gptq', 'gptq', { rows: 12 }, /12 outputs/],
    ['12 inputs in gptq-v2', 'gptq-v2', { columns: 12 }, /12 inputs/],
  ];
  for (const [title, format, changes, message] of cases) {
    test(title, () => {
      assert.throws(() => writers[format].check('m', { ...matrix, ...changes }), { code: 'conversion-lossy', message });
    });
  }

  test('BF16 scales that F16 holds are no loss', () => {
    const scales = new Uint16Array(64).fill(numberToBf16(0.015625));
    const read = roundTrip('gptq', { ...matrix, scales, scaleDtype: 'BF16' });
    assert.deepEqual(dequantize(read), dequantize({ ...matrix, scales, scaleDtype: 'BF16' }));
  });
});
