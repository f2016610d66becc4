// The 2:4 sparse product on mma.sp in the catalogue: more tiles of k than stages, one, several CTAs, and the ring that fits every chip.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Access, drawAccess, drawFragment, drawLayout, ldmatrixRows } from '../../ptx/draw/drawing.ts';
import { type Drawing, drawn, type Entry, entry, type Example, example } from '../entry.ts';
import { bTile, keptTile, metadataTile, type Options, type Shape, sparse16, TILE } from './kernel.ts';
import { placeBits } from './layout.ts';
import { pack, randomSparse, unpack } from './pack.ts';
import { sparse16Reference } from './reference.ts';

export const sparse16Entry: Entry = entry({
  name: 'sparse16',
  title: 'C = A B^T in f16 with f32 sums, A 2:4 sparse, on mma.sp behind a ring of asynchronous copies',
  examples: () => [
    ofShape({ m: 128, n: 128, k: 384 }),
    ofShape({ m: 128, n: 128, k: 64 }),
    ofShape({ m: 256, n: 128, k: 128 }),
    ofShape({ m: 128, n: 256, k: 320 }, { stages: 3 }),
  ],
  drawings,
});

function ofShape(shape: Shape, { stages = 4 }: Options = {}): Example {
  const { m, n, k } = shape;
  return example({
    name: `${m}x${n}x${k}${stages === 4 ? '' : `-stages-${stages}`}`,
    program: sparse16(shape, { stages }),
    grid: [m / TILE, n / TILE],
    args: (seed) => {
      const random = new Random(seed);
      const { kept, metadata } = pack(randomSparse(random, shape), shape);
      const B = Float16Array.from({ length: n * k }, () => random.normal());
      return { kept, metadata, B, C: new Float16Array(m * n).fill(Number.NaN) };
    },
    // f16 output rounds by up to 2^-11.
    check: ({ kept, metadata, B, C }) => ({
      error: relativeError(C, sparse16Reference(unpack({ kept, metadata }, shape), B, shape)),
      bound: 5e-4,
    }),
  });
}

function drawings(): readonly Drawing[] {
  const owners = drawFragment(
    (row, kept) => ({ lane: placeBits(row, kept).lane, register: placeBits(row, kept).bit }),
    {
      title: 'Metadata of 16 rows and 64 k',
      rows: 16,
      columns: 32,
      register: 'b',
    },
  );
  return [
    drawn({
      ...owners,
      notes: [
        'A column is a kept value of 64 k; a cell shows the lane whose word holds its place among four, and the lower of its two bits.',
        'The first 32 k read lanes 0 and 1 of each four (selector 0), the others lanes 2 and 3 (selector 1). The next 16 rows are in the same lanes, a word further on.',
      ],
    }),
    drawn(drawLayout({ ...keptTile, rows: 16 }, { title: 'The first rows of a stage of kept values' })),
    drawn(drawAccess(keptTile, ldmatrixRows(), { title: 'ldmatrix of kept values', bytes: 16 })),
    drawn(drawAccess(bTile, columnsOfB, { title: 'ldmatrix of 8 columns and 32 k of B', bytes: 16 })),
    drawn(drawAccess(metadataTile, (lane) => [lane, 0], { title: 'Loading metadata', bytes: 16 })),
  ];
}

/** Lane l gives column l % 8 of B, which is a row in memory, and k 8 (l / 8) on. */
const columnsOfB: Access = (lane) => [lane % 8, 8 * (lane >> 3)];
