// The dense 16-bit product on wgmma in the catalogue: one CTA, a cluster of two, more tiles than CTAs, ragged edges.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import type { Shape } from './kernel.ts';
import { dense16Reference } from './reference.ts';
import { dense16Wgmma, largeTiling, wgmmaGrid, type WgmmaTiling } from './wgmma.ts';

const small: WgmmaTiling = { columns: 128, stages: 3, cluster: 1, group: 16 };

export const dense16WgmmaEntry: Entry = entry({
  name: 'dense16-wgmma',
  title: 'C = A B^T in f16 with f32 sums, on wgmma: bulk copies by one warp, products by two warpgroups',
  examples: () => [
    dense16WgmmaExample({ m: 256, n: 256, k: 320 }, largeTiling, 2),
    dense16WgmmaExample({ m: 128, n: 128, k: 128 }, small, 1),
    dense16WgmmaExample({ m: 200, n: 136, k: 72 }, small, 1),
  ],
});

/** `multiprocessors`: of the GPU it is for, so how many CTAs it gets. */
export function dense16WgmmaExample(shape: Shape, tiling: WgmmaTiling, multiprocessors: number): Example {
  const { m, n, k } = shape;
  return example({
    name: `${m}x${n}x${k}`,
    program: dense16Wgmma(shape, tiling),
    grid: [wgmmaGrid(shape, tiling, multiprocessors)],
    args: (seed) => {
      const random = new Random(seed);
      const normals = (length: number): Float16Array => Float16Array.from({ length }, () => random.normal());
      return {
        A: { data: normals(m * k), rows: m, columns: k },
        B: { data: normals(n * k), rows: n, columns: k },
        C: { data: new Float16Array(m * n).fill(Number.NaN), rows: m, columns: n },
      };
    },
    // f16 output rounds by up to 2^-11.
    check: ({ A, B, C }) => ({
      error: relativeError(C.data, dense16Reference(A.data, B.data, shape)),
      bound: 5e-4,
    }),
  });
}
