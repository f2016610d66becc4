// Quantizes a whole model by second order, block after block on what the blocks before have become, into a new folder that appears complete or not at all.
// What is finished is kept beside it until then (work.ts). Knows no text.
import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import { errors } from '../base/errors.ts';
import { encodeBf16, encodeF16 } from '../base/f16.ts';
import type { Device } from '../device/device.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { type ModelConfig, readModelConfig } from '../formats/config.ts';
import { writeJson } from '../formats/files.ts';
import type { WrittenScheme } from '../formats/gptq-config.ts';
import { quantizedModules } from '../formats/modules.ts';
import type { ScaleDtype } from '../formats/quantized.ts';
import type { SafetensorsWriter, TensorSpec } from '../formats/safetensors-writer.ts';
import { type WrittenFormat, writers } from '../formats/written.ts';
import { blockTensors } from '../model/block-tensors.ts';
import type { Kinds } from '../model/ops.ts';
import { Weights } from '../model/weights.ts';
import { makeFolder, refuseExisting, writeSideFiles } from '../quantize/folder.ts';
import type { SolveClip } from '../quantize/scale-search.ts';
import { bytesOf, copyTensor, type ShardJob, type ShardOptions, writeShards } from '../quantize/shards.ts';
import { groupOfCodes } from '../quantize/solve.ts';
import { calibrationSize, Calibrator, type Recipe, type SolvedLinear, STAGES } from './block.ts';
import { CpuCalibration } from './cpu.ts';
import type { CalibrationDevice } from './device.ts';
import { GpuCalibration } from './gpu.ts';
import { type FinishedLinear, WorkFolder } from './work.ts';

/** How weights are quantized, and by what. */
export interface CalibratedRecipe {
  /** Null: 16-bit weights that are only pruned. */
  readonly codes: { readonly group: number | 'channel'; readonly symmetric: boolean; readonly clip: SolveClip } | null;
  /** Two of each four weights become 0. */
  readonly prune: boolean;
  readonly damp: number;
  readonly actOrder: boolean;
}

export interface CalibrateOptions extends Pick<ShardOptions, 'shardBytes'> {
  /** Folder of a 16-bit (or f32) model. */
  readonly input: string;
  /** Folder to make; its parent must exist, it must not (or be empty). Unfinished work is kept in `<output>.work`. */
  readonly output: string;
  /** How codes are stored; without codes the output is a 16-bit model. */
  readonly format: WrittenFormat;
  readonly producer: string;
  readonly recipe: CalibratedRecipe;
  /** Calibration tokens, all windows of the same length. */
  readonly windows: readonly Uint32Array[];
  /** CPU threads, which solve the linears also where a GPU runs the network. */
  readonly threads?: number;
  /** A GPU to run the network on; default: the CPU. It stays its owner's. */
  readonly device?: Device;
  /** Whether there must be unfinished work; without, it is continued if it is there. */
  readonly resume?: boolean;
  /** Passes of a window through a part of a block: done, of how many, and the one being worked on. */
  readonly onProgress?: (done: number, total: number, label: string) => void;
  readonly signal?: AbortSignal;
}

export interface CalibratedLinear {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly group: number | null;
  /** ||X (W - Q)^T|| / ||X W^T|| over the calibration inputs. */
  readonly relativeError: number;
  /** More than the recipe's where inputs said too little. */
  readonly damp: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

export interface CalibrateReport {
  readonly output: string;
  /** Blocks that were finished already. */
  readonly continuedAt: number;
  readonly tensors: readonly CalibratedLinear[];
  readonly totals: {
    readonly quantizedTensors: number;
    readonly copiedTensors: number;
    /** The mean over all linears. */
    readonly relativeError: number;
    readonly bitsPerWeight: number;
    readonly bytesBefore: number;
    readonly bytesAfter: number;
  };
}

/**
 * Errors: 'already-quantized', 'output-exists', 'output-unwritable', 'group-invalid', 'group-unsupported', 'weight-not-finite', 'scale-overflow', 'hessian-not-positive',
 * 'conversion-lossy', 'work-differs', 'nothing-to-resume', those of `readModelConfig` and `Checkpoint`; the signal's reason when aborted: then the work done so
 * far stays.
 */
export async function quantizeCalibrated(options: CalibrateOptions): Promise<CalibrateReport> {
  const { input, signal } = options;
  const output = resolve(options.output);
  signal?.throwIfAborted();
  const config = readModelConfig(input);
  using checkpoint = Checkpoint.open(input);
  if (quantizedModules(checkpoint).length > 0 || config.quantization !== null) throw errors.alreadyQuantized(input);
  refuseExisting(output);
  checkLinears(checkpoint, config, options);
  const work = WorkFolder.open(output, fingerprintOf(checkpoint, config, options), options.resume ?? false);
  const continuedAt = work.finished(config.layers);
  await solveBlocks(checkpoint, config, work, options);
  const finished = Array.from({ length: config.layers }, (_, i) => work.readBlock(i)).flat();
  const report = await writeModel(checkpoint, finished, { ...options, output });
  work.remove();
  return { ...report, output: options.output, continuedAt };
}

/** What can be refused before any work. Errors: 'tensor-mismatch', 'group-invalid', 'group-unsupported', 'conversion-lossy'. */
function checkLinears(checkpoint: Checkpoint, config: ModelConfig, { recipe, format }: CalibrateOptions): void {
  const weights = new Weights(checkpoint, config);
  for (let block = 0; block < config.layers; block++) {
    const { qkv, output, gateUp, down } = blockTensors(config, block);
    for (const { module, rows, columns } of [...qkv, ...output, ...gateUp, ...down]) {
      weights.matrix(module, rows, columns);
      groupOfCodes(recipe.codes, columns, module);
      if (recipe.codes !== null) writers[format].checkSize(module, { rows, columns });
    }
  }
}

/** Of all that decides what comes out. */
function fingerprintOf(
  checkpoint: Checkpoint,
  { raw }: ModelConfig,
  { recipe, windows, format, device }: CalibrateOptions,
): string {
  const hash = createHash('sha256');
  const tensors = [...checkpoint.tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape]);
  hash.update(JSON.stringify([raw, tensors, recipe, format, device === undefined ? 'cpu' : 'gpu']));
  for (const window of windows) hash.update(new Uint8Array(window.buffer, window.byteOffset, window.byteLength));
  return hash.digest('hex');
}

/** The type of the model's own weights, and of what becomes of them. */
function dtypeOf(checkpoint: Checkpoint, module: string): 'F16' | 'BF16' {
  return checkpoint.info(`${module}.weight`).dtype === 'BF16' ? 'BF16' : 'F16';
}

/** Runs the blocks that are not finished, and keeps each. */
async function solveBlocks(
  checkpoint: Checkpoint,
  config: ModelConfig,
  work: WorkFolder,
  options: CalibrateOptions,
): Promise<void> {
  if (work.finished(config.layers) === config.layers) return;
  const { device, threads, windows } = options;
  const size = calibrationSize(config, windows);
  if (device === undefined) {
    using cpu = new CpuCalibration(size, threads);
    return await solveOn(cpu, checkpoint, config, work, options);
  }
  using gpu = new GpuCalibration(device, size, threads);
  await solveOn(gpu, checkpoint, config, work, options);
}

async function solveOn<K extends Kinds>(
  device: CalibrationDevice<K>,
  checkpoint: Checkpoint,
  config: ModelConfig,
  work: WorkFolder,
  { windows, recipe, format, signal, onProgress }: CalibrateOptions,
): Promise<void> {
  const { layers } = config;
  const first = work.finished(layers);
  const weights = new Weights(checkpoint, config);
  const total = layers * STAGES * windows.length;
  let done = first * STAGES * windows.length;
  let block = first;
  const calibrator = new Calibrator(device, config, {
    windows,
    ...(signal === undefined ? {} : { signal }),
    onWindow: (label) => onProgress?.(++done, total, `block ${block + 1} of ${layers}: ${label}`),
  });
  const table = weights.matrix('model.embed_tokens', config.vocabSize, config.hiddenSize);
  const hidden = await calibrator.embedded(table);
  if (first > 0) work.readHidden(first, hidden);
  for (; block < layers; block++) {
    const tensors = blockTensors(config, block);
    const dtype = dtypeOf(checkpoint, tensors.down[0]!.module);
    const last = block === layers - 1;
    const solved = await calibrator.block(
      tensors,
      {
        floats: (module) => checkpoint.readFloats(`${module}.weight`),
        vector: (name, length) => weights.vector(name, length),
        dtype,
      },
      recipeFor(recipe, format, dtype),
      hidden,
      last,
    );
    work.writeBlock(
      block,
      solved.map((linear) => finishedOf(linear, dtype)),
    );
    if (!last) work.writeHidden(block + 1, hidden);
  }
}

function recipeFor({ codes, ...rest }: CalibratedRecipe, format: WrittenFormat, dtype: 'F16' | 'BF16'): Recipe {
  // Forms besides compressed-tensors have scales in f16 only.
  const scaleDtype: ScaleDtype = format === 'compressed-tensors' ? dtype : 'F16';
  return { ...rest, codes: codes === null ? null : { ...codes, scaleDtype } };
}

function finishedOf({ module, rows, columns, solved, damp }: SolvedLinear, dtype: 'F16' | 'BF16'): FinishedLinear {
  const { matrix, relativeError } = solved;
  const weights = solved.weights === null ? null : new Uint16Array(rows * columns);
  if (weights !== null && solved.weights !== null) (dtype === 'F16' ? encodeF16 : encodeBf16)(solved.weights, weights);
  return { module, rows, columns, matrix, weights, relativeError, damp };
}

async function writeModel(
  checkpoint: Checkpoint,
  finished: readonly FinishedLinear[],
  options: CalibrateOptions,
): Promise<Omit<CalibrateReport, 'continuedAt'>> {
  const { input, output, format, producer, recipe, shardBytes, signal } = options;
  const { codes } = recipe;
  const scheme: WrittenScheme | null =
    codes === null
      ? null
      : { group: codes.group, symmetric: codes.symmetric, activationOrder: false, ignore: ['lm_head'], producer };
  const byName = new Map(finished.map((linear) => [`${linear.module}.weight`, linear]));
  const jobs = [...checkpoint.tensors.values()].map((info): ShardJob => {
    const linear = byName.get(info.name);
    if (linear === undefined)
      return {
        label: info.name,
        specs: [info],
        write: async (file) => await copyTensor(checkpoint, info, file, signal),
      };
    return { label: info.name, ...partOf(linear, format, scheme, dtypeOf(checkpoint, linear.module)) };
  });
  const tensors = jobs.flatMap(({ label, specs }): CalibratedLinear[] => {
    const linear = byName.get(label);
    if (linear === undefined) return [];
    const { module, rows, columns, matrix, relativeError, damp } = linear;
    const bytesBefore = checkpoint.info(label).bytes;
    const group = matrix?.group ?? null;
    return [{ name: module, rows, columns, group, relativeError, damp, bytesBefore, bytesAfter: bytesOf(specs) }];
  });
  const weights = tensors.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  await makeFolder(output, async (folder) => {
    await writeShards(folder, jobs, shardBytes === undefined ? {} : { shardBytes });
    const json = scheme === null ? null : writers[format].configJson(scheme);
    const made = { producer, ...recipe, windows: options.windows.length, length: options.windows[0]!.length };
    writeSideFiles(input, folder, { ...(json === null ? {} : { quantization_config: json }), marlin_ts: made });
    const { configFile } = writers[format];
    if (json !== null && configFile !== null) writeJson(join(folder, configFile), json);
    signal?.throwIfAborted();
  });
  return {
    output,
    tensors,
    totals: {
      quantizedTensors: tensors.length,
      copiedTensors: jobs.length - tensors.length,
      relativeError: tensors.reduce((sum, { relativeError }) => sum + relativeError, 0) / tensors.length,
      bitsPerWeight: (8 * tensors.reduce((sum, { bytesAfter }) => sum + bytesAfter, 0)) / weights,
      bytesBefore: [...checkpoint.tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0),
      bytesAfter: bytesOf(jobs.flatMap(({ specs }) => specs)),
    },
  };
}

/** The tensors of a finished linear and how they are written. Errors: 'conversion-lossy'. */
function partOf(
  { module, rows, columns, matrix, weights }: FinishedLinear,
  format: WrittenFormat,
  scheme: WrittenScheme | null,
  dtype: 'F16' | 'BF16',
): Pick<ShardJob, 'specs' | 'write'> {
  if (matrix !== null && scheme !== null) {
    const writer = writers[format];
    writer.check(module, matrix);
    return {
      specs: writer.specs(module, matrix, scheme),
      write: async (file) => await Promise.resolve(writer.write(file, module, matrix, scheme)),
    };
  }
  if (weights === null) throw errors.internal(`${module} was neither rounded nor pruned`);
  const spec: TensorSpec = { name: `${module}.weight`, dtype, shape: [rows, columns] };
  const write = async (file: SafetensorsWriter): Promise<void> =>
    await Promise.resolve(
      file.write(spec.name, new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength)),
    );
  return { specs: [spec], write };
}
