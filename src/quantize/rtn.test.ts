import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { bf16ToNumber, f16ToNumber } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { dequantize, unpackCodes, type QuantizedMatrix, type ScaleDtype } from '../formats/quantized.ts';
import { quantizeRtn } from './rtn.ts';

const toNumber = { F16: f16ToNumber, BF16: bf16ToNumber };

/** Normal weights of the given spread, some of them zero, some of them outliers. */
function randomWeights(seed: number, count: number, spread: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: count }, () => {
    const kind = random.integer(20);
    return kind === 0 ? 0 : random.normal() * spread * (kind === 1 ? 10 : 1);
  });
}

function squaredError(weights: Float32Array, matrix: QuantizedMatrix, first: number, count: number): number {
  const values = dequantize(matrix);
  let sum = 0;
  for (let i = first; i < first + count; i++) sum += (values[i]! - weights[i]!) ** 2;
  return sum;
}

/** The level of -8..7 whose value is nearest, found by looking at all; the even one of two. */
function nearestLevel(weight: number, scale: number): number {
  const levels = Array.from({ length: 16 }, (_, i) => i - 8);
  const distance = (level: number): number => Math.abs(level * scale - weight);
  return levels.toSorted((a, b) => distance(a) - distance(b) || Math.abs(a % 2) - Math.abs(b % 2))[0]!;
}

const shapes = fc.record({
  seed: fc.nat(),
  rows: fc.integer({ min: 1, max: 4 }),
  groups: fc.integer({ min: 1, max: 3 }),
  group: fc.integer({ min: 1, max: 40 }),
  spread: fc.constantFrom(1e-3, 0.02, 1, 50),
  scaleDtype: fc.constantFrom<ScaleDtype>('F16', 'BF16'),
});

describe('without clipping', () => {
  test('every scale is 2 max / 15 in 16 bits, every code the nearest level under it', () => {
    fc.assert(
      fc.property(shapes, ({ seed, rows, groups, group, spread, scaleDtype }) => {
        const columns = groups * group;
        const weights = randomWeights(seed, rows * columns, spread);
        const matrix = quantizeRtn(weights, rows, columns, { group, clip: 'none', scaleDtype });
        assert.deepEqual([matrix.rows, matrix.columns, matrix.group, matrix.zeroPoints], [rows, columns, group, null]);
        const codes = unpackCodes(matrix.packed, rows, columns);
        for (let row = 0; row < rows; row++) {
          for (let g = 0; g < groups; g++) {
            const start = row * columns + g * group;
            const values = [...weights.subarray(start, start + group)];
            const exact = (2 * Math.max(...values.map(Math.abs))) / 15;
            const bits = matrix.scales[row * groups + g]!;
            const scale = toNumber[scaleDtype](bits);
            if (exact > 0) {
              // No 16-bit neighbour is nearer.
              for (const other of [bits - 1, bits + 1]) {
                assert.ok(Math.abs(scale - exact) <= Math.abs(toNumber[scaleDtype](other) - exact));
              }
            }
            values.forEach((value, i) =>
              assert.equal(codes[start + i]! - 8, nearestLevel(value, scale), `${value} / ${scale}`),
            );
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  test('ties go to the even code, and the largest weight to the last code below 8', () => {
    // scale 1: the largest is 7.5
    const weights = Float32Array.of(7.5, -7.5, 0.5, 1.5, 2.5, -0.5, -1.5, 3);
    const matrix = quantizeRtn(weights, 1, 8, { group: 8, clip: 'none', scaleDtype: 'F16' });
    assert.deepEqual([...dequantize(matrix)], [7, -8, 0, 2, 2, 0, -2, 3]);
  });

  test('one scale per channel', () => {
    const weights = Float32Array.of(15, 0, -15, 30, 3, 7.5);
    const matrix = quantizeRtn(weights, 2, 3, { group: 'channel', clip: 'none', scaleDtype: 'BF16' });
    assert.equal(matrix.group, 3);
    assert.deepEqual([...matrix.scales].map(bf16ToNumber), [2, 4]);
    assert.deepEqual([...unpackCodes(matrix.packed, 2, 3)], [15, 8, 0, 15, 9, 10]);
  });
});

describe('clipping by squared error', () => {
  test('is never worse than none, in any group', () => {
    let better = 0;
    fc.assert(
      fc.property(shapes, ({ seed, rows, groups, group, spread, scaleDtype }) => {
        const columns = groups * group;
        const weights = randomWeights(seed, rows * columns, spread);
        const none = quantizeRtn(weights, rows, columns, { group, clip: 'none', scaleDtype });
        const mse = quantizeRtn(weights, rows, columns, { group, clip: 'mse', scaleDtype });
        for (let start = 0; start < weights.length; start += group) {
          const plain = squaredError(weights, none, start, group);
          const clipped = squaredError(weights, mse, start, group);
          assert.ok(clipped <= plain * (1 + 1e-12), `${clipped} > ${plain} in the group at ${start}`);
          if (clipped < 0.99 * plain) better++;
        }
      }),
      { numRuns: 200 },
    );
    assert.ok(better > 100, `better in only ${better} groups`);
  });

  test('finds the best of the scales it may try', () => {
    const weights = randomWeights(7, 128, 1);
    const matrix = quantizeRtn(weights, 1, 128, { group: 128, clip: 'mse', scaleDtype: 'F16' });
    const full = (2 * Math.max(...weights.map(Math.abs))) / 15;
    const errorAt = (scale: number): number =>
      weights.reduce((sum, weight) => sum + (nearestLevel(weight, scale) * scale - weight) ** 2, 0);
    const chosen = errorAt(f16ToNumber(matrix.scales[0]!));
    for (let factor = 1; factor > 0.39; factor -= 0.02) {
      assert.ok(chosen <= errorAt(Math.f16round(full * factor)) * (1 + 1e-9), `${factor}`);
    }
    assert.ok(chosen < 0.9 * errorAt(Math.f16round(full)), 'the outliers of these weights should be worth clipping');
  });
});

describe('the edges', () => {
  for (const clip of ['none', 'mse'] as const) {
    test(`${clip}: a group of zeros has scale 1 and code 8`, () => {
      const weights = new Float32Array(16);
      weights[0] = 1;
      const matrix = quantizeRtn(weights, 1, 16, { group: 8, clip, scaleDtype: 'F16' });
      assert.equal(f16ToNumber(matrix.scales[1]!), 1);
      assert.equal(matrix.packed[1], 0x88888888);
    });

    test(`${clip}: weights too small for the scale's dtype lose at most themselves`, () => {
      for (const [scaleDtype, tiny] of [
        ['F16', 1e-9],
        ['F16', 3e-7],
        ['BF16', 1e-44],
        ['BF16', 1e-38],
      ] as const) {
        const weights = Float32Array.of(tiny, -tiny, 0, tiny / 2);
        const matrix = quantizeRtn(weights, 1, 4, { group: 4, clip, scaleDtype });
        const scale = toNumber[scaleDtype](matrix.scales[0]!);
        assert.ok(scale > 0 && Number.isFinite(Math.fround(1 / scale)));
        dequantize(matrix).forEach((value, i) => assert.ok(Math.abs(value - weights[i]!) <= tiny));
      }
    });

    test(`${clip}: NaN and infinities are refused, and the tensor named`, () => {
      for (const bad of [NaN, Infinity, -Infinity]) {
        const weights = new Float32Array(16).fill(1);
        weights[13] = bad;
        const quantize = (): QuantizedMatrix =>
          quantizeRtn(weights, 2, 8, { group: 4, clip, scaleDtype: 'F16', name: 'q_proj' });
        assert.throws(quantize, { code: 'weight-not-finite', message: new RegExp(`q_proj holds the value ${bad}`) });
      }
    });

    test(`${clip}: a scale beyond f16 is refused, in bf16 it is not`, () => {
      const weights = Float32Array.of(1e6, 1, 2, 3);
      const quantize = (scaleDtype: ScaleDtype): QuantizedMatrix =>
        quantizeRtn(weights, 1, 4, { group: 4, clip, scaleDtype, name: 'q_proj' });
      assert.throws(() => quantize('F16'), { code: 'scale-overflow', message: /q_proj is 133333.* F16/ });
      assert.ok(dequantize(quantize('BF16'))[0]! > 9e5);
    });
  }

  test('a group that does not divide the columns is refused', () => {
    for (const group of [3, 0, -8, 1.5, 16, NaN]) {
      const quantize = (): QuantizedMatrix =>
        quantizeRtn(new Float32Array(8), 1, 8, { group, clip: 'none', scaleDtype: 'F16', name: 'q_proj' });
      assert.throws(quantize, { code: 'group-invalid', message: /8 input channels of q_proj/ });
    }
  });
});
