// Operands of tensor-core products as arrays of numbers: gathered out of registers by tables, and multiplied. Knows no instruction.
import { bf16ToNumber, e4m3ToNumber, e5m2ToNumber, f16ToNumber } from '../../base/f16.ts';
import type { Machine } from '../machine.ts';
import type { Operand, Reg } from '../program.ts';
import { fragmentA, fragmentA8, fragmentB, fragmentC, type HalfPlace } from './fragments.ts';

export type HalfType = 'f16' | 'bf16';
export type MatrixType = HalfType | 'e4m3' | 'e5m2';

const decoders: Readonly<Record<MatrixType, (bits: number) => number>> = {
  f16: f16ToNumber,
  bf16: bf16ToNumber,
  e4m3: e4m3ToNumber,
  e5m2: e5m2ToNumber,
};
export const bytesOf: Readonly<Record<MatrixType, 1 | 2>> = { f16: 2, bf16: 2, e4m3: 1, e5m2: 1 };
const tables = new Map<MatrixType, Float32Array>();

/** The value of every pattern of a type; made when it is first asked for. */
export function valuesOf(type: MatrixType): Float32Array {
  const known = tables.get(type);
  if (known !== undefined) return known;
  const table = Float32Array.from({ length: 256 ** bytesOf[type] }, (_, bits) => decoders[type](bits));
  tables.set(type, table);
  return table;
}

/** Registers of a product, 32 lanes each: at most 128, the sums of 64 x 256. One for all products, as words, halves, bytes and numbers. */
const words = new Int32Array(128 * 32);
const halves = new Uint16Array(words.buffer);
const bytes = new Uint8Array(words.buffer);
const numbers = new Float32Array(words.buffer);

/** Where each element of a row-major operand lies among the gathered registers. */
function table(rows: number, depth: number, placeOf: (row: number, k: number) => number): Uint16Array {
  return Uint16Array.from({ length: rows * depth }, (_, i) => placeOf(Math.floor(i / depth), i % depth));
}
const halfIndex = ({ register, lane, upper }: HalfPlace): number => (register * 32 + lane) * 2 + (upper ? 1 : 0);

const places = {
  A: table(16, 16, (row, k) => halfIndex(fragmentA(row, k))),
  A8: table(16, 32, (row, k) => {
    const { register, lane, byte } = fragmentA8(row, k);
    return (register * 32 + lane) * 4 + byte;
  }),
  B16: table(8, 16, (column, k) => halfIndex(fragmentB(k, column))),
  B32: table(8, 32, (column, k) => halfIndex(fragmentB(k, column))),
} as const;

const COLUMNS = 256;
const sumPlaces = table(16, COLUMNS, (row, column) => {
  const { register, lane } = fragmentC(row, column);
  return register * 32 + lane;
});

function pick(from: Uint16Array | Uint8Array, at: Uint16Array, type: MatrixType): Float32Array {
  const values = valuesOf(type);
  const picked = new Float32Array(at.length);
  for (let i = 0; i < at.length; i++) picked[i] = values[from[at[i]!]!]!;
  return picked;
}

/** [16][16] of A in registers operands[first ..]; [16][32] of an 8-bit type. */
export function gatherA(machine: Machine, operands: readonly Operand[], first: number, type: MatrixType): Float32Array {
  machine.gather(operands, first, 4, words);
  return bytesOf[type] === 2 ? pick(halves, places.A, type) : pick(bytes, places.A8, type);
}

/** [8][depth] of B in registers operands[first ..]: column after column. */
export function gatherB(
  machine: Machine,
  operands: readonly Operand[],
  first: number,
  type: HalfType,
  depth: 16 | 32,
): Float32Array {
  machine.gather(operands, first, depth / 8, words);
  return pick(halves, depth === 16 ? places.B16 : places.B32, type);
}

/**
 * target = a . b^T + the sums in operands[first ..] (0 without `adds`): 16 rows of a, as many columns as b has rows. Products are exact, sums in f32
 * in order of k; the chip's order is not documented. `keptAt`: for each row and each of its weights the k that it is multiplied at, if not all are.
 */
export function multiply(
  machine: Machine,
  { operands, first, adds }: { readonly operands: readonly Operand[]; readonly first: number; readonly adds: boolean },
  a: Float32Array,
  b: Float32Array,
  depth: number,
  target: readonly Reg[],
  keptAt: Uint8Array | null = null,
): void {
  if (adds) machine.gather(operands, first, target.length, words);
  else words.fill(0, 0, target.length * 32);
  const columns = b.length / depth;
  const weights = a.length / 16;
  for (let row = 0; row < 16; row++) {
    // Two columns at a time: the next one adds while the first one is rounded.
    for (let column = 0; column < columns; column += 2) {
      const at = sumPlaces[row * COLUMNS + column]!;
      const beside = sumPlaces[row * COLUMNS + column + 1]!;
      let [left, right] = [numbers[at]!, numbers[beside]!];
      const [here, there] = [column * depth, (column + 1) * depth];
      for (let i = 0; i < weights; i++) {
        const weight = a[row * weights + i]!;
        const k = keptAt === null ? i : keptAt[row * weights + i]!;
        left = Math.fround(left + weight * b[here + k]!);
        right = Math.fround(right + weight * b[there + k]!);
      }
      numbers[at] = left;
      numbers[beside] = right;
    }
  }
  machine.scatter(target, words);
}
