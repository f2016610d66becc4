// What goes into matrix products: patterns of 8- and 16-bit floats, 2:4 weights with their metadata, packing; and what comes out, in float64.
import { bf16ToNumber, e4m3ToNumber, e5m2ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../../base/f16.ts';
import type { Random } from '../../base/random.ts';
import type { WgmmaType } from '../../ptx/isa/wgmma.ts';

interface Format {
  readonly bytes: 1 | 2;
  readonly toNumber: (bits: number) => number;
  readonly leastNormal: number;
  /** Patterns of ordinary numbers, of very small and very large ones, and of infinities and NaN. */
  readonly ordinary: (random: Random) => number;
  readonly extreme: (random: Random) => number;
  readonly special: readonly number[];
}

const oneOf = <T>(random: Random, from: readonly T[]): T => from[random.integer(from.length)]!;

export const formats: Readonly<Record<WgmmaType, Format>> = {
  f16: {
    bytes: 2,
    toNumber: f16ToNumber,
    leastNormal: 2 ** -14,
    ordinary: (random) => numberToF16(random.normal()),
    extreme: (random) => numberToF16(random.normal() * oneOf(random, [2 ** -24, 2 ** -15, 1, 2 ** 14])),
    special: [0x7c00, 0xfc00, 0x7e00, 0x7bff, 0x0001, 0x8000],
  },
  bf16: {
    bytes: 2,
    toNumber: bf16ToNumber,
    leastNormal: 2 ** -126,
    ordinary: (random) => numberToBf16(random.normal()),
    // Products stay below 2^128: what lies beyond a chip may keep or call infinite.
    extreme: (random) => numberToBf16(random.normal() * oneOf(random, [2 ** -133, 2 ** -60, 1, 2 ** 58])),
    special: [0x7f80, 0xff80, 0x7fc0, 0x0001, 0x8000],
  },
  // Ordinary ones have the upper exponents cut off; the extreme ones are any pattern but NaN and infinities.
  e4m3: {
    bytes: 1,
    toNumber: e4m3ToNumber,
    leastNormal: 2 ** -6,
    ordinary: (random) => (random.u32() & 0x8f) | (oneOf(random, [0x30, 0x38]) & 0x78),
    extreme: (random) => (random.u32() & 0x80) | random.integer(0x7f),
    special: [0x7f, 0xff, 0x01, 0x80],
  },
  e5m2: {
    bytes: 1,
    toNumber: e5m2ToNumber,
    leastNormal: 2 ** -14,
    ordinary: (random) => (random.u32() & 0x83) | oneOf(random, [0x38, 0x3c]),
    extreme: (random) => (random.u32() & 0x80) | random.integer(0x7c),
    special: [0x7c, 0xfc, 0x7f, 0x01, 0x80],
  },
};

/** How wild the numbers of a trial are: ordinary, subnormal and large ones among them, some infinite or NaN. */
export type Mood = 0 | 1 | 2;

/** `count` patterns. */
export function patterns(random: Random, type: WgmmaType, count: number, mood: Mood): Uint32Array {
  const { ordinary, extreme, special } = formats[type];
  return Uint32Array.from({ length: count }, () => {
    if (mood === 2 && random.integer(100) === 0) return oneOf(random, special);
    return mood === 1 ? extreme(random) : ordinary(random);
  });
}

/** Patterns as they lie in memory: two or four to a word. */
export function packed(values: Uint32Array, bytes: 1 | 2): Uint32Array {
  return new Uint32Array(bytes === 2 ? Uint16Array.from(values).buffer : Uint8Array.from(values).buffer);
}

/** A matrix by rows, as patterns. */
export interface Matrix {
  readonly type: WgmmaType;
  readonly rows: number;
  readonly depth: number;
  readonly values: Uint32Array;
}

export function matrix(random: Random, type: WgmmaType, rows: number, depth: number, mood: Mood): Matrix {
  return { type, rows, depth, values: patterns(random, type, rows * depth, mood) };
}

export const numberAt = ({ type, depth, values }: Matrix, row: number, k: number): number =>
  formats[type].toNumber(values[row * depth + k]!);

/** Weights of which two of every four along k are kept: those, and the place of each in its four. */
export interface SparseMatrix extends Matrix {
  readonly places: Uint8Array;
}

/** `depth` counts the kept ones. */
export function sparseMatrix(random: Random, type: WgmmaType, rows: number, depth: number, mood: Mood): SparseMatrix {
  const places = new Uint8Array(rows * depth);
  for (let i = 0; i < places.length; i += 2) {
    const first = random.integer(3);
    places[i] = first;
    places[i + 1] = first + 1 + random.integer(3 - first);
  }
  return { ...matrix(random, type, rows, depth, mood), places };
}

/**
 * Metadata of 16 rows from `first` on, a word a lane (PTX ISA, mma.sp m16n8k32): lanes 4 g + 2 selector and the next hold rows g (lower half) and g + 8, for k 0 .. 15
 * and 16 .. 31, four bits for each four weights. The other lanes get nonsense.
 */
export function metadata(random: Random, a: Matrix | SparseMatrix, first: number, selector: 0 | 1): Uint32Array {
  const words = Uint32Array.from({ length: 32 }, () => random.u32());
  if (!('places' in a)) return words;
  const { depth, places } = a;
  for (let g = 0; g < 8; g++) {
    for (let half = 0; half < 2; half++) {
      let word = 0;
      for (let i = 0; i < 16; i++) {
        const row = first + g + 8 * (i >> 3);
        word |= places[row * depth + 8 * half + (i & 7)]! << (2 * i);
      }
      words[4 * g + 2 * selector + half] = word >>> 0;
    }
  }
  return words;
}

export interface Sums {
  readonly value: number;
  /** Of absolute values: what rounding is measured by. */
  readonly scale: number;
}

/** What a factor counts when addends are aligned: an H100 takes the exponent of a subnormal for that of the least normal number. */
const sizeOf = (type: Matrix['type'], x: number): number =>
  x === 0 ? 0 : Math.max(Math.abs(x), formats[type].leastNormal);

/** first + row `row` of a times row `column` of b; of a sparse a only what is kept takes part. */
export function dot(a: Matrix | SparseMatrix, row: number, b: Matrix, column: number, first: number): Sums {
  let [value, scale] = [first, Math.abs(first)];
  for (let i = 0; i < a.depth; i++) {
    const k = 'places' in a ? 4 * (i >> 1) + a.places[row * a.depth + i]! : i;
    const [left, right] = [numberAt(a, row, i), numberAt(b, column, k)];
    value += left * right;
    scale += sizeOf(a.type, left) * sizeOf(b.type, right);
  }
  return { value, scale: Number.isFinite(scale) ? scale : 0 };
}
