// Layouts: the only place where addresses are computed. The same formula runs on numbers (host, tests, drawings) and on values (kernels).
import { elemBytes, type ElemType } from './program.ts';
import { type Int, u32, U32 } from './values.ts';

/** Where element (row, column) of a tile lies, counted in elements from its start. */
export interface Layout<T extends ElemType = ElemType> {
  readonly elem: T;
  readonly rows: number;
  readonly columns: number;
  /** Elements from the first to behind the last, gaps included. */
  readonly count: number;
  at(row: Int, column: Int): U32;
  /** The same on numbers. */
  index(row: number, column: number): number;
}

function layout<T extends ElemType>(
  elem: T,
  rows: number,
  columns: number,
  count: number,
  at: (row: U32, column: U32) => U32,
): Layout<T> {
  const lift = (x: Int): U32 => (typeof x === 'number' ? u32(x) : x);
  return {
    elem,
    rows,
    columns,
    count,
    at: (row, column) => at(lift(row), lift(column)),
    index(row, column) {
      const { known } = at(u32(row), u32(column));
      if (known === null) throw new TypeError('a layout of numbers gave a run-time value');
      return known;
    },
  };
}

/** Row after row, `padding` elements between them. */
export function rows<T extends ElemType>(
  elem: T,
  shape: readonly [rows: number, columns: number],
  padding = 0,
): Layout<T> {
  const pitch = shape[1] + padding;
  return layout(elem, shape[0], shape[1], shape[0] * pitch, (row, column) => row.mul(pitch).add(column));
}

/** Bytes of a row within which chunks change places: the swizzle modes of bulk copies and of wgmma (PTX ISA, tensor swizzling modes). */
export type Span = 128 | 64 | 32;

/**
 * Row after row, the 16-byte chunks of a row exchanged by xor with the row's number, so that eight rows of one column of chunks lie in
 * different banks: what ldmatrix reads without conflicts.
 *
 * Rows of `span` bytes are what the hardware's swizzle of that span gives: with the tile at a multiple of 8 * span bytes, address bits 4..6 are
 * xor-ed with bits 7..9 (128), 4..5 with 7..8 (64), 4 with 7 (32). Longer rows: for a span of 64 or 32 the tile is cut into panels of `span` bytes a row, one
 * behind the other, each as above (rows then a multiple of 8). For 128 the rows stay whole and chunks change places within 128 bytes of
 * a row, by the row's number: as free of conflicts, but no mode of the hardware; for that take one tile a panel.
 *
 * Errors: RangeError when rows are no multiple of `span` bytes.
 */
export function swizzled<T extends ElemType>(
  elem: T,
  shape: readonly [rows: number, columns: number],
  span: Span = 128,
): Layout<T> {
  const [height, width] = shape;
  const perChunk = 16 / elemBytes[elem];
  const perSpan = span / elemBytes[elem];
  if (width % perSpan !== 0) throw new RangeError(`rows of ${width} ${elem} are no multiple of ${span} bytes`);
  const panelled = span < 128 && width > perSpan;
  if (panelled && height % 8 !== 0) throw new RangeError(`panels of ${height} rows: the pattern repeats every 8`);
  const pitch = panelled ? perSpan : width;
  const exchanged = (row: U32, column: U32): U32 =>
    column
      .div(perChunk)
      .xor(row.div(128 / span).mod(span / 16))
      .mul(perChunk);
  return layout(elem, height, width, height * width, (row, column) => {
    const within = panelled ? column.mod(perSpan) : column;
    const place = row.mul(pitch).add(exchanged(row, within)).add(column.mod(perChunk));
    return panelled ? place.add(column.div(perSpan).mul(height * perSpan)) : place;
  });
}

/**
 * Blocks of `block` elements one behind another, each by rows: what is used together lies together. Blocks follow each other as the elements of
 * `rows` do. Errors: RangeError when the blocks do not fill the shape.
 */
export function blocked<T extends ElemType>(
  elem: T,
  shape: readonly [rows: number, columns: number],
  block: readonly [rows: number, columns: number],
): Layout<T> {
  const [[height, width], [high, wide]] = [shape, block];
  if (height % high !== 0 || width % wide !== 0)
    throw new RangeError(`${height} x ${width} ${elem} are no whole blocks of ${high} x ${wide}`);
  const blocks = rows(elem, [height / high, width / wide]);
  const within = rows(elem, block);
  return layout(elem, height, width, height * width, (row, column) =>
    blocks
      .at(row.div(high), column.div(wide))
      .mul(within.count)
      .add(within.at(row.mod(high), column.mod(wide))),
  );
}
