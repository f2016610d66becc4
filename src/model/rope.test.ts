// Rotary frequencies against the published formulas, written out anew here.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import type { RopeScaling } from '../formats/config.ts';
import { ropeFrequencies } from './rope.ts';

const llama31: RopeScaling = {
  type: 'llama3',
  factor: 8,
  lowFreqFactor: 1,
  highFreqFactor: 4,
  originalContextLength: 8192,
};

function assertClose(actual: number, expected: number, what: string): void {
  assert.ok(Math.abs(actual / expected - 1) < 1e-12, `${what}: ${actual} instead of ${expected}`);
}

describe('without scaling', () => {
  test('pair i turns by theta^(-2i / headDim)', () => {
    const frequencies = ropeFrequencies({ headDim: 8, ropeTheta: 10_000, ropeScaling: null });
    assert.equal(frequencies.length, 4);
    [1, 0.1, 0.01, 0.001].forEach((expected, i) => assertClose(frequencies[i]!, expected, `pair ${i}`));
  });

  test('starts at 1 and falls by the same factor from pair to pair', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 128 }), fc.integer({ min: 2, max: 1e7 }), (pairs, ropeTheta) => {
        const frequencies = ropeFrequencies({ headDim: 2 * pairs, ropeTheta, ropeScaling: null });
        assert.equal(frequencies[0], 1);
        for (let i = 1; i < pairs; i++)
          assertClose(frequencies[i - 1]! / frequencies[i]!, ropeTheta ** (1 / pairs), `pair ${i}`);
      }),
    );
  });
});

test('linear scaling divides every frequency by its factor', () => {
  const plain = ropeFrequencies({ headDim: 64, ropeTheta: 10_000, ropeScaling: null });
  const scaled = ropeFrequencies({ headDim: 64, ropeTheta: 10_000, ropeScaling: { type: 'linear', factor: 4 } });
  assert.deepEqual(
    scaled,
    plain.map((frequency) => frequency / 4),
  );
});

describe('the scaling of Llama 3.1 (theta 500000, head_dim 128, 8192 positions times 8)', () => {
  const plain = ropeFrequencies({ headDim: 128, ropeTheta: 500_000, ropeScaling: null });
  const scaled = ropeFrequencies({ headDim: 128, ropeTheta: 500_000, ropeScaling: llama31 });

  test('is the published one in each of its three ranges', () => {
    const seen = { kept: 0, blended: 0, divided: 0 };
    for (let i = 0; i < 64; i++) {
      const frequency = 1 / 500_000 ** (i / 64);
      const wavelength = (2 * Math.PI) / frequency;
      let expected = frequency;
      if (wavelength > 8192) {
        expected = frequency / 8;
        seen.divided++;
      } else if (wavelength >= 2048) {
        const smooth = (8192 / wavelength - 1) / (4 - 1);
        expected = ((1 - smooth) * frequency) / 8 + smooth * frequency;
        seen.blended++;
      } else {
        seen.kept++;
      }
      assertClose(scaled[i]!, expected, `pair ${i}`);
    }
    // 500000^(i / 64) reaches 2048 / 2 pi between pairs 28 and 29, and 8192 / 2 pi between 34 and 35.
    assert.deepEqual(seen, { kept: 29, blended: 6, divided: 29 });
  });

  test('keeps the fast pairs bit for bit and never makes one faster', () => {
    assert.deepEqual(scaled.subarray(0, 29), plain.subarray(0, 29));
    assert.ok(scaled.every((frequency, i) => frequency <= plain[i]! && frequency >= plain[i]! / 8));
  });
});
