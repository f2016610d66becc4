// C = A B^T in f16 with f32 sums on mma.sp, A 2:4 sparse along k: half the bytes of A and twice the products an instruction. A tile a CTA, a
// ring of stages filled by asynchronous copies. Knows the packed form by its layouts alone.
import { kernel } from '../../ptx/kernel.ts';
import { type Layout, rows, swizzled } from '../../ptx/layout.ts';
import type { Program } from '../../ptx/program.ts';
import { pairOfHalves, type U32, u32 } from '../../ptx/values.ts';
import type { Shape } from '../dense16/kernel.ts';
import { BLOCK, keptLayout, LANES, metadataLayout } from './layout.ts';
import { below, fetchTile, ring, stageOf } from './ring.ts';

export type { Shape };

/** A packed: kept [m, k / 2] by rows, and metadata; B [n, k] by rows (so B^T by columns); C [m, n] by rows. */
export type Sparse16Params = {
  readonly kept: 'f16*';
  readonly metadata: 'b32*';
  readonly B: 'f16*';
  readonly C: 'f16*';
};

/** Rows of A and of B a CTA takes. */
export const TILE = 128;
/** k of a stage: rows of 128 bytes in B, of 64 in what is kept of A. */
const TILE_K = 64;
const THREADS = 256;
/** Each of 8 warps computes 64 x 32 of the tile: 4 x 4 fragments of 16 x 8, 64 registers of sums. Its rows are a block of metadata. */
const WARP_ROWS = BLOCK;
const WARP_COLUMNS = 32;

/** What a stage holds. */
export const keptTile: Layout<'f16'> = swizzled('f16', [TILE, TILE_K / 2], 64);
export const metadataTile: Layout<'b32'> = metadataLayout(TILE, TILE_K);
export const bTile: Layout<'f16'> = swizzled('f16', [TILE, TILE_K]);

export interface Options {
  /** Tiles of k in flight, 25 KB each: 4 (default) need sm_80 or sm_90, 3 fit the 99 KB of sm_86, sm_89 and sm_120 as well. */
  readonly stages?: 3 | 4;
}

/** The program for one shape. Errors: RangeError unless m and n are multiples of 128, k of 64. Grid: [m / 128, n / 128]. */
export function sparse16({ m, n, k: depth }: Shape, { stages = 4 }: Options = {}): Program<Sparse16Params> {
  if (m % TILE !== 0 || n % TILE !== 0 || depth % TILE_K !== 0)
    throw new RangeError(`${m} x ${n} x ${depth} is no multiple of ${TILE} x ${TILE} x ${TILE_K}`);
  const matrices = {
    kept: keptLayout(m, depth),
    metadata: metadataLayout(m, depth),
    B: rows('f16', [n, depth]),
    C: rows('f16', [m, n]),
  };
  const tiles = depth / TILE_K;

  return kernel(
    {
      name: `sparse16_${m}_${n}_${depth}_stages_${stages}`,
      threads: THREADS,
      params: { kept: 'f16*', metadata: 'b32*', B: 'f16*', C: 'f16*' },
    },
    (k, { kept, metadata, B, C }) => {
      const [firstRow, firstColumn] = [k.cta.x.mul(TILE), k.cta.y.mul(TILE)];
      const ringA = ring(k, keptTile, stages, { from: kept, matrix: matrices.kept, firstRow });
      const ringB = ring(k, bTile, stages, { from: B, matrix: matrices.B, firstRow: firstColumn });
      const ringMetadata = ring(k, metadataTile, stages, {
        from: metadata,
        matrix: matrices.metadata,
        firstRow: k.cta.x.mul(metadataTile.rows),
      });
      const fetch = (index: U32): void => {
        fetchTile(k, ringA, index, { threads: THREADS, bytes: 16 });
        fetchTile(k, ringB, index, { threads: THREADS, bytes: 16 });
        fetchTile(k, ringMetadata, index, { threads: THREADS, bytes: 4 });
      };

      const [block, strip] = [k.warp.mod(TILE / WARP_ROWS), k.warp.div(TILE / WARP_ROWS)];
      const [warpRow, warpColumn] = [block.mul(WARP_ROWS), strip.mul(WARP_COLUMNS)];
      const [rowA, columnA] = [warpRow.add(k.lane.mod(16)), k.lane.div(16).mul(8)];
      const [rowB, columnB] = [warpColumn.add(k.lane.mod(8)), k.lane.div(8).mul(8)];
      const rowMetadata = block.mul(LANES).add(k.lane);
      const sums = Array.from({ length: WARP_ROWS / 16 }, () =>
        Array.from({ length: WARP_COLUMNS / 8 }, () => k.accumulator()),
      );

      for (let index = 0; index < stages - 1; index++) {
        if (index < tiles) fetch(u32(index));
        k.cpAsyncCommit();
      }
      k.loop(0, tiles, 1, (index) => {
        k.cpAsyncWait(stages - 2);
        // One barrier a tile serves twice: this tile is there for all, and the stage filled next has been read by all.
        k.barSync();
        const next = index.add(stages - 1);
        k.if(next.lt(tiles), () => fetch(next));
        k.cpAsyncCommit();

        // A lane's four words serve its four fragments of A in both steps of 32 k: selector 0, then 1.
        const places = k.ldShared(stageOf(ringMetadata, index).at(metadataTile.at(rowMetadata, 0)), 4);
        for (const step of [0, 1] as const) {
          const fromA = stageOf(ringA, index).at(keptTile.at(rowA, columnA.add(16 * step)));
          const fromB = stageOf(ringB, index).at(bTile.at(rowB, columnB.add(32 * step)));
          const a = sums.map((_, i) => k.sparse(k.ldmatrixA(fromA.at(below(keptTile, 16 * i))), places[i]!, step));
          const b = sums[0]!.map((_, j) => k.ldmatrixB2(fromB.at(below(bTile, 8 * j))));
          for (const [i, row] of sums.entries()) for (const [j, sum] of row.entries()) k.mmaSparse(sum, a[i]!, b[j]!);
        }
      });

      for (const [i, line] of sums.entries()) {
        for (const [j, { values }] of line.entries()) {
          const column = firstColumn
            .add(warpColumn)
            .add(k.lane.mod(4).mul(2))
            .add(8 * j);
          for (const half of [0, 1]) {
            const row = firstRow
              .add(warpRow)
              .add(k.lane.div(4))
              .add(16 * i + 8 * half);
            const pair = pairOfHalves(values[2 * half]!, values[2 * half + 1]!);
            k.stGlobal(C.at(matrices.C.at(row, column)), [pair.asB32()]);
          }
        }
      }
    },
  );
}
