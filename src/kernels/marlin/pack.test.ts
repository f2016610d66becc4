// The packed form: bit places, round trips over random shapes, padding, column order, what is refused; and the codec on every code, on the simulator.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../../base/f16.ts';
import { Random } from '../../base/random.ts';
import { kernel } from '../../ptx/kernel.ts';
import type { B32 } from '../../ptx/values.ts';
import { simulate } from '../../sim/simulate.ts';
import {
  groupScaleBf16,
  groupScaleF16,
  rawBf16,
  rawCodec,
  rawF16,
  SCALED_FACTOR,
  scaledBf16,
  scaledF16,
} from './codec.ts';
import { randomCoded } from './coded.ts';
import { codePlace, packedBytes, scalePlace, STRIP_K, STRIP_ROWS, stripBytes } from './layout.ts';
import { type CodedMatrix, pack, unpack } from './pack.ts';
import { interleavePairs } from './pairs.ts';

const seed = Math.floor(Math.random() * 2 ** 32);

/** The weights of a matrix by rows, straight from its definition. */
function weightsOf(matrix: CodedMatrix, order?: Uint32Array): Float64Array {
  const { rows, columns, group, packed, scales, scaleDtype, zeroPoints } = matrix;
  const toNumber = scaleDtype === 'F16' ? f16ToNumber : bf16ToNumber;
  return Float64Array.from({ length: rows * columns }, (_, i) => {
    const [row, k] = [Math.floor(i / columns), order?.[i % columns] ?? i % columns];
    const code = (packed[row * Math.ceil(columns / 8) + (k >> 3)]! >>> (4 * (k & 7))) & 15;
    const index = row * (columns / group) + Math.floor(k / group);
    return (code - (zeroPoints?.[index] ?? 8)) * toNumber(scales[index]!);
  });
}

describe('places', () => {
  test('each code of a strip has a nibble of its own', () => {
    const places = new Set<number>();
    for (let row = 0; row < STRIP_ROWS; row++) {
      for (let k = 0; k < STRIP_K; k++) {
        const { word, nibble } = codePlace(row, k);
        places.add(8 * (word / 4) + nibble);
      }
    }
    assert.deepEqual([places.size, Math.min(...places), Math.max(...places)], [2048, 0, 2047]);
  });

  test('as documented: a few by hand', () => {
    assert.deepEqual(codePlace(0, 0), { word: 0, nibble: 0 });
    assert.deepEqual(codePlace(0, 1), { word: 0, nibble: 4 });
    assert.deepEqual(codePlace(8, 0), { word: 0, nibble: 1 });
    assert.deepEqual(codePlace(0, 8), { word: 0, nibble: 2 });
    assert.deepEqual(codePlace(3, 2 + 16), { word: 16 * (4 * 3 + 1) + 4, nibble: 0 });
    assert.deepEqual(codePlace(15, 127), { word: 512 + 16 * 31 + 12, nibble: 7 });
    assert.equal(scalePlace(9, 0, { group: 128, zeroPoints: false }), 1024 + 4 + 2);
    assert.deepEqual(
      ([32, 64, 128] as const).map((group) => stripBytes({ group, zeroPoints: group === 32 })),
      [1024 + 256, 1024 + 64, 1024 + 32],
    );
  });
});

describe('packing', () => {
  test(`and back is the same matrix, for any shape, group, zero points and types (seed ${seed})`, () => {
    const random = new Random(seed);
    for (let run = 0; run < 30; run++) {
      const group = [32, 64, 128, 256, undefined][random.integer(5)];
      const columns = (group ?? 8) * (1 + random.integer(group === undefined ? 40 : 4));
      const matrix = randomCoded(random, {
        rows: 1 + random.integer(40),
        columns,
        ...(group === undefined ? {} : { group }),
        zeroPoints: random.integer(2) === 0,
        scaleDtype: random.integer(2) === 0 ? 'F16' : 'BF16',
      });
      const type = matrix.scaleDtype === 'F16' ? 'f16' : 'bf16';
      const packed = pack('w', matrix, type);
      assert.equal(packed.strips.length, packedBytes(packed, packed.scheme));
      assert.deepEqual(unpack(packed), weightsOf(matrix));
    }
  });

  test('what pads a matrix means 0', () => {
    const packed = pack('w', randomCoded(new Random(1), { rows: 5, columns: 40 }), 'f16');
    const padded = unpack({ ...packed, n: 16, k: 128 });
    for (const [i, weight] of padded.entries()) if (i % 128 >= 40 || i >= 5 * 128) assert.equal(Math.abs(weight), 0);
  });

  test('columns in another order, with groups kept together', () => {
    const matrix = randomCoded(new Random(2), { rows: 16, columns: 256, group: 64 });
    const order = Uint32Array.from({ length: 256 }, (_, j) => 64 * (3 - (j >> 6)) + ((j * 5) & 63));
    assert.deepEqual(unpack(pack('w', matrix, 'f16', order)), weightsOf(matrix, order));
  });

  test('gates and what they gate take turns, eight rows each', () => {
    const random = new Random(4);
    const options = { rows: 24, columns: 128, group: 32, zeroPoints: true };
    const [gate, up] = [randomCoded(random, options), randomCoded(random, options)];
    const both = unpack(pack('w', interleavePairs(gate, up), 'f16'));
    const [gates, ups] = [weightsOf(gate), weightsOf(up)];
    for (let row = 0; row < 48; row++) {
      const from = row & 8 ? ups : gates;
      const at = 8 * (row >> 4) + (row & 7);
      assert.deepEqual(both.subarray(128 * row, 128 * row + 128), from.subarray(128 * at, 128 * at + 128));
    }
    assert.throws(() => interleavePairs(gate, randomCoded(random, { ...options, rows: 16 })), RangeError);
    const odd = randomCoded(random, { ...options, rows: 20 });
    assert.throws(() => interleavePairs(odd, odd), RangeError);
  });

  test('groups that it cannot hold, and scales that are no numbers, are refused', () => {
    const random = new Random(3);
    assert.throws(() => pack('w', randomCoded(random, { rows: 16, columns: 192, group: 48 }), 'f16'), {
      code: 'group-unpackable',
    });
    for (const [bits, dtype] of [
      [0x7c00, 'F16'],
      [0x7e00, 'F16'],
      [0xff80, 'BF16'],
    ] as const) {
      const matrix = randomCoded(random, { rows: 4, columns: 256, group: 128, scaleDtype: dtype });
      matrix.scales[5] = bits;
      assert.throws(() => pack('layer 3', matrix, 'f16'), {
        code: 'scale-not-finite',
        message: /layer 3.*row 2, group 1/,
      });
    }
  });
});

describe('the codec', () => {
  const words = Uint32Array.from({ length: 32 }, (_, lane) => Math.imul(lane + 1, 0x9e3779b9) >>> 0);
  const run = (build: Parameters<typeof fragments>[0]): Uint32Array => fragments(build, words);
  const code = (word: number, register: number, upper: boolean): number =>
    (word >>> (4 * (register + (upper ? 4 : 0)))) & 15;

  test('raw f16 and bf16 are (code + bias) / factor', () => {
    for (const [type, toNumber, build] of [
      ['f16', f16ToNumber, rawF16],
      ['bf16', bf16ToNumber, rawBf16],
    ] as const) {
      const { factors, bias } = rawCodec[type];
      const out = run((k, word) => build(k, word).values.map((value) => value.asB32()));
      for (const [i, bits] of out.entries()) {
        const register = i & 3;
        for (const upper of [false, true]) {
          const value = toNumber(upper ? bits >>> 16 : bits & 0xffff);
          assert.equal(value * factors[register & 1]! - bias, code(words[i >> 2]!, register, upper));
        }
      }
    }
  });

  test('scaled fragments are the weights, rounded once', () => {
    for (const type of ['f16', 'bf16'] as const) {
      const [toNumber, toBits] = type === 'f16' ? [f16ToNumber, numberToF16] : [bf16ToNumber, numberToBf16];
      for (const zero of [8, 3]) {
        // As packed: in [2^14, 2^15), here exact in both types.
        const scales = [16_384 + 1_152, 32_512];
        const pair = toBits(scales[0]!) | (toBits(scales[1]!) << 16);
        const zeroPair = toBits(zero) | (toBits(zero) << 16);
        const out = run((k, word) => {
          const s = k.select(k.lane.lt(99), word.and(0).or(pair), word);
          const z = zero === 8 ? null : word.and(0).or(zeroPair);
          const fragment =
            type === 'f16' ? scaledF16(k, word, groupScaleF16(s, z)) : scaledBf16(k, word, groupScaleBf16(s, z));
          return fragment.values.map((value) => value.asB32());
        });
        for (const [i, bits] of out.entries()) {
          const register = i & 3;
          const scale = scales[register & 1]! / SCALED_FACTOR[type];
          for (const upper of [false, true]) {
            const value = toNumber(upper ? bits >>> 16 : bits & 0xffff);
            const exact = (code(words[i >> 2]!, register, upper) - zero) * scale;
            // With a zero point that is no power of two the addend is rounded as well.
            const bound = (zero === 8 ? 0.5 : 1) * Math.abs(15 * scale) * (type === 'f16' ? 2 ** -11 : 2 ** -8);
            assert.ok(Math.abs(value - exact) <= bound, `${type} ${value} for ${exact}`);
            if (zero === 8) assert.equal(value, toNumber(toBits(exact)));
          }
        }
      }
    }
  });
});

/** What `build` makes of a word a lane: four words each. */
function fragments(
  build: (k: Parameters<Parameters<typeof kernel>[1]>[0], word: B32) => readonly B32[],
  words: Uint32Array,
): Uint32Array {
  const program = kernel(
    { name: 'fragments', threads: 32, params: { words: 'b32*', out: 'b32*' } },
    (k, { words: from, out }) => {
      const [word] = k.ldGlobal(from.at(k.lane), 1);
      const [a, b, c, d] = build(k, word!);
      k.stGlobal(out.at(k.lane.mul(4)), [a!, b!, c!, d!]);
    },
  );
  const out = new Uint32Array(128);
  const { findings } = simulate(program, { grid: [1], args: { words, out } });
  assert.deepEqual(findings, []);
  return out;
}
