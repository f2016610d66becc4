// What a matrix has in the pool's heap while it is rounded column by column. Knows no step of it.
import type { Address } from '../cpu/heap.ts';
import type { Pool } from '../cpu/pool.ts';
import { SYMMETRIC_ZERO } from '../formats/quantized.ts';
import type { Curvature } from './curvature.ts';

/** Columns whose loss is handed on together. */
export const BLOCK = 128;
/** Columns that a step of the pool takes at once. */
export const PANEL = 8;

export interface Work {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly group: number;
  /** Floats from a row of weights or of U to the next. */
  readonly stride: number;
  /** [rows, stride], in the order of rounding. */
  readonly weights: Address;
  readonly u: Address;
  /** [rows, groups] */
  readonly scales: Address;
  readonly zeros: Address;
  /** [columns]: the group of the j-th column. */
  readonly groupOf: Address;
  /** [rows, columns] bytes. */
  readonly codes: Address;
  /** [rows, up to BLOCK] */
  readonly errors: Address;
  /** Inverse of a block of U. */
  readonly panels: Address;
}

export function newWork(
  { heap }: Pool,
  name: string,
  weights: Float32Array,
  curvature: Curvature,
  group: number,
): Work {
  const { columns, order, u, dead } = curvature;
  const rows = weights.length / columns;
  const stride = PANEL * Math.ceil(columns / PANEL);
  const floats = (count: number): Address => heap.allocate(4 * count);
  const work: Work = {
    name,
    rows,
    columns,
    group,
    stride,
    weights: floats(rows * stride),
    u: floats(columns * stride),
    scales: floats(rows * (columns / group)),
    zeros: floats(rows * (columns / group)),
    groupOf: floats(columns),
    codes: heap.allocate(rows * columns),
    errors: floats(rows * BLOCK),
    panels: floats(BLOCK * BLOCK),
  };
  const own = heap.floats(work.weights, rows * stride);
  for (let row = 0; row < rows; row++) {
    const [to, from] = [row * stride, row * columns];
    if (order === null) own.set(weights.subarray(from, from + columns), to);
    else for (let j = 0; j < columns; j++) own[to + j] = weights[from + order[j]!]!;
    for (const j of dead) own[to + j] = 0;
  }
  fillRows(heap.floats(work.u, columns * stride), u, columns, stride);
  heap
    .words(work.groupOf, columns)
    .set(Uint32Array.from({ length: columns }, (_, j) => Math.floor((order?.[j] ?? j) / group)));
  heap.floats(work.scales, rows * (columns / group)).fill(1);
  heap.floats(work.zeros, rows * (columns / group)).fill(SYMMETRIC_ZERO);
  return work;
}

export function fillRows(to: Float32Array, from: Float32Array, columns: number, stride: number): void {
  for (let i = 0; i * columns < from.length; i++) to.set(from.subarray(i * columns, (i + 1) * columns), i * stride);
}
