// Drawings: they say what the layouts and maps say, each place once, in both renderings.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { conflictWays } from '../banks.ts';
import { fragmentA, fragmentB, fragmentC } from '../isa/fragments.ts';
import { type Layout, rows, type Span, swizzled } from '../layout.ts';
import { type Access, type Drawing, drawAccess, drawFragment, drawLayout, ldmatrixRows } from './drawing.ts';
import { svg } from './svg.ts';
import { text } from './text.ts';

const a = drawFragment(fragmentA, { title: 'A', rows: 16, columns: 16, register: 'a' });
const plain = drawAccess(rows('f16', [16, 64]), ldmatrixRows(), { title: 'rows & ldmatrix', bytes: 16 });
const swizzle = drawAccess(swizzled('f16', [16, 64]), ldmatrixRows(), { title: 'swizzled', bytes: 16 });
const drawings: readonly Drawing[] = [
  a,
  drawFragment(fragmentB, { title: 'B', rows: 16, columns: 8 }),
  drawFragment(fragmentC, { title: 'C', rows: 16, columns: 8 }),
  drawLayout(swizzled('f16', [16, 128])),
  drawLayout(swizzled('f16', [8, 64], 64), { cells: 'elements', show: 'banks' }),
  plain,
  swizzle,
];

const cellAt = (drawing: Drawing, row: number, column: number): Drawing['cells'][number] =>
  drawing.cells.find((cell) => cell.row === row && cell.column === column)!;

describe('drawings', () => {
  test('have one cell for each row and column', () => {
    for (const { rowNames, columnNames, cells } of drawings) {
      assert.equal(cells.length, rowNames.length * columnNames.length);
      assert.equal(new Set(cells.map(({ row, column }) => `${row} ${column}`)).size, cells.length);
    }
  });

  test('of layouts show places in chunks or elements, and their banks', () => {
    const tile = swizzled('f16', [8, 64]);
    assert.equal(cellAt(drawLayout(tile), 3, 1).label, String(tile.index(3, 8) / 8));
    assert.equal(cellAt(drawLayout(tile, { show: 'banks' }), 3, 1).label, '8-11');
    assert.equal(cellAt(drawLayout(tile, { cells: 'elements' }), 3, 9).label, String(tile.index(3, 9)));
    assert.throws(() => drawLayout(rows('f16', [4, 8], 1)), RangeError);
  });

  test('without a title are their grid and notes in text', () => {
    assert.equal(text(plain), `${plain.title}\n\n${text({ ...plain, title: '' })}`);
  });

  test('of fragments name the lane and the register', () => {
    const { label, detail } = cellAt(a, 9, 13);
    assert.deepEqual([label, detail], ['6', 'a3']);
  });

  test('of accesses have one turn for each way of each phase, and each lane once', () => {
    assert.equal(plain.rowNames.length, 32);
    assert.equal(swizzle.rowNames.length, 4);
    assert.match(plain.notes[0]!, /^32 turns for 4 phases: 8-way/);
    assert.match(swizzle.notes[0]!, /no conflicts/);
    assert.ok(!swizzle.cells.some(({ marked }) => marked));
    const half = drawAccess(rows('f16', [16, 64]), (lane) => (lane < 8 ? [lane, 0] : null), { title: '', bytes: 16 });
    assert.equal(half.rowNames.length, 8);
    fc.assert(
      fc.property(
        fc.constantFrom<4 | 8 | 16>(4, 8, 16),
        fc.array(fc.nat(31), { minLength: 32, maxLength: 32 }),
        fc.array(fc.nat(3), { minLength: 32, maxLength: 32 }),
        (bytes, rowOf, columnOf) => {
          const tile: Layout = rows('b32', [32, 16]);
          const access: Access = (lane) => [rowOf[lane]!, columnOf[lane]! * (bytes / 4)];
          const drawing = drawAccess(tile, access, { title: '', bytes });
          const addresses = rowOf.map((row, lane) => tile.index(row, access(lane)![1]) * 4);
          const step = Math.min(32, 128 / bytes);
          let turns = 0;
          for (let first = 0; first < 32; first += step) turns += conflictWays(addresses, bytes, first, first + step);
          assert.equal(drawing.rowNames.length, turns);
          const served = drawing.cells.flatMap(({ label }) => lanesOf(label)).toSorted((x, y) => x - y);
          assert.deepEqual(
            served,
            Array.from({ length: 32 }, (_, lane) => lane),
          );
        },
      ),
    );
  });
});

/** The lanes of '7', '4-7' or '0,2'. */
function lanesOf(label: string): number[] {
  const [, first, last] = /^(\d+)-(\d+)$/.exec(label) ?? [];
  if (first !== undefined) return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
  return label === '' ? [] : label.split(',').map(Number);
}

describe('as text', () => {
  test('a line a row, with the right lane', () => {
    const line = text(a)
      .split('\n')
      .find((candidate) => candidate.startsWith(' 9 '))!;
    assert.equal(line.trim().split(/\s+/)[1 + 13], '6.a3');
  });

  test('fits in its width, in plain characters, by cutting wide grids into blocks', () => {
    const wide = drawFragment((row, column) => ({ lane: row * 4 + (column % 4), register: column }), {
      title: 'a title that is much longer than any line of the picture may be, and so goes on in the next one, here',
      rows: 8,
      columns: 64,
    });
    for (const drawing of [...drawings, wide]) {
      for (const line of text(drawing).split('\n')) assert.match(line, /^[ -~]{0,100}$/);
    }
    assert.ok(text(wide).includes('31.r63'));
  });

  test('marks conflicts, and colours only when asked to', () => {
    assert.match(text(plain), / 0!/);
    assert.doesNotMatch(text(swizzle), /!/);
    assert.ok(text(plain, { ansi: true }).includes('\u001B[38;5;16;48;5;'));
  });
});

describe('as SVG', () => {
  const cellsOf = (picture: string): string[] =>
    [...picture.matchAll(/data-row="(\d+)" data-column="(\d+)"/g)].map(([, row, column]) => `${row} ${column}`);

  test('each cell is there once, with its label', () => {
    for (const drawing of drawings) {
      const picture = svg(drawing);
      const cells = cellsOf(picture);
      assert.equal(cells.length, drawing.cells.length);
      assert.equal(new Set(cells).size, cells.length);
      const labels = [...picture.matchAll(/<text class="label"[^>]*>([^<]*)/g)].map(([, label]) => label);
      assert.deepEqual(
        labels,
        drawing.cells.filter(({ label }) => label !== '').map(({ label }) => label),
      );
    }
  });

  test('every colour that is used is defined, for light and for dark', () => {
    for (const drawing of drawings) {
      const [light, dark] = svg(drawing).split('@media (prefers-color-scheme: dark)');
      for (const { colour } of drawing.cells) {
        if (colour === null) continue;
        assert.ok(light!.includes(`.c${colour} {`));
        assert.ok(dark!.includes(`.c${colour} {`));
      }
    }
  });

  test('cells do not overlap and lie within the picture', () => {
    const picture = svg(a, plain);
    const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(picture)!;
    for (const [, x, y, w, h] of picture.matchAll(
      /data-column="\d+" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/g,
    )) {
      assert.ok(Number(x) + Number(w) < Number(width));
      assert.ok(Number(y) + Number(h) < Number(height));
    }
    assert.equal(cellsOf(picture).length, a.cells.length + plain.cells.length);
  });

  test('text is escaped', () => {
    const picture = svg({ ...plain, notes: ['a < b & "c" > d'] });
    assert.ok(picture.includes('rows &amp; ldmatrix'));
    assert.ok(picture.includes('a &lt; b &amp; &quot;c&quot; &gt; d'));
  });

  test('a swizzle gives each column of chunks eight colours in eight rows', () => {
    const span = fc.constantFrom<Span>(128, 64, 32);
    fc.assert(
      fc.property(span, fc.nat(7), (span, any) => {
        const drawing = drawLayout(swizzled('f16', [8, span / 2], span));
        const column = any % drawing.columnNames.length;
        const colours = drawing.cells.filter((cell) => cell.column === column).map(({ colour }) => colour);
        assert.equal(new Set(colours).size, 8);
      }),
    );
  });
});
