// GPTQ's tensors of a module, versions 1 and 2, both ways: words of eight inputs of one output, groups above outputs. Must not know which modules there are.
import type { Checkpoint } from './checkpoint.ts';
import type { StoredZero } from './quantization.ts';
import type { QuantizedMatrix } from './quantized.ts';
import type { SafetensorsWriter, TensorSpec } from './safetensors-writer.ts';
import {
  asBytes,
  type FormReader,
  groupOfColumns,
  groupSizeOf,
  type MatrixSize,
  mismatch,
  packNibbles,
  readGroupOf,
  readScales,
  readWords,
  transpose,
  unlessSymmetric,
  unpackNibbles,
  writeSlabs,
  zeroPointsOf,
} from './tensors.ts';

const EIGHT_ONES = 0x1111_1111;
/** Eight symmetric zero points, as version 1 and version 2 store them. */
const SYMMETRIC_WORDS: readonly number[] = [0x7777_7777, 0x8888_8888];

export const gptq: FormReader = {
  parts: ['qweight', 'qzeros', 'scales', 'g_idx'],

  size(checkpoint: Checkpoint, module: string): MatrixSize {
    const info = checkpoint.info(`${module}.qweight`);
    const [words, rows] = info.shape;
    if (info.shape.length !== 2 || words === undefined || rows === undefined || words * rows === 0)
      throw mismatch(checkpoint, info, 'I32 [inputs / 8, outputs]');
    return { rows, columns: 8 * words };
  },

  readGroups(checkpoint, module, { rows, columns }, config) {
    const group = groupSizeOf(module, columns, config);
    const groups = columns / group;
    const scales = readScales(checkpoint, `${module}.scales`, ['F16', 'BF16'], [groups, rows]);
    const words = readWords(checkpoint, `${module}.qzeros`, [groups, Math.ceil(rows / 8)]);
    const order = `${module}.g_idx`;
    return {
      rows,
      columns,
      group,
      scales: transpose(scales.scales, new Uint16Array(rows * groups), groups, rows),
      scaleDtype: scales.scaleDtype,
      zeroPoints:
        config.symmetric && isSymmetric(words) ? null : readZeroPoints(words, rows, groups, config.storedZero),
      ...(checkpoint.tensors.has(order) ? readGroupOf(checkpoint, order, columns, group) : {}),
    };
  },

  readCodes(checkpoint, module, { rows, columns }) {
    const words = Math.ceil(columns / 8);
    const stored = readWords(checkpoint, `${module}.qweight`, [words, rows]);
    return transpose(stored, new Uint32Array(stored.length), words, rows);
  },
};

/** Files that are symmetric by their own word have one of two words everywhere, whatever version they claim. */
function isSymmetric(words: Uint32Array): boolean {
  return SYMMETRIC_WORDS.some((word) => words.every((found) => found === word));
}

/** [rows, groups] from words [groups, ceil(rows / 8)]. */
function readZeroPoints(words: Uint32Array, rows: number, groups: number, stored: StoredZero): Uint8Array | null {
  const nibbles = unpackNibbles(stored === 'minus-one-of-words' ? words.map((word) => word + EIGHT_ONES) : words);
  const offset = stored === 'minus-one' ? 1 : 0;
  const width = nibbles.length / groups; // a multiple of 8
  const zeroPoints = new Uint8Array(rows * groups);
  for (let row = 0; row < rows; row++)
    for (let g = 0; g < groups; g++) zeroPoints[row * groups + g] = nibbles[g * width + row]! + offset;
  return unlessSymmetric(zeroPoints);
}

/** What a module is stored as. Rows and columns are multiples of 8. */
export function gptqSpecs(
  module: string,
  { rows, columns, group }: Pick<QuantizedMatrix, 'rows' | 'columns' | 'group'>,
): readonly TensorSpec[] {
  return [
    qweight(module, rows, columns),
    { name: `${module}.qzeros`, dtype: 'I32', shape: [columns / group, rows / 8] },
    { name: `${module}.scales`, dtype: 'F16', shape: [columns / group, rows] },
    { name: `${module}.g_idx`, dtype: 'I32', shape: [columns] },
  ];
}

const qweight = (module: string, rows: number, columns: number): TensorSpec => ({
  name: `${module}.qweight`,
  dtype: 'I32',
  shape: [columns / 8, rows],
});

/**
 * Writes a module whose scales are F16; its zero points must be 1..16 for version 1 and 0..15 for version 2.
 * Errors: `output-unwritable`.
 */
export function writeGptq(writer: SafetensorsWriter, module: string, matrix: QuantizedMatrix, version: 1 | 2): void {
  const { rows, columns, group } = matrix;
  const groups = columns / group;
  const zeroPoints = transpose(zeroPointsOf(matrix), new Uint8Array(rows * groups), rows, groups);
  const stored = version === 1 ? zeroPoints.map((zero) => zero - 1) : zeroPoints;
  writer.write(`${module}.qzeros`, asBytes(packNibbles(stored)));
  writer.write(`${module}.scales`, asBytes(transpose(matrix.scales, new Uint16Array(rows * groups), rows, groups)));
  writer.write(`${module}.g_idx`, asBytes(groupOfColumns(matrix)));
  const words = columns / 8;
  writeSlabs(writer, qweight(module, rows, columns), (slab, first, count) => {
    for (let word = 0; word < count; word++)
      for (let row = 0; row < rows; row++) slab[word * rows + row] = matrix.packed[row * words + first + word]!;
  });
}
