import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { argmax, maxAbsoluteError, median, quantile, relativeError } from './stats.ts';

describe('relativeError', () => {
  test('is the norm of the difference over the norm of the reference', () => {
    assert.equal(relativeError([3, 4], [3, 4]), 0);
    assert.equal(relativeError([0, 0], [3, 4]), 1);
    assert.equal(relativeError(Float32Array.of(3, 5), [3, 4]), 0.2);
  });
  test('NaN anywhere gives NaN, also a missing value', () => {
    assert.ok(Number.isNaN(relativeError([NaN, 1], [1, 1])));
    assert.ok(Number.isNaN(relativeError([1, 1], [1, NaN])));
    assert.ok(Number.isNaN(relativeError([1], [1, 1])));
  });
  test('a reference of zeros gives 0 or Infinity', () => {
    assert.equal(relativeError([0], [0]), 0);
    assert.equal(relativeError([1], [0]), Infinity);
  });
  test('does not change with the scale', () => {
    // The squares of tiny numbers are not as exact as others.
    const numbers = fc.double({ min: -1e3, max: 1e3, noNaN: true }).map((x) => (Math.abs(x) < 1e-100 ? 0 : x));
    const values = fc.array(numbers, { minLength: 2, maxLength: 10 });
    fc.assert(
      fc.property(values, fc.integer({ min: -20, max: 20 }), (reference, power) => {
        const actual = reference.map((x, i) => x + i);
        const scale = 2 ** power;
        const scaled = relativeError(
          actual.map((x) => x * scale),
          reference.map((x) => x * scale),
        );
        const plain = relativeError(actual, reference);
        return scaled === plain || Math.abs(scaled - plain) <= 1e-12 * plain;
      }),
    );
  });
});

describe('maxAbsoluteError', () => {
  test('is the largest distance, in either direction', () => {
    assert.equal(maxAbsoluteError([1, 2, 3], [1, 4, 2]), 2);
    assert.equal(maxAbsoluteError([], []), 0);
  });
  test('NaN anywhere gives NaN, wherever it stands', () => {
    for (let at = 0; at < 3; at++) {
      const actual = [1, 2, 3];
      actual[at] = NaN;
      assert.ok(Number.isNaN(maxAbsoluteError(actual, [1, 2, 9])));
      assert.ok(Number.isNaN(maxAbsoluteError([1, 2, 9], actual)));
    }
  });
});

describe('argmax', () => {
  test('is the first index of the largest value', () => {
    assert.equal(argmax([1, 3, 3, 2]), 1);
    assert.equal(argmax([-Infinity, -Infinity]), 0);
    assert.equal(argmax([]), -1);
  });
  test('NaN never wins, wherever it stands', () => {
    assert.equal(argmax([NaN, -5, 1]), 2);
    assert.equal(argmax([1, NaN, 0]), 0);
    assert.equal(argmax([NaN, -Infinity]), 1);
    assert.equal(argmax([NaN, NaN]), -1);
  });
});

describe('quantile', () => {
  test('interpolates between order statistics, in numeric order', () => {
    assert.equal(quantile([10, 9, 100], 0), 9);
    assert.equal(quantile([10, 9, 100], 1), 100);
    assert.equal(quantile([1, 2], 0.25), 1.25);
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 2, 3]), 2.5);
    assert.equal(median([7]), 7);
    assert.ok(Number.isNaN(median([])));
  });
  test('an infinite neighbour does not spoil a finite answer', () => {
    assert.equal(median([1, 2, Infinity]), 2);
    assert.equal(quantile([1, Infinity], 0), 1);
    assert.equal(median([1, Infinity, Infinity]), Infinity);
    assert.equal(median([Infinity, Infinity]), Infinity);
    assert.equal(median([-Infinity, -Infinity, 5]), -Infinity);
  });
  test('leaves the given array as it was, and grows with q', () => {
    const values = [3, 1, 2];
    quantile(values, 0.5);
    assert.deepEqual(values, [3, 1, 2]);
    const unit = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1 }), unit, unit, (numbers, p, q) => {
        return quantile(numbers, Math.min(p, q)) <= quantile(numbers, Math.max(p, q));
      }),
    );
  });
});
