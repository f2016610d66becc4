// Layouts: each place once, the hardware's own formula for a swizzle, and no conflicts where they promise none.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { conflictWays } from './banks.ts';
import { blocked, type Layout, rows, type Span, swizzled } from './layout.ts';
import { elemBytes, type ElemType } from './program.ts';

const elem = fc.constantFrom<ElemType>('u8', 'f16', 'bf16', 'b32', 'f32', 'u64');
const span = fc.constantFrom<Span>(128, 64, 32);
/** Tiles of a few rows of whole spans. */
const shape = fc.record({ elem, span, eights: fc.integer({ min: 1, max: 4 }), spans: fc.integer({ min: 1, max: 4 }) });

function places(tile: Layout): number[] {
  const found: number[] = [];
  for (let row = 0; row < tile.rows; row++)
    for (let column = 0; column < tile.columns; column++) found.push(tile.index(row, column));
  return found;
}

function assertBijection(tile: Layout): void {
  const all = places(tile);
  assert.equal(new Set(all).size, tile.rows * tile.columns);
  assert.ok(all.every((place) => Number.isInteger(place) && place >= 0 && place < tile.count));
}

/** PTX ISA, tensor swizzling modes: bits of the byte address from 4 on are xor-ed with as many from 7 on. */
const hardware = (byte: number, span: Span): number => byte ^ (((byte >> 7) & (span / 16 - 1)) << 4);

describe('every layout gives each element a place of its own', () => {
  test('rows, with and without padding', () => {
    const size = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(elem, size, size, fc.integer({ min: 0, max: 9 }), (elem, height, width, padding) =>
        assertBijection(rows(elem, [height, width], padding)),
      ),
    );
  });

  test('swizzled', () => {
    fc.assert(
      fc.property(shape, ({ elem, span, eights, spans }) => {
        const tile = swizzled(elem, [8 * eights, (spans * span) / elemBytes[elem]], span);
        assertBijection(tile);
        assert.equal(tile.count, tile.rows * tile.columns);
      }),
    );
  });

  test('blocked', () => {
    const size = fc.integer({ min: 1, max: 6 });
    fc.assert(
      fc.property(elem, size, size, size, size, (elem, down, across, high, wide) => {
        const tile = blocked(elem, [down * high, across * wide], [high, wide]);
        assertBijection(tile);
        assert.equal(tile.count, tile.rows * tile.columns);
      }),
    );
  });
});

describe('blocks', () => {
  test('lie in one piece, one behind another along the rows', () => {
    const tile = blocked('b32', [4, 6], [2, 3]);
    assert.deepEqual(places(tile).slice(0, 12), [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11]);
    assert.equal(tile.index(2, 0), 12);
  });

  test('fill the shape, or are refused', () => {
    assert.throws(() => blocked('b32', [4, 6], [3, 3]), RangeError);
    assert.throws(() => blocked('b32', [4, 6], [2, 4]), RangeError);
  });
});

describe('a swizzle', () => {
  test('of rows of its span, or of panels of them, is the hardware xor of address bits', () => {
    fc.assert(
      fc.property(shape, ({ elem, span, eights, spans }) => {
        const bytes = elemBytes[elem];
        const perSpan = span / bytes;
        const panels = span === 128 ? 1 : spans;
        const tile = swizzled(elem, [8 * eights, panels * perSpan], span);
        for (let row = 0; row < tile.rows; row++) {
          for (let column = 0; column < tile.columns; column++) {
            const panel = Math.floor(column / perSpan) * tile.rows * perSpan;
            const linear = (panel + row * perSpan + (column % perSpan)) * bytes;
            assert.equal(tile.index(row, column) * bytes, hardware(linear, span));
          }
        }
      }),
    );
  });

  test('lets ldmatrix read any eight rows of a column of chunks without a conflict; rows of 128 bytes conflict in all eight', () => {
    const ways = (tile: Layout, first: number, column: number): number => {
      const addresses = Array.from({ length: 8 }, (_, i) => tile.index(first + i, column) * elemBytes[tile.elem]);
      return conflictWays(addresses, 16, 0, 8);
    };
    fc.assert(
      fc.property(shape, fc.nat(), fc.nat(), ({ elem, span, eights, spans }, anyRow, anyChunk) => {
        const tile = swizzled(elem, [8 * eights, (spans * span) / elemBytes[elem]], span);
        const perChunk = 16 / elemBytes[elem];
        const column = (anyChunk % (tile.columns / perChunk)) * perChunk;
        assert.equal(ways(tile, 8 * (anyRow % eights), column), 1);
      }),
    );
    assert.equal(ways(rows('f16', [8, 64]), 0, 0), 8);
    assert.equal(ways(rows('f16', [8, 64], 8), 0, 0), 1);
  });

  test('refuses rows that are no multiple of its span, and panels that would shift the pattern', () => {
    assert.throws(() => swizzled('f16', [8, 16], 64), RangeError);
    assert.throws(() => swizzled('f16', [8, 24], 32), RangeError);
    assert.throws(() => swizzled('f16', [12, 64], 64), RangeError);
    assert.doesNotThrow(() => swizzled('f16', [12, 32], 64));
  });
});
