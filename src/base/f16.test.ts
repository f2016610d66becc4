import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  bf16ToNumber,
  decodeBf16,
  decodeF16,
  encodeBf16,
  encodeF16,
  f16ToNumber,
  numberToBf16,
  numberToF16,
} from './f16.ts';
import { Random } from './random.ts';

/** A binary format: bits of the fraction, exponent of the last place of a subnormal, bit pattern of infinity. */
interface Format {
  readonly name: string;
  readonly fraction: number;
  readonly lastPlace: number;
  readonly infinity: number;
  readonly encode: (value: number) => number;
  readonly decode: (bits: number) => number;
}

const f16: Format = {
  name: 'f16',
  fraction: 10,
  lastPlace: -24,
  infinity: 0x7c00,
  encode: numberToF16,
  decode: f16ToNumber,
};
const bf16: Format = {
  name: 'bf16',
  fraction: 7,
  lastPlace: -133,
  infinity: 0x7f80,
  encode: numberToBf16,
  decode: bf16ToNumber,
};
const formats = [f16, bf16];

const view = new DataView(new ArrayBuffer(8));

/** A finite double taken apart: value = sign * mantissa * 2^exponent, exactly. */
function takeApart(value: number): { negative: boolean; mantissa: bigint; exponent: number } {
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const field = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xfffffffffffffn;
  return {
    negative: bits >> 63n === 1n,
    mantissa: field === 0 ? fraction : fraction | (1n << 52n),
    exponent: (field === 0 ? 1 : field) - 1075,
  };
}

/** The definition: integer arithmetic, one rounding to nearest, ties to even. */
function roundExactly(value: number, format: Format): number {
  if (Number.isNaN(value)) return NaN;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  if (!Number.isFinite(value)) return sign | format.infinity;
  const { mantissa, exponent } = takeApart(value);
  if (mantissa === 0n) return sign;
  const topBit = mantissa.toString(2).length - 1 + exponent;
  const place = Math.max(topBit - format.fraction, format.lastPlace);
  const shift = BigInt(place - exponent);
  let units = shift <= 0n ? mantissa << -shift : mantissa >> shift;
  if (shift > 0n) {
    const rest = 2n * (mantissa - (units << shift));
    const half = 1n << shift;
    if (rest > half || (rest === half && units % 2n === 1n)) units += 1n;
  }
  // A carry out of the fraction runs into the exponent field, as the formats are made for.
  const bits = Number(units) + (place - format.lastPlace) * 2 ** format.fraction;
  return sign | Math.min(bits, format.infinity);
}

function isNaNPattern(bits: number, format: Format): boolean {
  return (bits & 0x7fff) > format.infinity;
}

function check(value: number, format: Format): void {
  const actual = format.encode(value);
  if (Number.isNaN(value)) assert.ok(isNaNPattern(actual, format), `${format.name} of NaN is ${actual.toString(16)}`);
  else if (actual !== roundExactly(value, format)) {
    assert.fail(
      `${format.name} of ${value}: 0x${actual.toString(16)}, expected 0x${roundExactly(value, format).toString(16)}`,
    );
  }
}

/** The neighbouring double, `steps` bit patterns further from zero. */
function stepDouble(value: number, steps: bigint): number {
  view.setFloat64(0, value);
  view.setBigUint64(0, view.getBigUint64(0) + steps);
  return view.getFloat64(0);
}

for (const format of formats) {
  describe(format.name, () => {
    test('all 65536 patterns go through a number and back; NaN stays NaN', () => {
      for (let bits = 0; bits < 65536; bits++) {
        const value = format.decode(bits);
        if (isNaNPattern(bits, format)) {
          assert.ok(Number.isNaN(value));
          assert.ok(isNaNPattern(format.encode(value), format));
        } else {
          assert.equal(format.encode(value), bits);
          assert.equal(roundExactly(value, format), bits);
        }
      }
    });

    test('every halfway case and both doubles beside it', () => {
      const random = new Random(1);
      for (let bits = 0; bits < format.infinity; bits++) {
        const low = format.decode(bits);
        // The place after the largest finite value is where infinity begins: half a step further on.
        const high = bits + 1 === format.infinity ? 2 * low - format.decode(bits - 1) : format.decode(bits + 1);
        const middle = (low + high) / 2;
        const sign = random.integer(2) === 0 ? 1 : -1;
        check(sign * middle, format);
        check(sign * stepDouble(middle, 1n), format);
        check(sign * stepDouble(middle, -1n), format);
      }
    });

    test('double-rounding traps: a step of a double, or less than one of an f32, beside a halfway case', () => {
      const random = new Random(2);
      for (let i = 0; i < 20000; i++) {
        const bits = random.integer(format.infinity - 1);
        const middle = (format.decode(bits) + format.decode(bits + 1)) / 2;
        const beside = middle * (1 + (random.uniform() - 0.5) * 2 ** -24);
        check(beside, format);
        check(-beside, format);
      }
    });

    test('random doubles: all bit patterns, and the range of the format', () => {
      const random = new Random(3);
      for (let i = 0; i < 40000; i++) {
        view.setUint32(0, random.u32());
        view.setUint32(4, random.u32());
        check(view.getFloat64(0), format);
        check(random.normal() * 2 ** (random.integer(60) - 40), format);
        check(random.normal() * 2 ** (format.lastPlace + random.integer(20) - 4), format);
      }
    });

    test('zeros, infinities, NaN, the ends of the range', () => {
      const largest = format.decode(format.infinity - 1);
      for (const value of [
        0,
        -0,
        Infinity,
        -Infinity,
        NaN,
        Number.MIN_VALUE,
        -Number.MIN_VALUE,
        Number.MAX_VALUE,
        largest,
        -largest,
      ]) {
        check(value, format);
      }
      assert.equal(format.encode(-0), 0x8000);
      assert.equal(format.encode(2 * largest), format.infinity);
      assert.equal(format.encode(-2 * largest), 0x8000 | format.infinity);
    });
  });
}

test('known values', () => {
  assert.deepEqual([1, -2, 65504, 65520, 2 ** -24, 2 ** -25].map(numberToF16), [0x3c00, 0xc000, 0x7bff, 0x7c00, 1, 0]);
  assert.deepEqual([1, -2, 3.140625, 2 ** -133, 2 ** -134].map(numberToBf16), [0x3f80, 0xc000, 0x4049, 1, 0]);
  // 1 + 2^-11 + 2^-40 is above the middle of two f16; through f32 it would become the middle and go to the even side.
  assert.equal(numberToF16(1 + 2 ** -11 + 2 ** -40), 0x3c01);
  assert.equal(numberToBf16(1 + 2 ** -8 + 2 ** -40), 0x3f81);
});

describe('bulk', () => {
  const pairs = [
    { format: f16, encode: encodeF16, decode: decodeF16 },
    { format: bf16, encode: encodeBf16, decode: decodeBf16 },
  ];
  for (const { format, encode, decode } of pairs) {
    test(`${format.name}: the same as one at a time, from f32, f64 and plain arrays, at an offset`, () => {
      const random = new Random(4);
      const values = Array.from({ length: 1000 }, () => random.normal() * 2 ** (random.integer(40) - 30));
      for (const source of [Float32Array.from(values), Float64Array.from(values), values]) {
        const target = new Uint16Array(1003).subarray(3);
        encode(source, target);
        assert.deepEqual([...target], Array.from(source, format.encode));
        const decoded = new Float32Array(1001).subarray(1);
        decode(target, decoded);
        assert.deepEqual([...decoded], Array.from(target, format.decode));
      }
    });
  }
});
