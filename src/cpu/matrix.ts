// Weight matrices as the CPU kernels read them, made from plain arrays. Knows no file format.
import { errors } from '../base/errors.ts';
import { bf16ToNumber, f16ToNumber } from '../base/f16.ts';
import { type Address, type Heap, offset } from './heap.ts';

/** A 4-bit matrix [rows, columns] on its way in: weight = (code - zero point) * scale. */
export interface W4Source {
  readonly rows: number;
  readonly columns: number;
  /** Inputs that share a scale; `columns` for one scale a row. */
  readonly group: number;
  /** [rows, ceil(columns / 8)]; nibble i of a word is the code of column 8 * word + i. */
  readonly packed: Uint32Array;
  /** [rows, ceil(columns / group)] */
  readonly scales: Float32Array;
  /** [rows, ceil(columns / group)], or null for 8 everywhere. */
  readonly zeroPoints: Uint8Array | null;
}

/** A 4-bit matrix in the heap, in quads of rows (layout: assembly/w4.ts). */
export interface W4Matrix {
  readonly kind: 'w4';
  readonly rows: number;
  readonly columns: number;
  readonly quads: number;
  /** v128 words of 8 inputs along a quad. */
  readonly words: number;
  /** Words whose products are summed in integers before they are scaled. */
  readonly chunkWords: number;
  readonly chunksPerGroup: number;
  readonly weights: Address;
  readonly scales: Address;
  /** Read only when `asymmetric`; otherwise every zero point is 8. */
  readonly zeros: Address;
  readonly asymmetric: boolean;
}

/** A 16-bit matrix in the heap, row by row. */
export interface W16Matrix {
  readonly kind: 'w16';
  readonly rows: number;
  readonly columns: number;
  /** Bytes a row: a multiple of 16, zeros beyond the columns. */
  readonly stride: number;
  readonly bf16: boolean;
  /** What a widened weight is multiplied by (assembly/w16.ts). */
  readonly scale: number;
  readonly weights: Address;
}

export type Matrix = W4Matrix | W16Matrix;

/** 16 words are 128 inputs: 128 x 15 x 128 x 256 stays inside an i32, and the scaling costs 9 % of the product (35 % at 4 words). */
const MAX_CHUNK_WORDS = 16;

/** Largest divisor of `words` that is at most MAX_CHUNK_WORDS. */
function chunkOf(words: number): number {
  for (let size = MAX_CHUNK_WORDS; size > 1; size--) if (words % size === 0) return size;
  return 1;
}

/**
 * Interleaves matrices that share their input (such as q, k and v) into one of all their rows.
 * Errors: 'internal' when columns or groups differ; 'group-unsupported' when a group is not a multiple of 8 inputs.
 */
export function loadW4(heap: Heap, sources: readonly W4Source[]): W4Matrix {
  const { columns, group } = sources[0]!;
  const rows = sources.reduce((sum, source) => sum + source.rows, 0);
  if (sources.some((source) => source.columns !== columns || source.group !== group))
    throw errors.internal('fused matrices differ in shape');
  const perChannel = group >= columns;
  if (!perChannel && group % 8 !== 0) throw errors.groupUnsupported(group);
  const words = Math.ceil(columns / 8);
  const groups = Math.ceil(columns / group);
  const chunkWords = perChannel ? MAX_CHUNK_WORDS : chunkOf(group / 8);
  const chunksPerGroup = perChannel ? Math.ceil(words / chunkWords) : group / 8 / chunkWords;
  const quads = Math.ceil(rows / 4);
  const asymmetric = sources.some((source) => source.zeroPoints !== null);

  const blocks = Math.ceil(quads / 4);
  const weights = heap.allocate(blocks * words * 64);
  const scales = heap.allocate(quads * groups * 16);
  const zeros = heap.allocate(asymmetric ? quads * groups * 16 : 0);
  const weightWords = heap.words(weights, blocks * words * 16);
  const scaleValues = heap.floats(scales, quads * groups * 4);
  const zeroValues = heap.integers(zeros, asymmetric ? quads * groups * 4 : 0).fill(8);
  let row = 0;
  for (const source of sources) {
    for (let r = 0; r < source.rows; r++, row++) {
      const quad = row >> 2;
      const lane = row & 3;
      const first = (row >> 4) * words * 16 + (row & 15);
      for (let w = 0; w < words; w++) weightWords[first + w * 16] = source.packed[r * words + w]!;
      for (let g = 0; g < groups; g++) {
        scaleValues[(quad * groups + g) * 4 + lane] = source.scales[r * groups + g]!;
        if (source.zeroPoints !== null) zeroValues[(quad * groups + g) * 4 + lane] = source.zeroPoints[r * groups + g]!;
      }
    }
  }
  return { kind: 'w4', rows, columns, quads, words, chunkWords, chunksPerGroup, weights, scales, zeros, asymmetric };
}

/**
 * Loads a 16-bit matrix: `fill` writes the rows' bit patterns, [rows, columns], straight into the heap where rows need no padding.
 * Errors: 'weight-not-finite' when a weight is infinite or NaN.
 */
export function loadW16(
  heap: Heap,
  name: string,
  rows: number,
  columns: number,
  dtype: 'F16' | 'BF16',
  fill: (target: Uint16Array) => void,
): W16Matrix {
  const stride = Math.ceil(columns / 8) * 16;
  const weights = heap.allocate(rows * stride);
  const halves = heap.halves(weights, (rows * stride) / 2);
  if (stride === columns * 2) fill(halves);
  else {
    const dense = new Uint16Array(rows * columns);
    fill(dense);
    for (let row = 0; row < rows; row++)
      halves.set(dense.subarray(row * columns, (row + 1) * columns), (row * stride) / 2);
  }
  const bf16 = dtype === 'BF16';
  let largest = 0;
  let subnormal = false;
  for (const bits of halves) {
    const magnitude = bits & 0x7fff;
    if (magnitude > largest) largest = magnitude;
    if (magnitude !== 0 && magnitude < 0x400) subnormal = true;
  }
  if (largest >= (bf16 ? 0x7f80 : 0x7c00))
    throw errors.weightNotFinite(name, (bf16 ? bf16ToNumber : f16ToNumber)(largest));
  if (bf16) return { kind: 'w16', rows, columns, stride, bf16, scale: 1, weights };
  // Ten doublings make the smallest f16 normal; the exponent has room for them unless a weight exceeds 32 (then it is only slower).
  const doublings = subnormal ? Math.min(10, 30 - (largest >> 10)) : 0;
  if (doublings > 0) scaleHalves(halves, doublings);
  return { kind: 'w16', rows, columns, stride, bf16, scale: 2 ** (112 - doublings), weights };
}

/** Multiplies f16 values by 2^doublings, exactly: a subnormal times 2^10 is normal, and nothing overflows by the choice of doublings. */
function scaleHalves(halves: Uint16Array, doublings: number): void {
  const values = new Float16Array(halves.buffer, halves.byteOffset, halves.length);
  const factor = 2 ** doublings;
  for (let i = 0; i < values.length; i++) {
    const magnitude = halves[i]! & 0x7fff;
    if (magnitude >= 0x400) halves[i] = halves[i]! + (doublings << 10);
    else if (magnitude !== 0) values[i] = values[i]! * factor;
  }
}

/**
 * Activations in the heap: rows of `width` f32, a row every `stride` bytes. Kernels write whole quads or panels of 8 columns, so at least 7 floats
 * of slack follow each row; products read up to the next multiple of 8 columns, where zeros must stand unless the width is one.
 */
export interface Activation {
  readonly address: Address;
  readonly width: number;
  readonly stride: number;
}

/** Kernels take tokens by tiles of up to 12 and write whole tiles. */
const TILE_TOKENS = 12;

export function allocateActivation(heap: Heap, tokens: number, width: number): Activation {
  const stride = Math.ceil((width + 7) / 8) * 32;
  return { address: heap.allocate(Math.ceil(tokens / TILE_TOKENS) * TILE_TOKENS * stride), width, stride };
}

/** The same activations, from token `first` on. */
export function fromToken(x: Activation, first: number): Activation {
  return { ...x, address: offset(x.address, first * x.stride) };
}
