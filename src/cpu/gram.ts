// Sums of x^T x over many activations on the pool (assembly/gram.ts). Knows not what they are for.
import { type Address, type Heap, offset } from './heap.ts';
import type { Activation } from './matrix.ts';
import type { Pool } from './pool.ts';

/** Columns of a panel, tokens of a chunk, and bytes of it: assembly/gram.ts. */
const WIDE = 24;
const CHUNK = 128;
const CHUNK_BYTES = 4 * WIDE * (CHUNK / 2 + 1);
const PANEL_GRAIN = 4;

/** x^T x of tokens added so far, in the heap. */
export interface Gram {
  readonly width: number;
  readonly panels: number;
  /** Room for the panels of so many tokens. */
  readonly tokens: number;
  readonly packed: Address;
  /** [panels * 24, panels * 24] f32, its upper triangle in blocks of panels. */
  readonly sums: Address;
}

/** All zero, for at most `tokens` tokens at a time. */
export function newGram(heap: Heap, width: number, tokens: number): Gram {
  const panels = Math.ceil(width / WIDE);
  return {
    width,
    panels,
    tokens,
    packed: heap.allocate(CHUNK_BYTES * panels * Math.ceil(tokens / CHUNK)),
    sums: heap.allocate(4 * (WIDE * panels) ** 2),
  };
}

/** Adds x^T x of the first `tokens` tokens. */
export function addGram(pool: Pool, gram: Gram, x: Activation, tokens: number): void {
  const { panels, packed, sums, width } = gram;
  pool.run('gramPack', [x.address, x.stride, tokens, width, packed], panels, PANEL_GRAIN);
  pool.run('gram', [packed, tokens, panels, sums], panels, 1);
}

/** Forgets what was added. */
export function clearGram(heap: Heap, { panels, sums }: Gram): void {
  heap.floats(sums, (WIDE * panels) ** 2).fill(0);
}

/** The whole symmetric matrix [width, width]. */
export function readGram(heap: Heap, { width, panels, sums }: Gram): Float32Array {
  const pitch = WIDE * panels;
  const result = new Float32Array(width * width);
  for (let i = 0; i < width; i++) {
    const row = heap.floats(offset(sums, 4 * (i * pitch + i)), width - i);
    for (let j = i; j < width; j++) {
      result[i * width + j] = row[j - i]!;
      result[j * width + i] = row[j - i]!;
    }
  }
  return result;
}
