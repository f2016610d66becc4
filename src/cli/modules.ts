// The modules of a checkpoint: tensors that belong together, such as packed weight, scale and shape, as one thing. Knows no command line.
import type { Checkpoint } from '../formats/checkpoint.ts';
import { formOf, sizeOf } from '../formats/modules.ts';
import type { QuantizationMethod } from '../formats/quantization.ts';
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
  /\.(weight|bias|weight_packed|weight_scale|weight_shape|weight_zero_point|weight_g_idx|qweight|qzeros|scales|g_idx|B|s)$/;

/** All modules, layer 2 before layer 10. */
export function modulesOf(checkpoint: Checkpoint): Module[] {
  const parts = Map.groupBy(checkpoint.tensors.values(), ({ name }) => name.replace(PARTS, ''));
  return [...parts]
    .map(([name, tensors]) => {
      const form = formOf(checkpoint, name);
      const weight = form === null ? plain(tensors) : quantized(checkpoint, name, form);
      return { name, bytes: tensors.reduce((sum, tensor) => sum + tensor.bytes, 0), ...weight };
    })
    .toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

type Weight = Pick<Module, 'shape' | 'format' | 'kind'>;

function plain(tensors: readonly TensorInfo[]): Weight {
  const { shape, dtype } = tensors.find(({ name }) => name.endsWith('.weight')) ?? tensors[0]!;
  return { shape, format: dtype, kind: shape.length === 2 ? 'w16' : null };
}

function quantized(checkpoint: Checkpoint, name: string, form: QuantizationMethod): Weight {
  const { rows, columns } = sizeOf(checkpoint, name, form);
  const shapeOf = (part: string): readonly number[] | undefined => checkpoint.tensors.get(`${name}.${part}`)?.shape;
  const groups = shapeOf('weight_scale')?.[1] ?? (shapeOf('scales') ?? shapeOf('s'))?.[0] ?? 1;
  const kind = form === 'compressed-tensors' ? 'int4' : `${form} int4`;
  const format = groups === 1 ? `${kind} per channel` : `${kind} group ${columns / groups}`;
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
