// A tile of A B^T on mma.sync: a ring of stages filled by asynchronous copies, swizzled so that nothing conflicts. Knows not what becomes of the sums.
import { type Layout, swizzled } from '../../ptx/layout.ts';
import type { Global } from '../../ptx/pointers.ts';
import type { K } from '../../ptx/trace.ts';
import { type F32, type Int, u32, type U32 } from '../../ptx/values.ts';

/** Rows of A and of B a CTA takes, and k of a stage: 128 bytes a row, what a swizzle spans. */
export const TILE = 128;
export const TILE_K = 64;
export const THREADS = 256;
/** Each of 8 warps computes 64 x 32 of the tile: 4 x 4 fragments of 16 x 8, 64 registers of sums. */
const WARP_ROWS = 64;
const WARP_COLUMNS = 32;

/** What a stage holds of A, and of B. */
export const tile: Layout<'f16'> = swizzled('f16', [TILE, TILE_K]);

export interface TileOperands {
  /** [rows, depth] by rows, and [columns, depth]. */
  readonly A: Global<'f16'>;
  readonly B: Global<'f16'>;
  /** A multiple of 8. */
  readonly depth: number;
  readonly firstRow: U32;
  readonly firstColumn: U32;
  /** The last row that there is, of A and of B; rows behind it are read as copies of it. Null where every tile is whole. */
  readonly lastRow: Int | null;
  readonly lastColumn: Int | null;
  /** Slots of the ring, 32 KB each. */
  readonly stages: number;
}

/** Two sums of a lane, side by side at (row, column) and (row, column + 1) of C. */
export type TakeSums = (row: U32, column: U32, sums: readonly [F32, F32]) => void;

/** Multiplies a tile and hands out its sums. */
export function multiplyTile(k: K, operands: TileOperands, take: TakeSums): void {
  const { A, B, depth, firstRow, firstColumn, lastRow, lastColumn, stages } = operands;
  const tiles = Math.ceil(depth / TILE_K);
  const [sA, sB] = [k.shared(tile, stages), k.shared(tile, stages)];

  /** Begins to copy k tile `index` into its stage; 8 threads a row of 128 bytes, 32 rows a pass. */
  const fetch = (index: Int): void => {
    const at = typeof index === 'number' ? u32(index) : index;
    const stage = at.mod(stages).mul(tile.count);
    const [row, column] = [k.thread.div(8), k.thread.mod(8).mul(8)];
    const from = at.mul(TILE_K).add(column);
    const copyBoth = (copy: (to: typeof sA, from: Global<'f16'>) => void): void => {
      for (let pass = 0; pass < TILE / 32; pass++) {
        const r = row.add(32 * pass);
        const to = stage.add(tile.at(r, column));
        const clamped = (first: U32, last: Int | null): U32 => (last === null ? first.add(r) : first.add(r).min(last));
        copy(sA.at(to), A.at(clamped(firstRow, lastRow).mul(depth).add(from)));
        copy(sB.at(to), B.at(clamped(firstColumn, lastColumn).mul(depth).add(from)));
      }
    };
    const copyIn = (): void => copyBoth((to, source) => k.cpAsync(to, source));
    if (depth % TILE_K === 0) return copyIn();
    const zero = u32(0).asB32();
    return k.if(from.lt(depth), copyIn, () => copyBoth((to) => k.stShared(to, [zero, zero, zero, zero])));
  };

  const warpRow = k.warp.mod(TILE / WARP_ROWS).mul(WARP_ROWS);
  const warpColumn = k.warp.div(TILE / WARP_ROWS).mul(WARP_COLUMNS);
  const sums = Array.from({ length: WARP_ROWS / 16 }, () =>
    Array.from({ length: WARP_COLUMNS / 8 }, () => k.accumulator()),
  );

  /** First columns of the pairs of fragments of B that are loaded at once. */
  const pairs = Array.from({ length: WARP_COLUMNS / 16 }, (_, pair) => 16 * pair);

  for (let index = 0; index < stages - 1; index++) {
    if (index < tiles) fetch(index);
    k.cpAsyncCommit();
  }
  k.loop(0, tiles, 1, (index) => {
    k.cpAsyncWait(stages - 2);
    // One barrier a tile serves twice: this tile is there for all, and the stage filled next has been read by all.
    k.barSync();
    const next = index.add(stages - 1);
    k.if(next.lt(tiles), () => fetch(next));
    k.cpAsyncCommit();
    const stage = index.mod(stages).mul(tile.count);
    const place = (row: U32, column: U32): U32 => stage.add(tile.at(row, column));
    for (let step = 0; step < TILE_K / 16; step++) {
      const [aRow, aColumn] = [
        warpRow.add(k.lane.mod(16)),
        k.lane
          .div(16)
          .mul(8)
          .add(16 * step),
      ];
      const bRow = warpColumn.add(k.lane.mod(8)).add(k.lane.div(16).mul(8));
      const bColumn = k.lane
        .div(8)
        .mod(2)
        .mul(8)
        .add(16 * step);
      const a = sums.map((_, i) => k.ldmatrixA(sA.at(place(aRow.add(16 * i), aColumn))));
      const b = pairs.flatMap((first) => k.ldmatrixB2(sB.at(place(bRow.add(first), bColumn))));
      for (const [i, row] of sums.entries()) for (const [j, sum] of row.entries()) k.mma(sum, a[i]!, b[j]!);
    }
  });

  for (const [i, row] of sums.entries()) {
    for (const [j, { values }] of row.entries()) {
      const column = firstColumn.add(warpColumn).add(k.lane.mod(4).mul(2));
      for (const half of [0, 1]) {
        const r = firstRow.add(warpRow).add(k.lane.div(4));
        take(r.add(16 * i + 8 * half), column.add(8 * j), [values[2 * half]!, values[2 * half + 1]!]);
      }
    }
  }
}
