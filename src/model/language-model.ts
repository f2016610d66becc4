// Opens a model folder on a device: configuration, weights, room for sequences. Knows no text and no command line.
import { errors, MarlinError } from '../base/errors.ts';
import type { ActivationBits } from '../cpu/rounding.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import {
  type GenerationDefaults,
  type ModelConfig,
  readGenerationDefaults,
  readModelConfig,
} from '../formats/config.ts';
import type { Device } from '../device/device.ts';
import { openDevice } from '../device/open.ts';
import { CpuOps } from './cpu.ts';
import { checkMemory } from './gpu/memory.ts';
import { GpuOps } from './gpu/ops.ts';
import { Llama } from './llama.ts';
import type { Kinds, Ops } from './ops.ts';
import { newSequence, type Sequence } from './sequence.ts';
import { Weights } from './weights.ts';

export type DeviceName = 'auto' | 'cpu' | 'cuda';

export interface OpenModelOptions {
  /** 'auto' takes the best device there is. */
  readonly device?: DeviceName;
  /** CPU threads; default one a core. */
  readonly threads?: number;
  /** Positions of a sequence; default what the model was trained for. Its keys and values are planned for all of them. */
  readonly context?: number;
  /** How the CPU rounds activations for 4-bit weights (docs/numerics.md). */
  readonly activationBits?: ActivationBits;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface LanguageModel extends Disposable {
  readonly path: string;
  readonly device: string;
  readonly config: ModelConfig;
  readonly defaults: GenerationDefaults;
  /** Token ids that end a text. */
  readonly eosTokenIds: ReadonlySet<number>;
  readonly context: number;
  /** Tokens that are read at once. */
  readonly stepTokens: number;
  newSequence(): Sequence;
}

/**
 * Opens a folder with config.json and safetensors on the CPU; `loadModel` knows GPUs.
 * Errors: 'device-unavailable', 'context-too-long', those of reading the folder (formats/) and of the device (such as 'columns-unsupported').
 */
export function openModel(path: string, options: OpenModelOptions = {}): LanguageModel {
  if (options.device === 'cuda') throw errors.deviceUnavailable('cuda', 'openModel is for the CPU, loadModel for GPUs');
  const { config, context } = settle(path, options);
  using resources = new DisposableStack();
  const ops = resources.use(
    new CpuOps({
      context,
      maxColumns: Math.max(config.hiddenSize, config.intermediateSize, config.heads * config.headDim),
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      ...(options.activationBits === undefined ? {} : { bits: options.activationBits }),
    }),
  );
  return build(path, config, context, ops, resources, options);
}

/** The same on a GPU, or a simulated one; the device stays its owner's. Errors also: 'model-too-large', 'weight-overflow'. */
export function openModelOn(device: Device, path: string, options: OpenModelOptions = {}): LanguageModel {
  const { config, context } = settle(path, options);
  using resources = new DisposableStack();
  const ops = resources.use(new GpuOps(device));
  checkMemory(config, context, ops.maxTokens, device.freeBytes());
  return build(path, config, context, ops, resources, options);
}

/** Why a GPU that is there does not come into question for a model; what else goes wrong with it is told. */
const UNSUITED: ReadonlySet<string> = new Set(['model-too-large', 'weight-overflow']);

/**
 * Opens a folder on the device of a name: 'auto' takes a GPU that is usable and has room for the model, else the CPU. `open`: how a GPU is opened.
 * Errors: those of `openModel`, `openModelOn` and `openNvidia`.
 */
export async function loadModel(
  path: string,
  options: OpenModelOptions = {},
  open: () => Promise<Device> = async () => await openDevice('nvidia'),
): Promise<LanguageModel> {
  const { device = 'auto', ...others } = options;
  if (device === 'cpu') return openModel(path, options);
  const wanted = device === 'cuda';
  let gpu: Device;
  try {
    gpu = await open();
  } catch (error) {
    if (wanted || !(error instanceof MarlinError)) throw error;
    return openModel(path, others);
  }
  using owned = new DisposableStack();
  owned.use(gpu);
  try {
    const model = owned.use(openModelOn(gpu, path, others));
    const both = owned.move();
    return { ...model, [Symbol.dispose]: () => both.dispose() };
  } catch (error) {
    if (wanted || !(error instanceof MarlinError && UNSUITED.has(error.code))) throw error;
    return openModel(path, others);
  }
}

interface Settled {
  readonly config: ModelConfig;
  readonly context: number;
}

function settle(path: string, options: OpenModelOptions): Settled {
  const config = readModelConfig(path);
  const context = options.context ?? config.contextLength;
  if (context > config.contextLength) throw errors.contextTooLong(context, config.contextLength);
  return { config, context };
}

/** Brings the weights in; on success the model owns `resources`. */
function build<K extends Kinds>(
  path: string,
  config: ModelConfig,
  context: number,
  ops: Ops<K>,
  resources: DisposableStack,
  { onProgress }: OpenModelOptions,
): LanguageModel {
  using checkpoint = Checkpoint.open(path);
  const network = new Llama(ops, config, new Weights(checkpoint, config), context, onProgress);
  const defaults = readGenerationDefaults(path);
  const owned = resources.move();
  return {
    path,
    device: ops.device,
    config,
    defaults,
    eosTokenIds: new Set(defaults.eosTokenIds.length > 0 ? defaults.eosTokenIds : config.eosTokenIds),
    context,
    stepTokens: network.maxTokens,
    newSequence: () => newSequence(network),
    [Symbol.dispose]: () => owned.dispose(),
  };
}
