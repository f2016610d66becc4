// Boxes of a matrix: which bytes of global memory go where in shared memory, swizzled as the copy engine does it. Moves nothing.
import { elemBytes, type Swizzle } from '../ptx/program.ts';
import { sectorsOfRange } from './coalescing.ts';
import type { Matrix } from './memory.ts';

/** What the engine exchanges. */
const CHUNK = 16;

/** Byte `linear` of shared memory after the engine's exchange of 16-byte chunks. */
function swizzledByte(linear: number, swizzle: Swizzle): number {
  return swizzle === 0 ? linear : linear ^ (((linear >> 7) & (swizzle / 16 - 1)) << 4);
}

export interface Piece {
  /** Byte of the buffer. */
  readonly from: number;
  /** Byte of the box as it lies in shared memory. */
  readonly to: number;
  readonly bytes: number;
}

/** The parts of a box that are inside the matrix, 16 bytes or less each. */
export function pieces({ rows, columns, type }: Matrix, row: number, column: number, start: number): Piece[] {
  const found: Piece[] = [];
  const { elem, box, swizzle } = type;
  const size = elemBytes[elem];
  const perChunk = CHUNK / size;
  for (let r = 0; r < box[0]; r++) {
    if (row + r < 0 || row + r >= rows) continue;
    for (let c = 0; c < box[1]; c += perChunk) {
      const [first, end] = [Math.max(column + c, 0), Math.min(column + c + perChunk, columns)];
      if (first >= end) continue;
      const chunk = swizzledByte(start + (r * box[1] + c) * size, swizzle);
      found.push({
        from: ((row + r) * columns + first) * size,
        to: chunk + (first - column - c) * size,
        bytes: (end - first) * size,
      });
    }
  }
  return found;
}

/** Pieces that follow each other in global memory, taken together. */
export function runs(parts: readonly Piece[]): { readonly from: number; readonly bytes: number }[] {
  const found: { from: number; bytes: number }[] = [];
  for (const { from, bytes } of parts) {
    const last = found.at(-1);
    if (last !== undefined && last.from + last.bytes === from) last.bytes += bytes;
    else found.push({ from, bytes });
  }
  return found;
}

/** Sectors of pieces that follow each other. */
export function sectorsOf(parts: readonly Piece[]): number {
  let [sectors, last] = [0, Number.NaN];
  for (const { from, bytes } of parts) {
    sectors += sectorsOfRange(from, bytes) - (Math.floor(from / 32) === last ? 1 : 0);
    last = Math.floor((from + bytes - 1) / 32);
  }
  return sectors;
}
