// For the smoke test on a real GPU: boxes that the bulk-copy engine takes by our tensor maps, byte by byte against what they should be.
import assert from 'node:assert/strict';
import type { Context } from './context.ts';
import { prepare } from './launch.ts';
import { allocate, copyToDevice, copyToHost, fillBytes } from './memory.ts';
import { loadModule } from './module.ts';
import type { Parameter } from './parameters.ts';
import { BOXES } from './smoke-ptx.fixture.ts';
import type { Stream } from './stream.ts';
import { encodeTensorMap } from './tensor-map.ts';

const PARAMETERS: readonly Parameter[] = [
  { name: 'row', type: 'u32' },
  { name: 'map', type: 'tensor-map' },
  { name: 'column', type: 'u32' },
  { name: 'to', type: 'pointer', align: 16 },
];
const [ROWS, COLUMNS] = [20, 40];
const [BOX_ROWS, BOX_COLUMNS] = [8, 32];

/** The box at a row and column by rows, zeros where it leaves the matrix, its 16-byte chunks exchanged as a swizzle of 64 bytes does. */
function expected(matrix: Uint16Array, row: number, column: number, swizzle: 0 | 64): Uint16Array {
  const box = new Uint16Array(BOX_ROWS * BOX_COLUMNS);
  for (let r = 0; r < BOX_ROWS; r++) {
    for (let c = 0; c < BOX_COLUMNS; c++) {
      const byte = 2 * (r * BOX_COLUMNS + c);
      const at = swizzle === 0 ? byte : byte ^ (((byte >> 7) & 3) << 4);
      const inside = row + r < ROWS && column + c < COLUMNS;
      box[at / 2] = inside ? matrix[(row + r) * COLUMNS + column + c]! : 0;
    }
  }
  return box;
}

/** What was compared; throws where a box is wrong. Needs compute capability 9.0 itself. */
export function tensorBoxes(context: Context, stream: Stream): unknown {
  using module = loadModule(context, BOXES, { label: 'boxes' });
  using memory = allocate(context, 32 + 2 * ROWS * COLUMNS, 'matrix');
  using to = allocate(context, 2 * BOX_ROWS * BOX_COLUMNS, 'box');
  const matrix = Uint16Array.from({ length: ROWS * COLUMNS }, (_, i) => i + 1);
  copyToDevice(memory.slice(32), matrix);
  const places = [
    [0, 0],
    [5, 8],
    [15, 24],
  ] as const;
  for (const swizzle of [0, 64] as const) {
    const box = [BOX_ROWS, BOX_COLUMNS] as const;
    const layout = { name: 'map', element: 'f16', rows: ROWS, columns: COLUMNS, box, swizzle } as const;
    const map = encodeTensorMap(context, memory.slice(32), layout);
    for (const [row, column] of places) {
      fillBytes(to, 0xff);
      prepare(module.kernel('boxes'), PARAMETERS, [row, map, column, to], { grid: 1, block: 32 }).launch(stream);
      const seen = new Uint16Array(BOX_ROWS * BOX_COLUMNS);
      copyToHost(seen, to);
      assert.deepEqual(seen, expected(matrix, row, column, swizzle), `box at ${row}, ${column}, swizzle ${swizzle}`);
    }
  }
  const encodings = 10_000;
  const layout = { name: 'map', element: 'f16', rows: ROWS, columns: COLUMNS, box: [8, 32], swizzle: 64 } as const;
  const start = performance.now();
  for (let i = 0; i < encodings; i++) encodeTensorMap(context, memory.slice(32), layout);
  return { boxes: 2 * places.length, microsecondsToEncode: (1000 * (performance.now() - start)) / encodings };
}
