// The compressed-tensors "pack-quantized" form of a 4-bit checkpoint: its part of config.json and its three tensors a module, both ways.
// Must not know which modules a model has.
import { f16ToNumber, bf16ToNumber, numberToF16 } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import { Checkpoint, decodeFloats } from './checkpoint.ts';
import type { Dtype } from './dtype.ts';
import type { QuantizedMatrix, ScaleDtype } from './quantized.ts';
import type { TensorInfo } from './safetensors.ts';
import type { SafetensorsWriter, TensorSpec } from './safetensors-writer.ts';

export interface QuantizationConfig {
  readonly method: 'compressed-tensors';
  /** Weights along K sharing a scale. */
  readonly group: number | 'channel';
  /**
   * Modules said to be left alone: names, or "re:" and a regular expression. For showing only: whether a module is quantized is decided by its
   * tensors (`isQuantized`), which cannot disagree with the file.
   */
  readonly ignore: readonly string[];
}

type Json = Readonly<Record<string, unknown>>;

const RECIPE =
  'compressed-tensors pack-quantized with symmetric 4-bit integers, one scale per group or per channel, 16-bit activations';

// ---- config.json

/**
 * Reads the `quantization_config` of a config.json. `path`: of that file, for messages.
 * Errors: `quantization-unsupported`, naming the field, for everything but the recipe `quantizationConfigJson` writes.
 */
export function parseQuantizationConfig(value: unknown, path: string): QuantizationConfig {
  const only = (field: string, found: unknown, ...allowed: readonly unknown[]): void => {
    if (!allowed.map(shown).includes(shown(found)))
      throw errors.quantizationUnsupported(path, field, shown(found), RECIPE);
  };
  const config = object(value);
  if (config === null) throw errors.quantizationUnsupported(path, 'quantization_config', shown(value), RECIPE);
  only('quant_method', config['quant_method'], 'compressed-tensors');
  only('format', config['format'], 'pack-quantized');
  only('quantization_status', config['quantization_status'], 'compressed', undefined);
  only('kv_cache_scheme', config['kv_cache_scheme'], null, undefined);
  for (const field of ['sparsity_config', 'transform_config']) {
    if (Object.keys(object(config[field]) ?? {}).length > 0) only(field, config[field]);
  }
  const groups = Object.entries(object(config['config_groups']) ?? {});
  const [name, content] = groups[0] ?? [];
  if (groups.length !== 1) only('config_groups', config['config_groups']);
  const ignore: unknown = config['ignore'] ?? [];
  if (!isStrings(ignore)) throw errors.jsonInvalid(path, 'quantization_config.ignore is not a list of names');
  if (Array.isArray(content)) {
    // A preset: its name says everything, the list is its targets.
    only('config_groups', name, 'W4A16');
    only('targets', content, ['Linear']);
    return { method: 'compressed-tensors', group: 128, ignore };
  }
  const scheme = object(content) ?? {};
  only('targets', scheme['targets'], ['Linear']);
  only('format', scheme['format'], 'pack-quantized', null, undefined);
  only('input_activations', scheme['input_activations'], null, undefined);
  only('output_activations', scheme['output_activations'], null, undefined);
  const weights = object(scheme['weights']) ?? {};
  only('num_bits', weights['num_bits'], 4);
  only('type', weights['type'], 'int');
  only('symmetric', weights['symmetric'], true);
  only('dynamic', weights['dynamic'], false, undefined);
  // "weight" (alias "static") reorders only while quantizing; "group" needs a gather of the activations.
  only('actorder', weights['actorder'], null, undefined, false, 'weight', 'static');
  only('strategy', weights['strategy'], 'group', 'channel');
  const group = weights['group_size'];
  if (weights['strategy'] === 'channel') {
    only('group_size', group, null, undefined, -1);
    return { method: 'compressed-tensors', group: 'channel', ignore };
  }
  if (!isCount(group)) throw errors.quantizationUnsupported(path, 'group_size', shown(group), RECIPE);
  return { method: 'compressed-tensors', group, ignore };
}

/** The `quantization_config` that tells every reader of the form how the tensors of `quantizedSpecs` are meant. */
export function quantizationConfigJson(group: number | 'channel', ignore: readonly string[]): Json {
  const weights = {
    num_bits: 4,
    type: 'int',
    symmetric: true,
    strategy: group === 'channel' ? 'channel' : 'group',
    group_size: group === 'channel' ? null : group,
    block_structure: null,
    dynamic: false,
    actorder: null,
    observer: 'minmax',
    observer_kwargs: {},
  };
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    quantization_status: 'compressed',
    config_groups: { group_0: { targets: ['Linear'], weights, input_activations: null, output_activations: null } },
    ignore,
    kv_cache_scheme: null,
    global_compression_ratio: null,
  };
}

function object(value: unknown): Json | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : null;
}

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing';
}

// ---- tensors: reading

/** Whether `module` (such as `model.layers.0.self_attn.q_proj`) is stored quantized in this form. */
export function isQuantized(checkpoint: Checkpoint, module: string): boolean {
  return checkpoint.tensors.has(`${module}.weight_packed`);
}

/**
 * Reads one quantized module. F32 scales are rounded to F16 (relative error 2^-11, a hundredth of what 4 bits cost).
 * A `weight_zero_point`, which old symmetric files still carry, is not read.
 * Errors: `tensor-missing`, `tensor-mismatch`, `quantization-unsupported` (stored in activation order), `scale-overflow`, `file-unreadable`.
 */
export function readQuantized(checkpoint: Checkpoint, module: string, config: QuantizationConfig): QuantizedMatrix {
  if (checkpoint.tensors.has(`${module}.weight_g_idx`)) {
    throw errors.quantizationUnsupported(checkpoint.path, 'actorder', `"group" (${module}.weight_g_idx)`, RECIPE);
  }
  const [rows, columns] = readShape(checkpoint, `${module}.weight_shape`);
  const group = config.group === 'channel' ? columns : config.group;
  if (columns % group !== 0) throw errors.groupInvalid(module, columns, group);
  const packed = expectTensor(checkpoint, `${module}.weight_packed`, ['I32'], [rows, Math.ceil(columns / 8)]);
  const scale = expectTensor(checkpoint, `${module}.weight_scale`, ['F16', 'BF16', 'F32'], [rows, columns / group]);
  const words = new Uint32Array(packed.bytes / 4);
  checkpoint.read(packed.name, asBytes(words));
  return { rows, columns, group, packed: words, ...readScales(checkpoint, scale), zeroPoints: null };
}

function readShape(checkpoint: Checkpoint, name: string): [rows: number, columns: number] {
  const info = expectTensor(checkpoint, name, ['I64', 'I32'], [2]);
  const { buffer } = checkpoint.read(name);
  const sizes = info.dtype === 'I64' ? Array.from(new BigInt64Array(buffer), Number) : [...new Int32Array(buffer)];
  const [rows, columns] = sizes;
  if (!isCount(rows) || !isCount(columns)) {
    throw errors.tensorMismatch(checkpoint.path, name, 'two positive sizes', sizes.join(', '));
  }
  return [rows, columns];
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

function readScales(checkpoint: Checkpoint, info: TensorInfo): { scales: Uint16Array; scaleDtype: ScaleDtype } {
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

function expectTensor(
  checkpoint: Checkpoint,
  name: string,
  dtypes: readonly Dtype[],
  shape: readonly number[],
): TensorInfo {
  const info = checkpoint.info(name);
  const fits =
    dtypes.includes(info.dtype) && info.shape.length === shape.length && shape.every((n, i) => n === info.shape[i]);
  if (!fits) {
    const expected = `${dtypes.join(' or ')} [${shape.join(', ')}]`;
    throw errors.tensorMismatch(checkpoint.path, name, expected, `${info.dtype} [${info.shape.join(', ')}]`);
  }
  return info;
}

// ---- tensors: writing

/** What a module of `rows` x `columns` weights is stored as. `group`: a divisor of `columns`. */
export function quantizedSpecs(
  module: string,
  matrix: Pick<QuantizedMatrix, 'rows' | 'columns' | 'group' | 'scaleDtype'>,
): readonly TensorSpec[] {
  const { rows, columns, group, scaleDtype } = matrix;
  return [
    { name: `${module}.weight_packed`, dtype: 'I32', shape: [rows, Math.ceil(columns / 8)] },
    { name: `${module}.weight_scale`, dtype: scaleDtype, shape: [rows, columns / group] },
    { name: `${module}.weight_shape`, dtype: 'I64', shape: [2] },
  ];
}

/** Writes a whole module. Symmetric only. Errors: `output-unwritable`. */
export function writeQuantized(writer: SafetensorsWriter, module: string, matrix: QuantizedMatrix): void {
  writeQuantizedShape(writer, module, matrix.rows, matrix.columns);
  writeQuantizedRows(writer, module, matrix, 0);
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
  for (const [name, data] of [
    ['weight_packed', part.packed],
    ['weight_scale', part.scales],
  ] as const) {
    const bytes = asBytes(data);
    writer.write(`${module}.${name}`, bytes, (bytes.length / part.rows) * firstRow);
  }
}

function asBytes(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
