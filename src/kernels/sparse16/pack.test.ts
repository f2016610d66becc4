// Packing: there and back for every 2:4 matrix, each place at a spot of its own and in order, refusals that name the place, pruning.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { MarlinError } from '../../base/errors.ts';
import { Random } from '../../base/random.ts';
import { GROUP, metadataLayout, placeBits } from './layout.ts';
import { pack, prune, randomSparse, type Size, unpack } from './pack.ts';

const multiple = fc.integer({ min: 1, max: 3 }).map((blocks) => 64 * blocks);
const size: fc.Arbitrary<Size> = fc.record({ m: multiple, k: multiple });
const seed = fc.nat();
const numRuns = 30;

function normals(random: Random, { m, k }: Size): Float16Array {
  return Float16Array.from({ length: m * k }, () => random.normal());
}

const groups = (A: Float16Array): number[][] =>
  Array.from({ length: A.length / GROUP }, (_, group) => [...A.subarray(group * GROUP, (group + 1) * GROUP)]);

describe('packing', () => {
  test('and unpacking gives the matrix again', () => {
    fc.assert(
      fc.property(size, seed, (size, seed) => {
        const A = randomSparse(new Random(seed), size);
        assert.deepEqual(unpack(pack(A, size), size), A);
      }),
      { numRuns },
    );
  });

  test('keeps the values in order of k, with places that ascend in every group', () => {
    fc.assert(
      fc.property(size, seed, (size, seed) => {
        const A = randomSparse(new Random(seed), size);
        const { kept, metadata } = pack(A, size);
        const layout = metadataLayout(size.m, size.k);
        assert.deepEqual([kept.length, metadata.length], [(size.m * size.k) / 2, (size.m * size.k) / 32]);
        const placeOf = (row: number, i: number): number => {
          const { lane, word, bit } = placeBits(row % 64, i % 32);
          const at = layout.index(32 * Math.floor(row / 64) + lane, 4 * Math.floor(i / 32) + word);
          return (metadata[at]! >>> bit) & 3;
        };
        for (const row of [0, size.m - 1]) {
          for (let i = 0; i < size.k / 2; i += 2) {
            const [first, second] = [placeOf(row, i), placeOf(row, i + 1)];
            assert.ok(first < second, `row ${row}, kept ${i}: ${first}, ${second}`);
            const group = row * size.k + 2 * i;
            assert.equal(kept[(row * size.k) / 2 + i], A[group + first]);
            assert.equal(kept[(row * size.k) / 2 + i + 1], A[group + second]);
          }
        }
      }),
      { numRuns },
    );
  });

  test('uses every bit of a block once', () => {
    const bits = Array.from({ length: 64 * 32 }, (_, i) => placeBits(Math.floor(i / 32), i % 32));
    const names = new Set(bits.map(({ lane, word, bit }) => `${lane} ${word} ${bit}`));
    assert.equal(names.size, 32 * 4 * 16);
    for (const { lane, word, bit } of bits) assert.ok(lane < 32 && word < 4 && bit < 32 && bit % 2 === 0);
  });

  test('gives each lane the metadata of the rows and k that mma.sp asks it for', () => {
    // Rows g and g + 8 of 16 in the halves of a word; lane 4 g + c has k 16 c .. 16 c + 15, that is kept 8 c on.
    assert.deepEqual(placeBits(0, 0), { lane: 0, word: 0, bit: 0 });
    assert.deepEqual(placeBits(3, 9), { lane: 13, word: 0, bit: 2 });
    assert.deepEqual(placeBits(11, 23), { lane: 14, word: 0, bit: 30 });
    assert.deepEqual(placeBits(63, 31), { lane: 31, word: 3, bit: 30 });
  });

  test('refuses more than two of four, and names the first such row and group', () => {
    const size = { m: 64, k: 128 };
    const A = randomSparse(new Random(1), size);
    A.set([1, 2, 0, 3], 40 * 128 + 4);
    A.set([1, 2, 3, 4], 7 * 128 + 100);
    assert.throws(
      () => pack(A, size),
      (error) =>
        error instanceof MarlinError &&
        error.code === 'not-two-of-four' &&
        error.message.includes('row 7 has more than two non-zero values in columns 100 to 103 (1, 2, 3, 4)'),
    );
  });

  test('counts NaN and infinity as values, and both zeros as zero', () => {
    const size = { m: 64, k: 64 };
    const A = new Float16Array(64 * 64);
    A.set([-0, Number.NaN, -0, -Infinity]);
    const back = unpack(pack(A, size), size);
    assert.deepEqual([...back.subarray(0, 4)], [0, Number.NaN, 0, -Infinity]);
    A[0] = 1;
    assert.throws(() => pack(A, size), MarlinError);
  });

  test('refuses a size that blocks do not fill, or that is not the size of the values', () => {
    assert.throws(() => pack(new Float16Array(32 * 64), { m: 32, k: 64 }), RangeError);
    assert.throws(() => pack(new Float16Array(64 * 32), { m: 64, k: 32 }), RangeError);
    assert.throws(() => pack(new Float16Array(64), { m: 64, k: 64 }), RangeError);
  });
});

describe('pruning', () => {
  test('keeps the two largest of four, ties to the lower index', () => {
    const size = { m: 1, k: 16 };
    const A = Float16Array.of(1, -4, 3, 2, 1, 1, -1, 1, 0, 0, 5, 0, Number.NaN, 1, Infinity, 2);
    assert.deepEqual([...prune(A, size)], [0, -4, 3, 0, 1, 1, 0, 0, 0, 0, 5, 0, Number.NaN, 0, Infinity, 0]);
  });

  test('gives a matrix that packs, and leaves one that is 2:4 as it is', () => {
    fc.assert(
      fc.property(size, seed, (size, seed) => {
        const A = normals(new Random(seed), size);
        const pruned = prune(A, size);
        for (const [i, group] of groups(A).entries()) {
          const left = pruned.subarray(i * GROUP, (i + 1) * GROUP);
          const dropped = group.filter((_, place) => left[place] === 0);
          const least = Math.min(...[...left].filter((value) => value !== 0).map(Math.abs));
          assert.ok(dropped.every((value) => Math.abs(value) <= least));
        }
        assert.deepEqual(unpack(pack(pruned, size), size), pruned);
        assert.deepEqual(prune(pruned, size), pruned);
      }),
      { numRuns },
    );
  });
});
