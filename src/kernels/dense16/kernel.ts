// C = A B^T in f16 with f32 sums on mma.sync: a tile a CTA, sizes that are multiples of it. Any size and more ends: linear.ts.
import { kernel } from '../../ptx/kernel.ts';
import type { Program } from '../../ptx/program.ts';
import { pairOfHalves } from '../../ptx/values.ts';
import { multiplyTile, THREADS, TILE, TILE_K } from './tile.ts';

export { TILE, tile } from './tile.ts';

/** A [m, k] by rows, B [n, k] by rows (so B^T by columns), C [m, n] by rows. */
export interface Shape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

export type Dense16Params = { readonly A: 'f16*'; readonly B: 'f16*'; readonly C: 'f16*' };

/** The program for one shape. Errors: RangeError unless m and n are multiples of 128, k of 64. Grid: [m / 128, n / 128]. */
export function dense16({ m, n, k: depth }: Shape): Program<Dense16Params> {
  if (m % TILE !== 0 || n % TILE !== 0 || depth % TILE_K !== 0)
    throw new RangeError(`${m} x ${n} x ${depth} is no multiple of ${TILE} x ${TILE} x ${TILE_K}`);
  return kernel(
    { name: `dense16_${m}_${n}_${depth}`, threads: THREADS, params: { A: 'f16*', B: 'f16*', C: 'f16*' } },
    (k, { A, B, C }) => {
      const [firstRow, firstColumn] = [k.cta.x.mul(TILE), k.cta.y.mul(TILE)];
      multiplyTile(
        k,
        { A, B, depth, firstRow, firstColumn, lastRow: null, lastColumn: null, stages: 4 },
        (row, column, [a, b]) => k.stGlobal(C.at(row.mul(n).add(column)), [pairOfHalves(a, b).asB32()]),
      );
    },
  );
}
