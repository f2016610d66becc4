// Converts a quantized model folder from one 4-bit form into another, module by module, exactly or not at all. Nothing is rounded here.
import { join } from 'node:path';
import { errors } from '../base/errors.ts';
import { f16ToNumber } from '../base/f16.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { readModelConfig } from '../formats/config.ts';
import { writeJson } from '../formats/files.ts';
import type { WrittenScheme } from '../formats/gptq-config.ts';
import { partsOf, quantizedModules, readGroups, readQuantized } from '../formats/modules.ts';
import type { QuantizationConfig, QuantizationMethod } from '../formats/quantization.ts';
import type { TensorSpec } from '../formats/safetensors-writer.ts';
import { type FormatWriter, type MatrixForm, type WrittenFormat, writers } from '../formats/written.ts';
import { makeFolder, refuseExisting, writeSideFiles } from './folder.ts';
import { bytesOf, copyTensor, letAbort, type ShardJob, type ShardOptions, writeShards } from './shards.ts';

export interface ConvertOptions extends ShardOptions {
  /** Folder of a quantized model. */
  readonly input: string;
  /** Folder to make; its parent must exist, it must not (or be empty). */
  readonly output: string;
  readonly format: WrittenFormat;
  /** Who writes, as "tool:version"; stands in the description of GPTQ files. */
  readonly producer: string;
  readonly signal?: AbortSignal;
}

export interface ConvertReport {
  readonly output: string;
  readonly from: QuantizationMethod;
  readonly format: WrittenFormat;
  readonly group: number | 'channel';
  /** Whether every zero point is 8. */
  readonly symmetric: boolean;
  readonly activationOrder: boolean;
  readonly convertedModules: number;
  readonly copiedTensors: number;
  /** Of all tensors. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** A quantized module and what it becomes. */
interface Plan {
  readonly name: string;
  /** Names of the tensors it is read from. */
  readonly parts: readonly string[];
  readonly specs: readonly TensorSpec[];
}

/**
 * Writes the model in `input` with the same codes, zero points and scales in another form; every other tensor is copied as stored, tokenizer and other
 * small files too. All modules are checked before anything is written; on an error or abort nothing is left behind.
 * Errors: `not-quantized`, `conversion-lossy`, `output-exists`, `output-unwritable`, those of `readModelConfig`, `Checkpoint` and `readQuantized`; the
 * signal's reason when aborted.
 */
export async function convertCheckpoint(options: ConvertOptions): Promise<ConvertReport> {
  const { input, output, format, signal } = options;
  signal?.throwIfAborted();
  const { quantization } = readModelConfig(input);
  using checkpoint = Checkpoint.open(input);
  const config = describedBy(quantization, checkpoint);
  refuseExisting(output);
  const writer = writers[format];
  const { scheme, plans } = await plan(checkpoint, config, options);
  const jobs = jobsOf(checkpoint, config, plans, scheme, writer, signal);
  return await makeFolder(output, async (folder) => {
    await writeShards(folder, jobs, options);
    const json = writer.configJson(scheme);
    writeSideFiles(input, folder, { quantization_config: json });
    if (writer.configFile !== null) writeJson(join(folder, writer.configFile), json);
    signal?.throwIfAborted();
    const { group, symmetric, activationOrder } = scheme;
    return {
      output,
      from: config.method,
      format,
      group,
      symmetric,
      activationOrder,
      convertedModules: plans.size,
      copiedTensors: jobs.length - plans.size,
      bytesBefore: [...checkpoint.tensors.values()].reduce((sum, info) => sum + info.bytes, 0),
      bytesAfter: bytesOf(jobs.flatMap((job) => job.specs)),
    };
  });
}

function describedBy(config: QuantizationConfig | null, checkpoint: Checkpoint): QuantizationConfig {
  const { path } = checkpoint;
  const stored = quantizedModules(checkpoint).length > 0;
  if (!stored) throw errors.notQuantized(path);
  if (config !== null) return config;
  const expected = 'a description of the quantized tensors that are there';
  throw errors.quantizationUnsupported(join(path, 'config.json'), 'quantization_config', 'nothing', expected);
}

/** Looks at the scales and zero points of all modules: what the whole is, and whether the form can hold it. Errors: `conversion-lossy`, those of reading. */
async function plan(
  checkpoint: Checkpoint,
  config: QuantizationConfig,
  { format, producer, signal }: ConvertOptions,
): Promise<{ readonly scheme: WrittenScheme; readonly plans: ReadonlyMap<string, Plan> }> {
  const modules = quantizedModules(checkpoint);
  const shapes: MatrixForm[] = [];
  let [symmetric, activationOrder] = [true, false];
  for (const { name } of modules) {
    await letAbort(signal);
    const groups = readGroups(checkpoint, name, config);
    writers[format].check(name, groups);
    refuseRounded(checkpoint, name, groups.scales, format);
    symmetric &&= groups.zeroPoints === null;
    activationOrder ||= groups.groupOf !== undefined;
    const { rows, columns, group, scaleDtype } = groups;
    shapes.push({ rows, columns, group, scaleDtype });
  }
  const quantized = new Set(modules.map(({ name }) => name));
  const ignore = unquantizedLinears(checkpoint).filter((name) => !quantized.has(name));
  const scheme: WrittenScheme = { group: config.group, symmetric, activationOrder, ignore, producer };
  const plans = modules.map(({ name, form }, i): [string, Plan] => [
    name,
    {
      name,
      parts: partsOf(checkpoint, name, form),
      specs: writers[format].specs(name, shapes[i]!, scheme),
    },
  ]);
  return { scheme, plans: new Map(plans) };
}

/** Scales in F32 are read as F16; a conversion must not round. */
function refuseRounded(checkpoint: Checkpoint, module: string, scales: Uint16Array, format: WrittenFormat): void {
  const name = `${module}.weight_scale`;
  if (checkpoint.tensors.get(name)?.dtype !== 'F32') return;
  const stored = checkpoint.readFloats(name);
  const bad = stored.findIndex((scale, i) => scale !== f16ToNumber(scales[i]!));
  if (bad < 0) return;
  const what = `its scale ${stored[bad]!} is F32 and would have to be rounded to F16`;
  throw errors.conversionLossy(module, format, what, 'Convert a checkpoint whose scales have 16 bits');
}

/** Names of matrices that engines take for Linear modules, the head among them even where it is the embedding. */
function unquantizedLinears(checkpoint: Checkpoint): string[] {
  const matrices = [...checkpoint.tensors.values()].filter(
    ({ name, shape }) => name.endsWith('.weight') && shape.length === 2,
  );
  const names = matrices.map(({ name }) => name.slice(0, -'.weight'.length));
  return [...new Set(['lm_head', ...names.filter((name) => !/(^|\.)embed_tokens$/.test(name))])];
}

/** One job for each module and each tensor that is copied, in the order of the checkpoint. */
function jobsOf(
  checkpoint: Checkpoint,
  config: QuantizationConfig,
  plans: ReadonlyMap<string, Plan>,
  scheme: WrittenScheme,
  writer: FormatWriter,
  signal: AbortSignal | undefined,
): ShardJob[] {
  const planOf = new Map([...plans.values()].flatMap((each) => each.parts.map((part) => [part, each] as const)));
  const begun = new Set<Plan>();
  return [...checkpoint.tensors.values()].flatMap((info): ShardJob[] => {
    const module = planOf.get(info.name);
    if (module === undefined) {
      return [
        { label: info.name, specs: [info], write: async (file) => await copyTensor(checkpoint, info, file, signal) },
      ];
    }
    if (begun.has(module)) return [];
    begun.add(module);
    const { name, specs } = module;
    return [
      {
        label: name,
        specs,
        write: async (file) => {
          await letAbort(signal);
          writer.write(file, name, readQuantized(checkpoint, name, config), scheme);
        },
      },
    ];
  });
}
