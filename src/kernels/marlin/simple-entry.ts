// The simple 4-bit product in the catalogue: both types, with and without zero points, ragged edges.
import { bf16ToNumber, numberToBf16, numberToF16 } from '../../base/f16.ts';
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { randomCoded } from './coded.ts';
import type { Epilogue } from './epilogue.ts';
import { type MatrixSize, rowTiles, STRIP_ROWS } from './layout.ts';
import { type HalfType, pack } from './pack.ts';
import { marlinReference } from './reference.ts';
import { marlinSimple } from './simple.ts';

export const marlinSimpleEntry: Entry = entry({
  name: 'marlin-simple',
  title: 'y = x W^T with 4-bit W in its simplest form: one warp for 16 channels and 8 tokens',
  examples: () => [
    ofShape({ n: 32, k: 256, m: 8, group: 128, type: 'f16', zeroPoints: false }),
    ofShape({ n: 40, k: 200, m: 11, group: null, type: 'bf16', zeroPoints: true }),
  ],
});

interface Sized extends MatrixSize {
  readonly m: number;
  /** Null: one scale a channel. */
  readonly group: 32 | 64 | 128 | null;
  readonly type: HalfType;
  readonly zeroPoints: boolean;
}

function ofShape(of: Sized): Example {
  const { n, k, m, type, zeroPoints } = of;
  const scheme = { group: of.group ?? 128, zeroPoints };
  const weights = { n, k, scheme, type };
  const epilogue: Epilogue = { output: 'f32', bias: false };
  return example({
    name: `${m}x${n}x${k}-${type}`,
    program: marlinSimple(weights, epilogue),
    grid: [rowTiles(weights), Math.ceil(m / 8)],
    args: (seed) => {
      const random = new Random(seed);
      const { strips, factors } = pack(
        'w',
        randomCoded(random, { rows: n, columns: k, zeroPoints, ...(of.group === null ? {} : { group: of.group }) }),
        type,
      );
      const toBits = type === 'f16' ? numberToF16 : numberToBf16;
      const x = Uint16Array.from({ length: m * k }, () => toBits(random.normal()));
      const words = new Uint32Array(strips.buffer);
      return {
        strips: words,
        factors,
        bias: new Float32Array(rowTiles(weights) * STRIP_ROWS),
        x,
        y: new Uint8Array(4 * m * n).fill(0xff),
        m,
      };
    },
    check: ({ strips, factors, x, y }) => {
      const numbers = type === 'f16' ? new Float16Array(x.buffer) : Float32Array.from(x, bf16ToNumber);
      const matrix = { ...weights, strips: new Uint8Array(strips.buffer), factors };
      // Codes are exact in both types; sums are in f32.
      return { error: relativeError(new Float32Array(y.buffer), marlinReference(numbers, m, matrix)), bound: 1e-5 };
    },
  });
}
