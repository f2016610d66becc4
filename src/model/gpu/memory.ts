// What a model needs of a device's memory, known before any of it is taken. Pure arithmetic on shapes.
import { errors } from '../../base/errors.ts';
import type { ModelConfig } from '../../formats/config.ts';

export interface MemoryPlan {
  /** All matrices in 16 bits, norms and biases left out as they are small. */
  readonly weights: number;
  /** Keys and values of one sequence, for one position. */
  readonly cachePerPosition: number;
  /** Of a step. */
  readonly activations: number;
}

/** Bytes that programs, graphs and the driver's own needs may take besides. */
const SPARE = 256 * 2 ** 20;

export function planMemory(config: ModelConfig, maxTokens: number): MemoryPlan {
  const { hiddenSize, intermediateSize, layers, heads, kvHeads, headDim, vocabSize } = config;
  const query = heads * headDim;
  const keyValue = 2 * kvHeads * headDim;
  const ofLayer = hiddenSize * (2 * query + keyValue + 3 * intermediateSize);
  const tables = (config.tiedEmbeddings ? 1 : 2) * vocabSize * hiddenSize;
  const narrow = hiddenSize + query + keyValue + query + 3 * intermediateSize;
  return {
    weights: 2 * (layers * ofLayer + tables),
    cachePerPosition: 2 * layers * keyValue + 4 * headDim,
    activations: maxTokens * (2 * narrow + 4 * hiddenSize) + 4 * Math.min(128 * vocabSize, 2 ** 20),
  };
}

/** Errors: 'model-too-large', with the numbers and the --context that would fit. */
export function checkMemory(config: ModelConfig, context: number, maxTokens: number, free: number): void {
  const { weights, cachePerPosition, activations } = planMemory(config, maxTokens);
  const cache = context * cachePerPosition;
  if (weights + cache + activations + SPARE <= free) return;
  const most = Math.floor((free - weights - activations - SPARE) / cachePerPosition);
  throw errors.modelTooLarge({
    weights,
    cache,
    activations: activations + SPARE,
    free,
    context,
    fits: Math.max(0, most),
  });
}
