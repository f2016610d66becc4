import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { numberToBf16, numberToF16 } from '../base/f16.ts';
import { dequantize, packCodes, unpackCodes } from './quantized.ts';

describe('packing', () => {
  test('codes 0..7 are 0x76543210, eights 0x88888888, sevens 0x77777777', () => {
    assert.deepEqual(packCodes(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), 1, 8), Uint32Array.of(0x76543210));
    assert.deepEqual(packCodes(new Uint8Array(8).fill(8), 1, 8), Uint32Array.of(0x88888888));
    assert.deepEqual(packCodes(new Uint8Array(8).fill(7), 1, 8), Uint32Array.of(0x77777777));
    assert.equal(0x76543210, 1985229328);
  });

  test('a row begins a new word; its end is filled with zeros', () => {
    const codes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2);
    assert.deepEqual(packCodes(codes, 2, 9), Uint32Array.of(0x87654321, 0x9, 0x10fedcba, 0x2));
    assert.deepEqual(unpackCodes(Uint32Array.of(0x87654321, 0xfffffff9, 0x10fedcba, 0x2), 2, 9), codes);
  });

  test('unpacking undoes packing for any shape', () => {
    const matrix = fc.tuple(fc.nat(5), fc.nat(40)).chain(([rows, columns]) => {
      const codes = fc.uint8Array({ min: 0, max: 15, minLength: rows * columns, maxLength: rows * columns });
      return codes.map((values) => ({ rows, columns, values }));
    });
    fc.assert(
      fc.property(matrix, ({ rows, columns, values }) => {
        const packed = packCodes(values, rows, columns);
        assert.equal(packed.length, rows * Math.ceil(columns / 8));
        assert.deepEqual(unpackCodes(packed, rows, columns), values);
      }),
    );
  });
});

describe('dequantize', () => {
  const packed = packCodes(Uint8Array.of(0, 8, 15, 9, 7, 8, 1, 2), 2, 4);

  test('symmetric: (code - 8) * scale, a scale per group of each row', () => {
    const scales = Uint16Array.from([0.5, 2, 1, -0.25], numberToF16);
    const matrix = { rows: 2, columns: 4, group: 2, packed, scales, scaleDtype: 'F16', zeroPoints: null } as const;
    assert.deepEqual([...dequantize(matrix)], [-4, 0, 14, 2, -1, 0, 1.75, 1.5]);
  });

  test('with zero points, bf16 scales, a group of the whole row', () => {
    const scales = Uint16Array.from([2 ** 100, 3], numberToBf16);
    const zeroPoints = Uint8Array.of(0, 15);
    const matrix = { rows: 2, columns: 4, group: 4, packed, scales, scaleDtype: 'BF16', zeroPoints } as const;
    assert.deepEqual([...dequantize(matrix)], [0, 8 * 2 ** 100, 15 * 2 ** 100, 9 * 2 ** 100, -24, -21, -42, -39]);
  });
});
