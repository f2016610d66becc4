// The dense 16-bit product on mma.sync in the catalogue: one tile of k, more tiles of k than stages, several CTAs.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Access, drawAccess, drawLayout, ldmatrixRows } from '../../ptx/draw/drawing.ts';
import { type Drawing, drawn, type Entry, entry, type Example, example } from '../entry.ts';
import { dense16, type Shape, TILE, tile } from './kernel.ts';
import { dense16Reference } from './reference.ts';

export const dense16Entry: Entry = entry({
  name: 'dense16',
  title: 'C = A B^T in f16 with f32 sums, on mma.sync behind a ring of asynchronous copies',
  examples: () => [
    ofShape({ m: 128, n: 128, k: 448 }),
    ofShape({ m: 128, n: 128, k: 64 }),
    ofShape({ m: 256, n: 128, k: 128 }),
  ],
  drawings,
});

function ofShape(shape: Shape): Example {
  const { m, n, k } = shape;
  return example({
    name: `${m}x${n}x${k}`,
    program: dense16(shape),
    grid: [m / TILE, n / TILE],
    args: (seed) => {
      const random = new Random(seed);
      const normals = (length: number): Float16Array => Float16Array.from({ length }, () => random.normal());
      return { A: normals(m * k), B: normals(n * k), C: new Float16Array(m * n).fill(Number.NaN) };
    },
    // f16 output rounds by up to 2^-11.
    check: ({ A, B, C }) => ({ error: relativeError(C, dense16Reference(A, B, shape)), bound: 5e-4 }),
  });
}

function drawings(): readonly Drawing[] {
  return [
    drawn(drawLayout({ ...tile, rows: 16 }, { title: 'The first rows of a stage of A or B' })),
    drawn(drawAccess(tile, ldmatrixRows(), { title: 'ldmatrix of A', bytes: 16 })),
    drawn(drawAccess(tile, rowsOfB, { title: 'ldmatrix of two fragments of B', bytes: 16 })),
  ];
}

/** Lane l gives column l % 8 + 8 (l / 16) of B, which is a row in memory, and k 8 (l / 8 % 2) on. */
const rowsOfB: Access = (lane) => [(lane % 8) + 8 * (lane >> 4), 8 * ((lane >> 3) % 2)];
