// Tiles in flight: a ring of stages in shared memory, filled with asynchronous copies of a matrix in global memory. Knows no product.
import type { Layout } from '../../ptx/layout.ts';
import type { Global, Shared } from '../../ptx/pointers.ts';
import { elemBytes, type ElemType } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import type { U32 } from '../../ptx/values.ts';

/** A matrix, and its row that the CTA's tiles begin with; tile after tile goes on along the columns. */
export interface Source<T extends ElemType> {
  readonly from: Global<T>;
  readonly matrix: Layout<T>;
  readonly firstRow: U32;
}

export interface Ring<T extends ElemType> extends Source<T> {
  /** [stages, tile] */
  readonly memory: Shared<T>;
  readonly stages: number;
  readonly tile: Layout<T>;
}

/** A ring in shared memory of its own. */
export function ring<T extends ElemType>(k: K, tile: Layout<T>, stages: number, source: Source<T>): Ring<T> {
  return { ...source, memory: k.shared(tile, stages), stages, tile };
}

/** The stage that tile `index` is in. */
export function stageOf<T extends ElemType>({ memory, stages, tile }: Ring<T>, index: U32): Shared<T> {
  return memory.at(index.mod(stages).mul(tile.count));
}

/** Begins to copy tile `index` into its stage, `bytes` a thread at a time: neighbours take neighbours along a row, all threads some rows a pass. */
export function fetchTile<T extends ElemType>(
  k: K,
  of: Ring<T>,
  index: U32,
  { threads, bytes }: { readonly threads: number; readonly bytes: 4 | 16 },
): void {
  const { from, matrix, firstRow, tile } = of;
  const perCopy = bytes / elemBytes[tile.elem];
  const perRow = tile.columns / perCopy;
  const [row, column] = [k.thread.div(perRow), k.thread.mod(perRow).mul(perCopy)];
  const source = from.at(matrix.at(firstRow.add(row), index.mul(tile.columns).add(column)));
  const target = stageOf(of, index).at(tile.at(row, column));
  for (let pass = 0; pass < tile.rows; pass += threads / perRow)
    k.cpAsync(target.at(below(tile, pass)), source.at(below(matrix, pass)), bytes);
}

/**
 * From an element to the one `height` rows below. The same for all of them in a layout by rows, and in a swizzled one where its pattern, 8 rows, divides
 * the height: a constant that an instruction takes with its address, where ptxas would keep an address a fragment.
 */
export function below(layout: Layout, height: number): number {
  return layout.index(height, 0);
}
