// What a model needs of a device's memory, known before any of it is taken. Pure arithmetic on shapes.
import { errors } from '../../base/errors.ts';
import type { ModelConfig } from '../../formats/config.ts';
import { STRIP_K, STRIP_ROWS, stripBytes } from '../../kernels/marlin/layout.ts';
import { packedGroup } from '../../kernels/marlin/pack.ts';

export interface MemoryPlan {
  /** Matrices of layers with as many bits as they are quantized to, tables in 16; norms and biases left out as they are small. */
  readonly weights: number;
  /** Keys and values of one sequence, for one position. */
  readonly cachePerPosition: number;
  /** Of a step. */
  readonly activations: number;
}

/** Bytes that programs, graphs and the driver's own needs may take besides. */
const SPARE = 256 * 2 ** 20;

export function planMemory(config: ModelConfig, maxTokens: number): MemoryPlan {
  const { hiddenSize, intermediateSize, layers, heads, kvHeads, headDim, vocabSize, quantization } = config;
  const query = heads * headDim;
  const keyValue = 2 * kvHeads * headDim;
  const ofLayer = hiddenSize * (2 * query + keyValue + 3 * intermediateSize);
  const tables = (config.tiedEmbeddings ? 1 : 2) * vocabSize * hiddenSize;
  const narrow = hiddenSize + query + keyValue + query + 3 * intermediateSize;
  return {
    weights: layers * ofLayer * bytesOfWeight(quantization) + 2 * tables,
    cachePerPosition: 2 * layers * keyValue + 4 * headDim,
    activations: maxTokens * (2 * narrow + 4 * hiddenSize) + 4 * Math.min(128 * vocabSize, 2 ** 20),
  };
}

/** Bytes of a weight of a layer: a code and its share of a scale, or 16 bits where it is not quantized or cannot be packed. */
function bytesOfWeight(quantization: ModelConfig['quantization']): number {
  if (quantization === null || quantization.activationOrder) return 2;
  const group = quantization.group === 'channel' ? STRIP_K : packedGroup(quantization.group, 0);
  if (group === null) return 2;
  return stripBytes({ group, zeroPoints: !quantization.symmetric }) / (STRIP_ROWS * STRIP_K);
}

/** Errors: 'model-too-large', with the numbers and the --context that would fit. */
export function checkMemory(config: ModelConfig, context: number, maxTokens: number, free: number): void {
  const { weights, cachePerPosition, activations } = planMemory(config, maxTokens);
  const cache = context * cachePerPosition;
  if (weights + cache + activations + SPARE <= free) return;
  const most = Math.floor((free - weights - activations - SPARE) / cachePerPosition);
  throw errors.modelTooLarge({
    needed: weights + cache + activations + SPARE,
    weights,
    cache,
    activations: activations + SPARE,
    free,
    context,
    fits: Math.max(0, most),
  });
}
