// AWQ's tensors of a module in the version "gemm", both ways: words of eight outputs of one input, in an order of their own. Must not know which modules there are.
import type { Checkpoint } from './checkpoint.ts';
import type { QuantizedMatrix } from './quantized.ts';
import type { SafetensorsWriter, TensorSpec } from './safetensors-writer.ts';
import {
  asBytes,
  type FormReader,
  groupSizeOf,
  type MatrixSize,
  mismatch,
  packNibbles,
  readScales,
  readWords,
  transpose,
  unlessSymmetric,
  unpackNibbles,
  writeSlabs,
  zeroPointsOf,
} from './tensors.ts';

/** Which of eight outputs nibble i of a word belongs to. */
const ORDER: readonly number[] = [0, 2, 4, 6, 1, 3, 5, 7];

export const awq: FormReader = {
  parts: ['qweight', 'qzeros', 'scales'],

  size(checkpoint: Checkpoint, module: string): MatrixSize {
    const info = checkpoint.info(`${module}.qweight`);
    const [columns, words] = info.shape;
    if (info.shape.length !== 2 || columns === undefined || words === undefined || columns * words === 0)
      throw mismatch(checkpoint, info, 'I32 [inputs, outputs / 8]');
    return { rows: 8 * words, columns };
  },

  readGroups(checkpoint, module, { rows, columns }, config) {
    const group = groupSizeOf(module, columns, config);
    const groups = columns / group;
    const scales = readScales(checkpoint, `${module}.scales`, ['F16', 'BF16'], [groups, rows]);
    const words = readWords(checkpoint, `${module}.qzeros`, [groups, Math.ceil(rows / 8)]);
    const zeroPoints = transpose(unpackNibbles(words, ORDER), new Uint8Array(rows * groups), groups, rows);
    return {
      rows,
      columns,
      group,
      scales: transpose(scales.scales, new Uint16Array(rows * groups), groups, rows),
      scaleDtype: scales.scaleDtype,
      zeroPoints: unlessSymmetric(zeroPoints),
    };
  },

  readCodes(checkpoint, module, { rows, columns }) {
    const stored = readWords(checkpoint, `${module}.qweight`, [columns, Math.ceil(rows / 8)]);
    const words = Math.ceil(columns / 8);
    const packed = new Uint32Array(rows * words);
    for (let top = 0; top < rows; top += 8) {
      for (let column = 0; column < columns; column++) {
        const word = stored[(column * rows + top) / 8]!;
        const at = top * words + (column >>> 3);
        const shift = 4 * (column & 7);
        for (let i = 0; i < 8; i++) packed[at + ORDER[i]! * words]! |= ((word >>> (4 * i)) & 15) << shift;
      }
    }
    return packed;
  },
};

/** What a module is stored as. Rows are a multiple of 8. */
export function awqSpecs(
  module: string,
  { rows, columns, group }: Pick<QuantizedMatrix, 'rows' | 'columns' | 'group'>,
): readonly TensorSpec[] {
  return [
    qweight(module, rows, columns),
    { name: `${module}.qzeros`, dtype: 'I32', shape: [columns / group, rows / 8] },
    { name: `${module}.scales`, dtype: 'F16', shape: [columns / group, rows] },
  ];
}

const qweight = (module: string, rows: number, columns: number): TensorSpec => ({
  name: `${module}.qweight`,
  dtype: 'I32',
  shape: [columns, rows / 8],
});

/** Writes a module whose scales are F16, whose zero points are 0..15 and whose groups are in order. Errors: `output-unwritable`. */
export function writeAwq(writer: SafetensorsWriter, module: string, matrix: QuantizedMatrix): void {
  const { rows, columns, group, packed } = matrix;
  const groups = columns / group;
  const zeroPoints = transpose(zeroPointsOf(matrix), new Uint8Array(rows * groups), rows, groups);
  writer.write(`${module}.qzeros`, asBytes(packNibbles(zeroPoints, ORDER)));
  writer.write(`${module}.scales`, asBytes(transpose(matrix.scales, new Uint16Array(rows * groups), rows, groups)));
  const words = Math.ceil(columns / 8);
  writeSlabs(writer, qweight(module, rows, columns), (slab, first, count) => {
    for (let top = 0; top < rows; top += 8) {
      for (let k = 0; k < count; k++) {
        const from = top * words + ((first + k) >>> 3);
        const shift = 4 * ((first + k) & 7);
        let word = 0;
        for (let i = 0; i < 8; i++) word |= ((packed[from + ORDER[i]! * words]! >>> shift) & 15) << (4 * i);
        slab[(k * rows + top) / 8] = word;
      }
    }
  });
}
