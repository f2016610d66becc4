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

/**
 * Row after row, the 16-byte chunks of a row exchanged by xor with the row's number, so that eight rows of one column of chunks lie in
 * different banks: what ldmatrix reads without conflicts. Rows must be a multiple of 128 bytes.
 */
export function swizzled<T extends ElemType>(elem: T, shape: readonly [rows: number, columns: number]): Layout<T> {
  const perChunk = 16 / elemBytes[elem];
  if ((shape[1] * elemBytes[elem]) % 128 !== 0)
    throw new RangeError(`rows of ${shape[1]} ${elem} are no multiple of 128 bytes`);
  return layout(elem, shape[0], shape[1], shape[0] * shape[1], (row, column) =>
    row
      .mul(shape[1])
      .add(column.div(perChunk).xor(row.mod(8)).mul(perChunk))
      .add(column.mod(perChunk)),
  );
}
