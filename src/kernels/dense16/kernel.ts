// C = A B^T in f16 with f32 sums on mma.sync: a tile a CTA, a ring of stages filled by asynchronous copies, swizzled so that nothing conflicts.
import { kernel } from '../../ptx/kernel.ts';
import { type Layout, swizzled } from '../../ptx/layout.ts';
import type { Program } from '../../ptx/program.ts';
import { type Int, pairOfHalves, u32 } from '../../ptx/values.ts';

/** A [m, k] by rows, B [n, k] by rows (so B^T by columns), C [m, n] by rows. */
export interface Shape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

export type Dense16Params = { readonly A: 'f16*'; readonly B: 'f16*'; readonly C: 'f16*' };

/** Rows of A and of B a CTA takes, and k of a stage: 128 bytes a row, what a swizzle spans. */
export const TILE = 128;
const TILE_K = 64;
const STAGES = 4;
const THREADS = 256;
/** Each of 8 warps computes 64 x 32 of the tile: 4 x 4 fragments of 16 x 8, 64 registers of sums. */
const WARP_ROWS = 64;
const WARP_COLUMNS = 32;

/** What a stage holds of A, and of B. */
export const tile: Layout<'f16'> = swizzled('f16', [TILE, TILE_K]);

/** The program for one shape. Errors: RangeError unless m and n are multiples of 128, k of 64. Grid: [m / 128, n / 128]. */
export function dense16({ m, n, k: depth }: Shape): Program<Dense16Params> {
  if (m % TILE !== 0 || n % TILE !== 0 || depth % TILE_K !== 0)
    throw new RangeError(`${m} x ${n} x ${depth} is no multiple of ${TILE} x ${TILE} x ${TILE_K}`);
  const tiles = depth / TILE_K;

  return kernel(
    { name: `dense16_${m}_${n}_${depth}`, threads: THREADS, params: { A: 'f16*', B: 'f16*', C: 'f16*' } },
    (k, { A, B, C }) => {
      const [sA, sB] = [k.shared(tile, STAGES), k.shared(tile, STAGES)];
      const [firstRow, firstColumn] = [k.cta.x.mul(TILE), k.cta.y.mul(TILE)];

      /** Begins to copy k tile `index` into its stage; 8 threads a row of 128 bytes, 32 rows a pass. */
      const fetch = (index: Int): void => {
        const at = typeof index === 'number' ? u32(index) : index;
        const stage = at.mod(STAGES).mul(tile.count);
        const [row, column] = [k.thread.div(8), k.thread.mod(8).mul(8)];
        for (let pass = 0; pass < TILE / 32; pass++) {
          const r = row.add(32 * pass);
          const to = stage.add(tile.at(r, column));
          const from = at.mul(TILE_K).add(column);
          k.cpAsync(sA.at(to), A.at(firstRow.add(r).mul(depth).add(from)));
          k.cpAsync(sB.at(to), B.at(firstColumn.add(r).mul(depth).add(from)));
        }
      };

      const warpRow = k.warp.mod(TILE / WARP_ROWS).mul(WARP_ROWS);
      const warpColumn = k.warp.div(TILE / WARP_ROWS).mul(WARP_COLUMNS);
      const sums = Array.from({ length: WARP_ROWS / 16 }, () =>
        Array.from({ length: WARP_COLUMNS / 8 }, () => k.accumulator()),
      );
      /** First columns of the pairs of fragments of B that are loaded at once. */
      const pairs = Array.from({ length: WARP_COLUMNS / 16 }, (_, pair) => 16 * pair);

      for (let index = 0; index < STAGES - 1; index++) {
        if (index < tiles) fetch(index);
        k.cpAsyncCommit();
      }
      k.loop(0, tiles, 1, (index) => {
        k.cpAsyncWait(STAGES - 2);
        // One barrier a tile serves twice: this tile is there for all, and the stage filled next has been read by all.
        k.barSync();
        const next = index.add(STAGES - 1);
        k.if(next.lt(tiles), () => fetch(next));
        k.cpAsyncCommit();
        const stage = index.mod(STAGES).mul(tile.count);
        for (let step = 0; step < TILE_K / 16; step++) {
          const a = sums.map((_, i) =>
            k.ldmatrixA(
              sA.at(
                stage.add(
                  tile.at(
                    warpRow.add(k.lane.mod(16)).add(16 * i),
                    k.lane
                      .div(16)
                      .mul(8)
                      .add(16 * step),
                  ),
                ),
              ),
            ),
          );
          const b = pairs.flatMap((first) =>
            k.ldmatrixB2(
              sB.at(
                stage.add(
                  tile.at(
                    warpColumn.add(k.lane.mod(8)).add(k.lane.div(16).mul(8)).add(first),
                    k.lane
                      .div(8)
                      .mod(2)
                      .mul(8)
                      .add(16 * step),
                  ),
                ),
              ),
            ),
          );
          for (const [i, row] of sums.entries()) for (const [j, sum] of row.entries()) k.mma(sum, a[i]!, b[j]!);
        }
      });

      for (const [i, row] of sums.entries()) {
        for (const [j, { values }] of row.entries()) {
          const column = firstColumn
            .add(warpColumn)
            .add(k.lane.mod(4).mul(2))
            .add(8 * j);
          for (const half of [0, 1]) {
            const r = firstRow
              .add(warpRow)
              .add(k.lane.div(4))
              .add(16 * i + 8 * half);
            k.stGlobal(C.at(r.mul(n).add(column)), [pairOfHalves(values[2 * half]!, values[2 * half + 1]!).asB32()]);
          }
        }
      }
    },
  );
}
