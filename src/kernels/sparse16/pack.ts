// 2:4 sparse matrices on the host: dense to packed, packed to dense, and pruning by magnitude. Knows no kernel.
import { errors } from '../../base/errors.ts';
import type { Random } from '../../base/random.ts';
import { BLOCK, GROUP, KEPT, keptLayout, metadataLayout, placeBits } from './layout.ts';

/** Of the dense matrix, by rows; multiples of 64. */
export interface Size {
  readonly m: number;
  readonly k: number;
}

/** What the kernel multiplies with (layout.ts). */
export interface Packed {
  /** [m, k / 2] */
  readonly kept: Float16Array;
  /** [m / 2, k / 16] */
  readonly metadata: Uint32Array;
}

/** Errors: `not-two-of-four` with the first row and group that have more than two non-zero values; RangeError for a size that blocks do not fill. */
export function pack(A: Float16Array, size: Size): Packed {
  checkLength(A.length, size);
  const { m, k } = size;
  const kept = new Float16Array(keptLayout(m, k).count);
  const metadata = new Uint32Array(metadataLayout(m, k).count);
  const spotOf = spots(size);
  for (let row = 0; row < m; row++) {
    for (let group = 0; group < k / GROUP; group++) {
      const first = row * k + group * GROUP;
      const places = placesOf[nonZeros(A, first)]!;
      if (places === null) throw errors.notTwoOfFour(row, group * GROUP, [...A.subarray(first, first + GROUP)]);
      for (const [i, place] of places.entries()) {
        const spot = spotOf(row, group * KEPT + i);
        kept[spot.kept] = A[first + place]!;
        metadata[spot.word]! |= place << spot.bit;
      }
    }
  }
  return { kept, metadata };
}

/** The dense matrix again, zeros in place. */
export function unpack({ kept, metadata }: Packed, size: Size): Float16Array {
  const { m, k } = size;
  const A = new Float16Array(m * k);
  const spotOf = spots(size);
  for (let row = 0; row < m; row++) {
    for (let i = 0; i < (k * KEPT) / GROUP; i++) {
      const spot = spotOf(row, i);
      const place = (metadata[spot.word]! >>> spot.bit) & 3;
      A[row * k + Math.floor(i / KEPT) * GROUP + place] = kept[spot.kept]!;
    }
  }
  return A;
}

/** The two largest of every four by magnitude, zeros elsewhere; of equals those of the lower index. NaN counts as largest. */
export function prune(A: Float16Array, { m, k }: Size): Float16Array {
  checkLength(A.length, { m, k });
  const magnitude = (i: number): number => (Number.isNaN(A[i]!) ? Infinity : Math.abs(A[i]!));
  const pruned = new Float16Array(A.length);
  for (let first = 0; first < A.length; first += GROUP) {
    const largest = [0, 1, 2, 3]
      .map((place) => first + place)
      .toSorted((a, b) => magnitude(b) - magnitude(a) || a - b)
      .slice(0, KEPT);
    for (const i of largest) pruned[i] = A[i]!;
  }
  return pruned;
}

/** For tests and demonstrations: normals at two places of every four, which may be one and the same; every eighth group, by chance, is all zero. */
export function randomSparse(random: Random, { m, k }: Size): Float16Array {
  const A = new Float16Array(m * k);
  for (let first = 0; first < A.length; first += GROUP) {
    if (random.integer(8) === 0) continue;
    for (let i = 0; i < 2; i++) A[first + random.integer(GROUP)] = random.normal();
  }
  return A;
}

function checkLength(length: number, { m, k }: Size): void {
  if (length !== m * k) throw new RangeError(`${length} values are no matrix of ${m} x ${k}`);
}

/** Four bits that say which of four values are not zero. */
function nonZeros(A: Float16Array, first: number): number {
  let bits = 0;
  for (let place = 0; place < GROUP; place++) if (A[first + place] !== 0) bits |= 1 << place;
  return bits;
}

/**
 * Which two of a four are kept, ascending, by the bits of `nonZeros`; null when those are more. Where they are fewer, the first zeros are kept as
 * well: ordered metadata wants two places in any case.
 */
const placesOf: readonly (readonly [number, number] | null)[] = Array.from({ length: 2 ** GROUP }, (_, bits) => {
  const isSet = (place: number): boolean => ((bits >> place) & 1) === 1;
  const [set, clear] = [[0, 1, 2, 3].filter(isSet), [0, 1, 2, 3].filter((place) => !isSet(place))];
  const [first, second] = [...set, ...clear].slice(0, KEPT).toSorted((a, b) => a - b);
  return set.length > KEPT ? null : [first!, second!];
});

/** Where a kept value and the two bits of its place are. */
interface Spot {
  readonly kept: number;
  readonly word: number;
  readonly bit: number;
}

/** The spot of a kept value, by tables: layouts of numbers are too slow to be asked for each of millions of values. */
function spots({ m, k }: Size): (row: number, kept: number) => Spot {
  const [values, matrix, block] = [keptLayout(m, k), metadataLayout(m, k), metadataLayout(BLOCK, BLOCK)];
  const [perRow, perStrip] = [(k * KEPT) / GROUP, (BLOCK * KEPT) / GROUP];
  const within = Array.from({ length: BLOCK * perStrip }, (_, i) => {
    const { lane, word, bit } = placeBits(Math.floor(i / perStrip), i % perStrip);
    return { word: block.index(lane, word), bit };
  });
  const across = k / BLOCK;
  const starts = Array.from({ length: (m / BLOCK) * across }, (_, i) =>
    matrix.index(Math.floor(i / across) * block.rows, (i % across) * block.columns),
  );
  const rowStarts = Array.from({ length: m }, (_, row) => values.index(row, 0));
  return (row, kept) => {
    const { word, bit } = within[(row % BLOCK) * perStrip + (kept % perStrip)]!;
    const start = starts[Math.floor(row / BLOCK) * across + Math.floor((kept / perRow) * across)]!;
    return { kept: rowStarts[row]! + kept, word: start + word, bit };
  };
}
