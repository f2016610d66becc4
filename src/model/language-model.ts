// Opens a model folder on a device: configuration, weights, room for sequences. Knows no text and no command line.
import { errors } from '../base/errors.ts';
import type { ActivationBits } from '../cpu/rounding.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import {
  type GenerationDefaults,
  type ModelConfig,
  readGenerationDefaults,
  readModelConfig,
} from '../formats/config.ts';
import { CpuOps } from './cpu.ts';
import { Llama } from './llama.ts';
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
  newSequence(): Sequence;
}

/**
 * Opens a folder with config.json and safetensors.
 * Errors: 'device-unavailable', 'context-too-long', those of reading the folder (formats/) and of the device (such as 'columns-unsupported').
 */
export function openModel(path: string, options: OpenModelOptions = {}): LanguageModel {
  if (options.device === 'cuda') throw errors.deviceUnavailable('cuda', 'this version has no GPU backend');
  const config = readModelConfig(path);
  const context = options.context ?? config.contextLength;
  if (context > config.contextLength) throw errors.contextTooLong(context, config.contextLength);
  using checkpoint = Checkpoint.open(path);
  using resources = new DisposableStack();
  const ops = resources.use(
    new CpuOps({
      context,
      maxColumns: Math.max(config.hiddenSize, config.intermediateSize, config.heads * config.headDim),
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      ...(options.activationBits === undefined ? {} : { bits: options.activationBits }),
    }),
  );
  const network = new Llama(ops, config, new Weights(checkpoint, config), context, options.onProgress);
  const defaults = readGenerationDefaults(path);
  const owned = resources.move();
  return {
    path,
    device: ops.device,
    config,
    defaults,
    eosTokenIds: new Set(defaults.eosTokenIds.length > 0 ? defaults.eosTokenIds : config.eosTokenIds),
    context,
    newSequence: () => newSequence(network),
    [Symbol.dispose]: () => owned.dispose(),
  };
}
