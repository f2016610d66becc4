// Quantizes a whole model folder to 4 bits by rounding, a slab of rows at a time, into a new folder that appears complete or not at all.
import { join } from 'node:path';
import { errors } from '../base/errors.ts';
import { Checkpoint, decodeFloats } from '../formats/checkpoint.ts';
import { readModelConfig, type ModelConfig } from '../formats/config.ts';
import { writeJson } from '../formats/files.ts';
import type { WrittenScheme } from '../formats/gptq-config.ts';
import { quantizedModules } from '../formats/modules.ts';
import { dequantize, type QuantizedMatrix, type ScaleDtype, stack } from '../formats/quantized.ts';
import type { TensorInfo } from '../formats/safetensors.ts';
import type { SafetensorsWriter, TensorSpec } from '../formats/safetensors-writer.ts';
import { type WrittenFormat, writers } from '../formats/written.ts';
import { makeFolder, writeSideFiles } from './folder.ts';
import { type Clip, groupSize, pruneByMagnitude, quantizeRtn } from './rtn.ts';
import { bytesOf, copyTensor, letAbort, writeShards } from './shards.ts';

export interface QuantizeOptions {
  /** Folder of a 16-bit (or f32) model. */
  readonly input: string;
  /** Folder to make; its parent must exist, it must not (or be empty). */
  readonly output: string;
  readonly group: number | 'channel';
  readonly clip: Clip;
  /** Default true: no zero points. */
  readonly symmetric?: boolean;
  /** Two of each four weights become 0, by magnitude. Default false. */
  readonly prune?: boolean;
  /** Default: compressed-tensors. */
  readonly format?: WrittenFormat;
  /** Who writes, as "tool:version"; stands in the description of GPTQ files. */
  readonly producer?: string;
  /** Tensors done, of how many, and the one being worked on. */
  readonly onProgress?: (done: number, total: number, label: string) => void;
  readonly signal?: AbortSignal;
  /** Most bytes of tensors in one file. */
  readonly shardBytes?: number;
}

export interface QuantizedTensorReport {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly group: number;
  /** ||dequantized - original|| / ||original|| */
  readonly relativeError: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

export interface QuantizeReport {
  readonly output: string;
  readonly tensors: readonly QuantizedTensorReport[];
  readonly totals: {
    readonly quantizedTensors: number;
    readonly copiedTensors: number;
    /** Over all quantized weights together. */
    readonly relativeError: number;
    /** Of scales and codes, per quantized weight. */
    readonly bitsPerWeight: number;
    /** Of all tensors, the copied ones included. */
    readonly bytesBefore: number;
    readonly bytesAfter: number;
  };
}

/** A tensor of the input and what becomes of it. */
interface Job {
  readonly info: TensorInfo;
  readonly specs: readonly TensorSpec[];
  readonly bytesAfter: number;
  /** null: copied as it is. */
  readonly module: Module | null;
}

interface Module {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly group: number;
  readonly scaleDtype: ScaleDtype;
}

/** Squared norms of what was lost and of what there was. */
interface Squares {
  readonly difference: number;
  readonly norm: number;
}

/** Weights quantized at once: bounds memory (about 100 MB) and the time between two looks at the signal (about half a second). */
const SLAB_WEIGHTS = 2 ** 22;

const LINEARS = [
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.o_proj',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
];

/**
 * Rounds the Linear weights of the decoder layers to 4 bits, copies every other tensor (embedding, norms, head, biases) as stored, and
 * writes safetensors in the form that is asked for, config.json and the tokenizer files. On an error or abort nothing is left behind.
 * Errors: `already-quantized`, `output-exists`, `output-unwritable`, `group-invalid`, `weight-not-finite`, `scale-overflow`,
 * `conversion-lossy` where the form cannot hold a layer, those of `readModelConfig` and `Checkpoint`; the signal's reason when aborted.
 */
export async function quantizeCheckpoint(options: QuantizeOptions): Promise<QuantizeReport> {
  const {
    input,
    output,
    group,
    symmetric = true,
    format = 'compressed-tensors',
    producer = 'marlin-ts',
    signal,
  } = options;
  signal?.throwIfAborted();
  const scheme: WrittenScheme = { group, symmetric, activationOrder: false, ignore: ['lm_head'], producer };
  const config = readModelConfig(input);
  using checkpoint = Checkpoint.open(input);
  refuseQuantized(checkpoint, config, input);
  const jobs = planJobs(checkpoint, config, format, scheme);
  return await makeFolder(output, async (folder) => {
    const squares = await writeTensors(checkpoint, jobs, folder, format, scheme, options);
    const { configJson, configFile } = writers[format];
    writeSideFiles(input, folder, { quantization_config: configJson(scheme) });
    if (configFile !== null) writeJson(join(folder, configFile), configJson(scheme));
    signal?.throwIfAborted();
    return report(output, jobs, squares);
  });
}

function refuseQuantized(checkpoint: Checkpoint, config: ModelConfig, input: string): void {
  if (quantizedModules(checkpoint).length > 0 || config.quantization !== null) throw errors.alreadyQuantized(input);
}

function planJobs(checkpoint: Checkpoint, config: ModelConfig, format: WrittenFormat, scheme: WrittenScheme): Job[] {
  const modules = new Map<string, Module>();
  for (let layer = 0; layer < config.layers; layer++) {
    for (const linear of LINEARS) {
      const name = `model.layers.${layer}.${linear}`;
      modules.set(`${name}.weight`, planModule(checkpoint, name, format, scheme.group));
    }
  }
  return [...checkpoint.tensors.values()].map((info) => {
    const module = modules.get(info.name) ?? null;
    const specs = module === null ? [info] : writers[format].specs(module.name, module, scheme);
    return { info, specs, bytesAfter: bytesOf(specs), module };
  });
}

function planModule(checkpoint: Checkpoint, name: string, format: WrittenFormat, group: number | 'channel'): Module {
  const { dtype, shape } = checkpoint.info(`${name}.weight`);
  const [rows, columns] = shape;
  const isFloat = dtype === 'F16' || dtype === 'BF16' || dtype === 'F32';
  if (shape.length !== 2 || rows === undefined || columns === undefined || rows * columns === 0 || !isFloat) {
    const found = `${dtype} [${shape.join(', ')}]`;
    throw errors.tensorMismatch(checkpoint.path, `${name}.weight`, 'a matrix of F16, BF16 or F32', found);
  }
  writers[format].checkSize(name, { rows, columns });
  // Forms besides compressed-tensors have scales in f16 only.
  const scaleDtype = dtype === 'BF16' && format === 'compressed-tensors' ? 'BF16' : 'F16';
  return { name, rows, columns, group: groupSize(group, columns, name), scaleDtype };
}

/** Writes all tensors into `folder`. Returns the losses of the quantized ones by name. */
async function writeTensors(
  checkpoint: Checkpoint,
  jobs: readonly Job[],
  folder: string,
  format: WrittenFormat,
  scheme: WrittenScheme,
  options: QuantizeOptions,
): Promise<Map<string, Squares>> {
  const squares = new Map<string, Squares>();
  const shardJobs = jobs.map(({ info, module, specs }) => ({
    label: info.name,
    specs,
    write: async (writer: SafetensorsWriter): Promise<void> => {
      if (module === null) return await copyTensor(checkpoint, info, writer, options.signal);
      const { matrix, ...lost } = await quantizeTensor(checkpoint, info, module, options);
      writers[format].check(module.name, matrix);
      writers[format].write(writer, module.name, matrix, scheme);
      squares.set(info.name, lost);
    },
  }));
  await writeShards(folder, shardJobs, options);
  return squares;
}

async function quantizeTensor(
  checkpoint: Checkpoint,
  info: TensorInfo,
  module: Module,
  { clip, symmetric = true, prune = false, signal }: QuantizeOptions,
): Promise<Squares & { readonly matrix: QuantizedMatrix }> {
  const { rows, columns, group, scaleDtype } = module;
  const slabs: QuantizedMatrix[] = [];
  const slabRows = Math.max(1, Math.floor(SLAB_WEIGHTS / columns));
  const rowBytes = info.bytes / rows;
  let difference = 0;
  let norm = 0;
  for (let first = 0; first < rows; first += slabRows) {
    await letAbort(signal);
    const count = Math.min(slabRows, rows - first);
    const bytes = checkpoint.read(info.name, new Uint8Array(count * rowBytes), first * rowBytes);
    const weights = decodeFloats(bytes, info, checkpoint.path);
    const kept = weights.slice();
    if (prune) pruneByMagnitude(kept);
    const slab = quantizeRtn(kept, count, columns, { group, clip, symmetric, scaleDtype, name: info.name });
    slabs.push(slab);
    const rounded = dequantize(slab);
    for (let i = 0; i < weights.length; i++) {
      difference += (rounded[i]! - weights[i]!) ** 2;
      norm += weights[i]! ** 2;
    }
  }
  const matrix = stack(slabs);
  if (matrix === null) throw errors.internal(`parts of ${info.name} were rounded differently`);
  return { difference, norm, matrix };
}

function report(output: string, jobs: readonly Job[], squares: ReadonlyMap<string, Squares>): QuantizeReport {
  const tensors: QuantizedTensorReport[] = [];
  const total = { difference: 0, norm: 0, weights: 0, bytes: 0, bytesBefore: 0, bytesAfter: 0 };
  for (const { info, module, bytesAfter } of jobs) {
    total.bytesBefore += info.bytes;
    total.bytesAfter += bytesAfter;
    const square = squares.get(info.name);
    if (module === null || square === undefined) continue;
    total.difference += square.difference;
    total.norm += square.norm;
    total.weights += module.rows * module.columns;
    total.bytes += bytesAfter;
    const { rows, columns, group } = module;
    tensors.push({
      name: info.name,
      rows,
      columns,
      group,
      relativeError: ratio(square),
      bytesBefore: info.bytes,
      bytesAfter,
    });
  }
  return {
    output,
    tensors,
    totals: {
      quantizedTensors: tensors.length,
      copiedTensors: jobs.length - tensors.length,
      relativeError: ratio(total),
      bitsPerWeight: (8 * total.bytes) / total.weights,
      bytesBefore: total.bytesBefore,
      bytesAfter: total.bytesAfter,
    },
  };
}

function ratio({ difference, norm }: Squares): number {
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}
