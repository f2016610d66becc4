// The compressed-tensors "pack-quantized" form of a 4-bit checkpoint: the tensors of a module, both ways. Must not know which modules a model has.
import { errors } from '../base/errors.ts';
import type { Checkpoint } from './checkpoint.ts';
import { isCount } from './quantization.ts';
import type { QuantizedMatrix } from './quantized.ts';
import type { SafetensorsWriter, TensorSpec } from './safetensors-writer.ts';
import {
  asBytes,
  expectTensor,
  type FormReader,
  groupOfColumns,
  groupSizeOf,
  type MatrixSize,
  readGroupOf,
  readScales,
  readWords,
  unlessSymmetric,
  zeroPointsOf,
} from './tensors.ts';

export { quantizationConfigJson } from './compressed-tensors-config.ts';

// ---- reading

/** A `weight_zero_point`, which old symmetric files still carry, is not read where the configuration says symmetric. */
export const compressedTensors: FormReader = {
  parts: ['weight_packed', 'weight_scale', 'weight_shape', 'weight_zero_point', 'weight_g_idx'],

  size(checkpoint: Checkpoint, module: string): MatrixSize {
    const name = `${module}.weight_shape`;
    const info = expectTensor(checkpoint, name, ['I64', 'I32'], [2]);
    const { buffer } = checkpoint.read(name);
    const sizes = info.dtype === 'I64' ? Array.from(new BigInt64Array(buffer), Number) : [...new Int32Array(buffer)];
    const [rows, columns] = sizes;
    if (!isCount(rows) || !isCount(columns)) {
      throw errors.tensorMismatch(checkpoint.path, name, 'two positive sizes', sizes.join(', '));
    }
    return { rows, columns };
  },

  readGroups(checkpoint, module, { rows, columns }, config) {
    const group = groupSizeOf(module, columns, config);
    const groups = columns / group;
    const order = `${module}.weight_g_idx`;
    return {
      rows,
      columns,
      group,
      ...readScales(checkpoint, `${module}.weight_scale`, ['F16', 'BF16', 'F32'], [rows, groups]),
      zeroPoints: config.symmetric
        ? null
        : unpackRows(readWords(checkpoint, `${module}.weight_zero_point`, [Math.ceil(rows / 8), groups]), rows, groups),
      ...(checkpoint.tensors.has(order) ? readGroupOf(checkpoint, order, columns, group, { unset: true }) : {}),
    };
  },

  readCodes(checkpoint, module, { rows, columns }) {
    return readWords(checkpoint, `${module}.weight_packed`, [rows, Math.ceil(columns / 8)]);
  },
};

/** Zero points [rows, groups] from words that hold eight rows of a group each. */
function unpackRows(words: Uint32Array, rows: number, groups: number): Uint8Array | null {
  const zeroPoints = new Uint8Array(rows * groups);
  for (let row = 0; row < rows; row++)
    for (let g = 0; g < groups; g++)
      zeroPoints[row * groups + g] = (words[(row >>> 3) * groups + g]! >>> (4 * (row & 7))) & 15;
  return unlessSymmetric(zeroPoints);
}

// ---- writing

/** What is stored beside codes, scales and shape. */
export interface PackedOptions {
  /** Zero points; default false. */
  readonly zeroPoints?: boolean;
  /** Which group each column belongs to; default false. */
  readonly activationOrder?: boolean;
}

/** What a module of `rows` x `columns` weights is stored as. `group`: a divisor of `columns`. */
export function quantizedSpecs(
  module: string,
  matrix: Pick<QuantizedMatrix, 'rows' | 'columns' | 'group' | 'scaleDtype'>,
  { zeroPoints = false, activationOrder = false }: PackedOptions = {},
): readonly TensorSpec[] {
  const { rows, columns, group, scaleDtype } = matrix;
  const zeros: TensorSpec = {
    name: `${module}.weight_zero_point`,
    dtype: 'I32',
    shape: [Math.ceil(rows / 8), columns / group],
  };
  const order: TensorSpec = { name: `${module}.weight_g_idx`, dtype: 'I32', shape: [columns] };
  return [
    { name: `${module}.weight_packed`, dtype: 'I32', shape: [rows, Math.ceil(columns / 8)] },
    { name: `${module}.weight_scale`, dtype: scaleDtype, shape: [rows, columns / group] },
    { name: `${module}.weight_shape`, dtype: 'I64', shape: [2] },
    ...(zeroPoints ? [zeros] : []),
    ...(activationOrder ? [order] : []),
  ];
}

/** Writes a whole module, with the tensors that `quantizedSpecs` announced for the same options. Errors: `output-unwritable`. */
export function writeQuantized(
  writer: SafetensorsWriter,
  module: string,
  matrix: QuantizedMatrix,
  options: PackedOptions = {},
): void {
  const { rows, columns, group } = matrix;
  writeQuantizedShape(writer, module, rows, columns);
  if (options.activationOrder === true) writer.write(`${module}.weight_g_idx`, asBytes(groupOfColumns(matrix)));
  else if (matrix.groupOf !== undefined) throw errors.internal(`the order of groups of ${module} would be lost`);
  if (options.zeroPoints === true) {
    writer.write(`${module}.weight_zero_point`, asBytes(packRows(zeroPointsOf(matrix), rows, columns / group)));
    writeRows(writer, module, matrix, 0);
  } else writeQuantizedRows(writer, module, matrix, 0);
}

function packRows(zeroPoints: Uint8Array, rows: number, groups: number): Uint32Array {
  const words = new Uint32Array(Math.ceil(rows / 8) * groups);
  for (let row = 0; row < rows; row++)
    for (let g = 0; g < groups; g++)
      words[(row >>> 3) * groups + g]! |= zeroPoints[row * groups + g]! << (4 * (row & 7));
  return words;
}

/** Writes the size of a module whose rows come in parts. Errors: `output-unwritable`. */
export function writeQuantizedShape(writer: SafetensorsWriter, module: string, rows: number, columns: number): void {
  writer.write(`${module}.weight_shape`, asBytes(BigInt64Array.of(BigInt(rows), BigInt(columns))));
}

/** Writes `part`, all columns of some rows of a module, from row `firstRow` on. Symmetric only. Errors: `output-unwritable`. */
export function writeQuantizedRows(
  writer: SafetensorsWriter,
  module: string,
  part: QuantizedMatrix,
  firstRow: number,
): void {
  if (part.zeroPoints !== null) throw errors.internal(`zero points of ${module} would be lost`);
  writeRows(writer, module, part, firstRow);
}

function writeRows(writer: SafetensorsWriter, module: string, part: QuantizedMatrix, firstRow: number): void {
  for (const [name, data] of [
    ['weight_packed', part.packed],
    ['weight_scale', part.scales],
  ] as const) {
    const bytes = asBytes(data);
    writer.write(`${module}.${name}`, bytes, (bytes.length / part.rows) * firstRow);
  }
}
