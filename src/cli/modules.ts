// The modules of a checkpoint: tensors that belong together, such as packed weight, scale and shape, as one thing. Knows no command line.
import type { Checkpoint } from '../formats/checkpoint.ts';
import { isQuantized } from '../formats/compressed-tensors.ts';
import type { TensorInfo } from '../formats/safetensors.ts';

export interface Module {
  readonly name: string;
  /** Of the weight as the network sees it: [outputs, inputs] also where it is packed. */
  readonly shape: readonly number[];
  /** A dtype, or how it is quantized. */
  readonly format: string;
  readonly bytes: number;
  /** Which kind of matrix it is; null for vectors. */
  readonly kind: 'w4' | 'w16' | null;
}

const PARTS =
  /\.(weight|bias|weight_packed|weight_scale|weight_shape|weight_zero_point|weight_g_idx|qweight|qzeros|scales|g_idx)$/;
const WEIGHTS_PER_WORD = 8;

/** All modules, layer 2 before layer 10. */
export function modulesOf(checkpoint: Checkpoint): Module[] {
  const parts = Map.groupBy(checkpoint.tensors.values(), ({ name }) => name.replace(PARTS, ''));
  return [...parts]
    .map(([name, tensors]) => ({
      name,
      bytes: tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
      ...(isQuantized(checkpoint, name) ? quantized(name, tensors) : plain(tensors)),
    }))
    .toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

type Weight = Pick<Module, 'shape' | 'format' | 'kind'>;

function plain(tensors: readonly TensorInfo[]): Weight {
  const { shape, dtype } = tensors.find(({ name }) => name.endsWith('.weight')) ?? tensors[0]!;
  return { shape, format: dtype, kind: shape.length === 2 ? 'w16' : null };
}

function quantized(name: string, tensors: readonly TensorInfo[]): Weight {
  const shapeOf = (part: string): readonly number[] =>
    tensors.find((tensor) => tensor.name === `${name}.${part}`)?.shape ?? [];
  const [rows = 0, words = 0] = shapeOf('weight_packed');
  const [, groups = 1] = shapeOf('weight_scale');
  const columns = words * WEIGHTS_PER_WORD;
  const format = groups === 1 ? 'int4 per channel' : `int4 group ${columns / groups}`;
  return { shape: [rows, columns], format, kind: 'w4' };
}

/** Weights of a module; its scales and bias are not counted. */
export function parametersOf(module: Module): number {
  return module.shape.reduce((product, size) => product * size, 1);
}

/** All tensors of the modules together. */
export function bytesOf(modules: readonly Module[]): number {
  return modules.reduce((sum, module) => sum + module.bytes, 0);
}

/** Bits for each weight of the matrices in the layers, which are what is quantized, with their scales and biases. */
export function bitsPerWeight(modules: readonly Module[]): number {
  const matrices = modules.filter(({ name, kind }) => kind !== null && name.startsWith('model.layers.'));
  return (8 * bytesOf(matrices)) / matrices.reduce((sum, module) => sum + parametersOf(module), 0);
}

/** Equal modules of all layers as one: `model.layers.*.mlp.up_proj`, how many, and their bytes together. */
export function overLayers(modules: readonly Module[]): { readonly module: Module; readonly count: number }[] {
  const starred = modules.map((module) => ({ ...module, name: module.name.replace(/\.\d+\./, '.*.') }));
  const alike = Map.groupBy(starred, ({ name, shape, format }) => `${name} ${shape.join('x')} ${format}`);
  return [...alike.values()].map((group) => ({
    module: { ...group[0]!, bytes: bytesOf(group) },
    count: group.length,
  }));
}
