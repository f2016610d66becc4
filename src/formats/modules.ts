// The quantized modules of a checkpoint, whatever form they are stored in: which form that is, what is said of it, and the matrix itself. Must not know which
// modules a model has.
import { errors } from '../base/errors.ts';
import { awq } from './awq.ts';
import type { Checkpoint } from './checkpoint.ts';
import { compressedTensors } from './compressed-tensors.ts';
import { parseCompressedTensors } from './compressed-tensors-config.ts';
import { gptq } from './gptq.ts';
import { parseAwq, parseGptq, parseMarlin } from './gptq-config.ts';
import { marlin } from './marlin.ts';
import {
  either,
  Description,
  type Json,
  object,
  type QuantizationConfig,
  type QuantizationMethod,
} from './quantization.ts';
import type { QuantizedMatrix } from './quantized.ts';
import type { FormReader, MatrixSize, QuantizedGroups } from './tensors.ts';

const READERS: Readonly<Record<QuantizationMethod, FormReader>> = {
  'compressed-tensors': compressedTensors,
  gptq,
  awq,
  marlin,
};

const PARSERS: Readonly<Record<QuantizationMethod, (config: Json, path: string) => QuantizationConfig>> = {
  'compressed-tensors': parseCompressedTensors,
  gptq: parseGptq,
  awq: parseAwq,
  marlin: parseMarlin,
};

const METHODS: readonly QuantizationMethod[] = ['compressed-tensors', 'gptq', 'awq', 'marlin'];

/**
 * Reads a checkpoint's description of its quantization: the `quantization_config` of a config.json, or a file of its own, whose tool may not say the
 * method; it then is `otherwise`. `path`: of that file, for messages. Errors: `quantization-unsupported`, naming the field; `json-invalid`.
 */
export function parseQuantizationConfig(
  value: unknown,
  path: string,
  otherwise?: QuantizationMethod,
): QuantizationConfig {
  const description = new Description(path, `one of ${METHODS.join(', ')}, with 4-bit integers`);
  const config = object(value) ?? description.refuse('quantization_config', value);
  const found = either(config, 'quant_method', 'method') ?? otherwise;
  const method = METHODS.find((known) => known === found);
  return PARSERS[method ?? description.refuse('quant_method', found)](config, path);
}

/** The form in which `module` (such as `model.layers.0.self_attn.q_proj`) is stored, by its tensors; null: not quantized. */
export function formOf(checkpoint: Checkpoint, module: string): QuantizationMethod | null {
  const has = (part: string): boolean => checkpoint.tensors.has(`${module}.${part}`);
  if (has('weight_packed')) return 'compressed-tensors';
  if (has('B') && has('s')) return 'marlin';
  if (!has('qweight')) return null;
  return has('g_idx') || !isAwq(checkpoint, module) ? 'gptq' : 'awq';
}

/** GPTQ packs inputs, AWQ outputs; how many outputs there are, scales tell, and zero points in their number of words. */
function isAwq(checkpoint: Checkpoint, module: string): boolean {
  const width = (part: string): number | undefined => checkpoint.tensors.get(`${module}.${part}`)?.shape.at(-1);
  const words = width('qweight');
  return words !== undefined && (words * 8 === width('scales') || words === width('qzeros'));
}

/** Whether `module` is stored quantized. */
export function isQuantized(checkpoint: Checkpoint, module: string): boolean {
  return formOf(checkpoint, module) !== null;
}

/** The tensors that `module` is stored as in `form`. */
export function partsOf(checkpoint: Checkpoint, module: string, form: QuantizationMethod): readonly string[] {
  return READERS[form].parts.map((part) => `${module}.${part}`).filter((name) => checkpoint.tensors.has(name));
}

/** Every name of a tensor that holds codes, behind its module. */
const CODES = new RegExp(
  `^(.*)\\.(${[...new Set(METHODS.map((method) => READERS[method].parts[0]!))].join('|')})$`,
  's',
);

/** All quantized modules, in the order of the checkpoint's tensors. */
export function quantizedModules(
  checkpoint: Checkpoint,
): readonly { readonly name: string; readonly form: QuantizationMethod }[] {
  return [...checkpoint.tensors.keys()].flatMap((tensor) => {
    const name = CODES.exec(tensor)?.[1];
    const form = name === undefined ? null : formOf(checkpoint, name);
    return name === undefined || form === null ? [] : [{ name, form }];
  });
}

/** The size of a quantized module, as its own tensors have it. Errors: `tensor-missing`, `tensor-mismatch`, and those of reading. */
export function sizeOf(checkpoint: Checkpoint, module: string, form: QuantizationMethod): MatrixSize {
  return READERS[form].size(checkpoint, module);
}

/**
 * Everything of a quantized module but its codes, checked. `size`: what it has to be, or as its own tensors have it. Errors: `tensor-missing`,
 * `tensor-mismatch`, `group-invalid`, `scale-overflow`, `quantization-disagrees`, and those of reading.
 */
export function readGroups(
  checkpoint: Checkpoint,
  module: string,
  config: QuantizationConfig,
  size?: MatrixSize,
): QuantizedGroups {
  const form = formOf(checkpoint, module) ?? config.method;
  const reader = READERS[form];
  if (form !== config.method) {
    throw errors.quantizationDisagrees(checkpoint.path, `${module}.${reader.parts[0]!}`, config.method);
  }
  const { rows, columns } = reader.size(checkpoint, module);
  if (size !== undefined && (size.rows !== rows || size.columns !== columns)) {
    const expected = `[${size.rows}, ${size.columns}]`;
    throw errors.tensorMismatch(checkpoint.path, `${module}.${reader.parts[0]!}`, expected, `[${rows}, ${columns}]`);
  }
  return reader.readGroups(checkpoint, module, { rows, columns }, config);
}

/** Reads one quantized module; like `readGroups`, with the codes. */
export function readQuantized(
  checkpoint: Checkpoint,
  module: string,
  config: QuantizationConfig,
  size?: MatrixSize,
): QuantizedMatrix {
  const groups = readGroups(checkpoint, module, config, size);
  return { ...groups, packed: READERS[config.method].readCodes(checkpoint, module, groups) };
}
