// What the readers and writers of quantized tensors share: tensors checked and brought in, words and scales turned on their side. Knows no format.
import { bf16ToNumber, f16ToNumber, numberToF16 } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import { type Checkpoint, decodeFloats } from './checkpoint.ts';
import type { Dtype } from './dtype.ts';
import { type QuantizedMatrix, type ScaleDtype, SYMMETRIC_ZERO } from './quantized.ts';
import type { QuantizationConfig } from './quantization.ts';
import type { TensorInfo } from './safetensors.ts';
import type { SafetensorsWriter, TensorSpec } from './safetensors-writer.ts';

export interface MatrixSize {
  readonly rows: number;
  readonly columns: number;
}

/** All of a quantized matrix but its codes: small, and enough to judge it. */
export type QuantizedGroups = Omit<QuantizedMatrix, 'packed'>;

/** The form of a checkpoint's quantized modules, read. */
export interface FormReader {
  /** Names of tensors behind `module.`, the one that holds the codes first. */
  readonly parts: readonly string[];
  /** The size that the headers of a module's tensors say, unchecked against anything else. Errors: those of `readGroups`. */
  size(checkpoint: Checkpoint, module: string): MatrixSize;
  /**
   * Reads and checks everything but the codes; `size` as above. Errors: `tensor-missing`, `tensor-mismatch`, `group-invalid`, `scale-overflow`, and those of reading.
   */
  readGroups(checkpoint: Checkpoint, module: string, size: MatrixSize, config: QuantizationConfig): QuantizedGroups;
  /** The codes of a module of `size`, as in `QuantizedMatrix.packed`. Errors: `tensor-missing`, `tensor-mismatch`, and those of reading. */
  readCodes(checkpoint: Checkpoint, module: string, size: MatrixSize): Uint32Array;
}

// ---- reading

/** Errors: `tensor-missing`; `tensor-mismatch` for another dtype or shape. */
export function expectTensor(
  checkpoint: Checkpoint,
  name: string,
  dtypes: readonly Dtype[],
  shape: readonly number[],
): TensorInfo {
  const info = checkpoint.info(name);
  const fits =
    dtypes.includes(info.dtype) && info.shape.length === shape.length && shape.every((n, i) => n === info.shape[i]);
  if (!fits) throw mismatch(checkpoint, info, `${dtypes.join(' or ')} [${shape.join(', ')}]`);
  return info;
}

/** The error that `info` is not what it should be, for its caller to throw. */
export function mismatch(checkpoint: Checkpoint, info: TensorInfo, expected: string): Error {
  return errors.tensorMismatch(checkpoint.path, info.name, expected, `${info.dtype} [${info.shape.join(', ')}]`);
}

/** An I32 tensor as unsigned words. Errors: `tensor-missing`, `tensor-mismatch`, and those of reading. */
export function readWords(checkpoint: Checkpoint, name: string, shape: readonly number[]): Uint32Array {
  const { bytes } = expectTensor(checkpoint, name, ['I32'], shape);
  const words = new Uint32Array(bytes / 4);
  checkpoint.read(name, asBytes(words));
  return words;
}

/** Weights a scale in a matrix of `columns`. Errors: `group-invalid`. */
export function groupSizeOf(module: string, columns: number, { group }: QuantizationConfig): number {
  const size = group === 'channel' ? columns : group;
  if (columns % size !== 0) throw errors.groupInvalid(module, columns, size);
  return size;
}

/**
 * Scales as they are stored; F32 ones are rounded to F16 (relative error 2^-11, a hundredth of what 4 bits cost).
 * Errors: `tensor-missing`, `tensor-mismatch`, `scale-overflow`, and those of reading.
 */
export function readScales(
  checkpoint: Checkpoint,
  name: string,
  dtypes: readonly Dtype[],
  shape: readonly number[],
): { readonly scales: Uint16Array; readonly scaleDtype: ScaleDtype } {
  const info = expectTensor(checkpoint, name, dtypes, shape);
  const bytes = checkpoint.read(info.name);
  const single = info.dtype === 'F32' ? decodeFloats(bytes, info, checkpoint.path) : null;
  const scales = single === null ? new Uint16Array(bytes.buffer) : Uint16Array.from(single, numberToF16);
  const scaleDtype = info.dtype === 'BF16' ? 'BF16' : 'F16';
  const toNumber = scaleDtype === 'BF16' ? bf16ToNumber : f16ToNumber;
  const bad = scales.findIndex((bits, i) => {
    const value = toNumber(bits);
    return !Number.isFinite(value) || (value === 0 && single !== null && single[i] !== 0);
  });
  if (bad >= 0)
    throw errors.scaleOverflow(info.name, single === null ? toNumber(scales[bad]!) : single[bad]!, scaleDtype);
  return { scales, scaleDtype };
}

/** Zero points, or null where all are those of a symmetric matrix. */
export function unlessSymmetric(zeroPoints: Uint8Array): Uint8Array | null {
  return zeroPoints.every((zero) => zero === SYMMETRIC_ZERO) ? null : zeroPoints;
}

/**
 * `groupOf` of a matrix, from the tensor [columns] that says it; empty where it says column / group, or, with `unset`, holds a -1.
 * Errors: `tensor-missing`; `tensor-mismatch` for a group that is not there or has not its number of columns; those of reading.
 */
export function readGroupOf(
  checkpoint: Checkpoint,
  name: string,
  columns: number,
  group: number,
  { unset = false }: { readonly unset?: boolean } = {},
): Pick<QuantizedMatrix, 'groupOf'> {
  const groupOf = readWords(checkpoint, name, [columns]);
  if (unset && groupOf.includes(0xffff_ffff)) return {};
  const refuse = (expected: string, found: string): never => {
    throw errors.tensorMismatch(checkpoint.path, name, expected, found);
  };
  const groups = columns / group;
  const members = new Uint32Array(groups);
  for (const [column, g] of groupOf.entries()) {
    if (g >= groups) refuse(`groups from 0 to ${groups - 1}`, `${g | 0} for column ${column}`);
    members[g]!++;
  }
  const uneven = members.findIndex((count) => count !== group);
  if (uneven >= 0) refuse(`${group} columns in every group`, `${members[uneven]!} in group ${uneven}`);
  return groupOf.every((g, column) => g === Math.floor(column / group)) ? {} : { groupOf };
}

// ---- writing

/** The group of each column: a matrix's own, or column / group. */
export function groupOfColumns({ columns, group, groupOf }: QuantizedGroups): Uint32Array {
  return groupOf ?? Uint32Array.from({ length: columns }, (_, column) => Math.floor(column / group));
}

/** A matrix's zero points, 8 where it has none: [rows, columns / group]. */
export function zeroPointsOf({ zeroPoints, scales }: QuantizedGroups): Uint8Array {
  return zeroPoints ?? new Uint8Array(scales.length).fill(SYMMETRIC_ZERO);
}

/** Words made at once when a tensor is written: bounds memory to some MB. */
const SLAB_WORDS = 2 ** 20;

/**
 * Writes the words of the tensor `spec`, [rows, words], a slab of rows at a time. `fill` writes rows `first`, `first + 1`, ... into the slab, which
 * holds as many whole rows and is all zero. Errors: `output-unwritable`.
 */
export function writeSlabs(
  writer: SafetensorsWriter,
  spec: TensorSpec,
  fill: (slab: Uint32Array, first: number, count: number) => void,
): void {
  const [rows = 0, words = 0] = spec.shape;
  // Whole eights of rows, so that a slab begins at a word of packed columns.
  const most = Math.max(8, 8 * Math.floor(SLAB_WORDS / words / 8));
  for (let first = 0; first < rows; first += most) {
    const count = Math.min(most, rows - first);
    const slab = new Uint32Array(count * words);
    fill(slab, first, count);
    writer.write(spec.name, asBytes(slab), 4 * first * words);
  }
}

export function asBytes(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

// ---- both

/** [rows, columns] as [columns, rows]. */
export function transpose<A extends Uint8Array | Uint16Array | Uint32Array>(
  source: A,
  target: A,
  rows: number,
  columns: number,
): A {
  for (let column = 0; column < columns; column++)
    for (let row = 0; row < rows; row++) target[column * rows + row] = source[row * columns + column]!;
  return target;
}

/** Eight values at a time of a row-major [rows, 8 words] array as nibbles of [rows, words]; `order[i]`: which of the eight nibble i holds. */
export function packNibbles(values: Uint8Array, order: readonly number[] = LINEAR): Uint32Array {
  const words = new Uint32Array(values.length / 8);
  for (let w = 0; w < words.length; w++) for (let i = 0; i < 8; i++) words[w]! |= values[8 * w + order[i]!]! << (4 * i);
  return words;
}

/** The inverse of `packNibbles`. */
export function unpackNibbles(words: Uint32Array, order: readonly number[] = LINEAR): Uint8Array {
  const values = new Uint8Array(8 * words.length);
  for (let w = 0; w < words.length; w++)
    for (let i = 0; i < 8; i++) values[8 * w + order[i]!] = (words[w]! >>> (4 * i)) & 15;
  return values;
}

const LINEAR: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7];
