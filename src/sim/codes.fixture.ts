// Random operands of products as bit patterns, and what they multiply to in float64.
import { bf16ToNumber, e4m3ToNumber, e5m2ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../base/f16.ts';
import type { Random } from '../base/random.ts';

export type Type = 'f16' | 'bf16' | 'e4m3' | 'e5m2';

export interface Coding {
  readonly bytes: 1 | 2;
  readonly value: (bits: number) => number;
  readonly draw: (random: Random) => number;
}
const byte = (random: Random): number => random.integer(2) * 128 + 32 + random.integer(40);
export const codings: Readonly<Record<Type, Coding>> = {
  f16: { bytes: 2, value: f16ToNumber, draw: (random) => numberToF16(random.normal()) },
  bf16: { bytes: 2, value: bf16ToNumber, draw: (random) => numberToBf16(random.normal()) },
  e4m3: { bytes: 1, value: e4m3ToNumber, draw: byte },
  e5m2: { bytes: 1, value: e5m2ToNumber, draw: byte },
};

/** Patterns, row after row. */
export interface Codes {
  readonly coding: Coding;
  readonly rows: number;
  readonly depth: number;
  readonly bits: readonly number[];
}

export function draw(type: Type, height: number, depth: number, random: Random): Codes {
  const coding = codings[type];
  return { coding, rows: height, depth, bits: Array.from({ length: height * depth }, () => coding.draw(random)) };
}

/** a . b^T in float64. */
export function product(a: Codes, b: Codes): Float64Array {
  const sums = new Float64Array(a.rows * b.rows);
  for (let i = 0; i < a.rows; i++) {
    for (let j = 0; j < b.rows; j++) {
      for (let k = 0; k < a.depth; k++)
        sums[i * b.rows + j]! += a.coding.value(a.bits[i * a.depth + k]!) * b.coding.value(b.bits[j * a.depth + k]!);
    }
  }
  return sums;
}
