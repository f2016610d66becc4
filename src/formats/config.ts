// What a model's config.json and generation_config.json say, checked, in our words. Knows which architectures exist, not how they compute.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { errors } from '../base/errors.ts';
import { check, objectSchema, readJson } from './files.ts';
import { parseQuantizationConfig } from './modules.ts';
import type { Json, QuantizationConfig, QuantizationMethod } from './quantization.ts';

export type ModelType = 'llama' | 'mistral' | 'qwen2';

export type RopeScaling =
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalContextLength: number;
    };

export interface ModelConfig {
  readonly modelType: ModelType;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  /**
   * max_position_embeddings; for a model with a sliding window, at most the window. Inside it full attention is the same, so the
   * window needs no support of its own, at the price of a shorter context.
   */
  readonly contextLength: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  /** The head is the embedding; `lm_head.weight` is then absent. */
  readonly tiedEmbeddings: boolean;
  /** A bias on q_proj, k_proj and v_proj. */
  readonly attentionBias: boolean;
  /** A bias on o_proj. */
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  /** float32 if not said, as in transformers. The tensors themselves may differ. */
  readonly torchDtype: TorchDtype;
  readonly quantization: QuantizationConfig | null;
  /** The whole of config.json. To write it again, `readJsonVerbatim` keeps the spelling of its numbers. */
  readonly raw: Readonly<Record<string, unknown>>;
}

export type TorchDtype = 'float16' | 'bfloat16' | 'float32';

/** Sampling defaults a model's authors chose; null: not said. */
export interface GenerationDefaults {
  readonly temperature: number | null;
  readonly topK: number | null;
  readonly topP: number | null;
  readonly minP: number | null;
  readonly repetitionPenalty: number | null;
  readonly doSample: boolean | null;
  /** Where not empty, these stand before those of config.json. */
  readonly eosTokenIds: readonly number[];
}

const MODEL_TYPES: readonly ModelType[] = ['llama', 'mistral', 'qwen2'];

const count = z.int().positive();
const positive = z.number().positive();
const tokenId = z.int().nonnegative();
const tokenIds = z
  .union([tokenId, z.array(tokenId)])
  .nullish()
  .transform((ids) => (ids === null || ids === undefined ? [] : [ids].flat()));

const kindSchema = z.object({ model_type: z.string() });

const ropeSchema = z.object({
  rope_type: z.string().nullish(),
  type: z.string().nullish(), // the name of rope_type before transformers 4.43
  rope_theta: positive.nullish(),
  partial_rotary_factor: z.number().nullish(),
  factor: positive.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  original_max_position_embeddings: count.nullish(),
});

const modelSchema = z.object({
  hidden_act: z.string().nullish(),
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  vocab_size: count,
  max_position_embeddings: count,
  rms_norm_eps: positive,
  rope_theta: positive.nullish(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(), // transformers 5: rope_scaling and rope_theta in one
  partial_rotary_factor: z.number().nullish(),
  sliding_window: count.nullish(),
  use_sliding_window: z.boolean().nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  bos_token_id: tokenId.nullish(),
  eos_token_id: tokenIds,
  torch_dtype: z.string().nullish(),
  dtype: z.string().nullish(), // transformers 5
  quantization_config: z.unknown().optional(),
  compression_config: z.unknown().optional(), // its name in older compressed-tensors files
});

type RawModel = z.infer<typeof modelSchema>;
type RawRope = z.infer<typeof ropeSchema>;

const generationSchema = z.object({
  temperature: z.number().nonnegative().nullish(),
  top_k: z.int().nonnegative().nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: positive.nullish(),
  do_sample: z.boolean().nullish(),
  eos_token_id: tokenIds,
});

/** Where tools describe a quantization that config.json does not, and the method where they do not say it. */
const QUANTIZATION_FILES: readonly (readonly [name: string, method: QuantizationMethod])[] = [
  ['quantize_config.json', 'gptq'],
  ['quant_config.json', 'awq'],
];

/**
 * Reads `config.json` of a model folder, and what lies beside it where its quantization has a file of its own. Errors: `file-not-found`, `json-invalid` (a field missing, of the wrong kind, or at odds with another),
 * `architecture-unsupported`, `config-unsupported`, `quantization-unsupported`.
 */
export function readModelConfig(folder: string): ModelConfig {
  const path = join(folder, 'config.json');
  const config = parseModelConfig(readJson(path, objectSchema), path);
  return config.quantization === null ? { ...config, quantization: quantizationBeside(folder) } : config;
}

function quantizationBeside(folder: string): QuantizationConfig | null {
  for (const [name, method] of QUANTIZATION_FILES) {
    const path = join(folder, name);
    if (existsSync(path)) return parseQuantizationConfig(readJson(path, objectSchema), path, method);
  }
  return null;
}

/** The same from the parsed JSON of config.json alone; `path`: for messages. */
export function parseModelConfig(raw: Json, path: string): ModelConfig {
  const kind = check(raw, kindSchema, path).model_type;
  const modelType = MODEL_TYPES.find((known) => known === kind);
  if (modelType === undefined) throw errors.architectureUnsupported(path, kind, MODEL_TYPES.join(', '));
  const json = check(raw, modelSchema, path);
  if ((json.hidden_act ?? 'silu') !== 'silu')
    throw errors.configUnsupported(path, 'hidden_act', json.hidden_act!, 'silu');
  const heads = json.num_attention_heads;
  const kvHeads = json.num_key_value_heads ?? heads;
  if (heads % kvHeads !== 0) {
    throw errors.jsonInvalid(path, `num_key_value_heads ${kvHeads} does not divide num_attention_heads ${heads}`);
  }
  const quantization = json.quantization_config ?? json.compression_config ?? null;
  return {
    modelType,
    hiddenSize: json.hidden_size,
    intermediateSize: json.intermediate_size,
    layers: json.num_hidden_layers,
    heads,
    kvHeads,
    headDim: headDim(json, path),
    vocabSize: json.vocab_size,
    contextLength: contextLength(json, modelType),
    rmsNormEps: json.rms_norm_eps,
    ropeTheta: json.rope_parameters?.rope_theta ?? json.rope_theta ?? 10_000,
    ropeScaling: ropeScaling(json, path),
    tiedEmbeddings: json.tie_word_embeddings ?? false,
    attentionBias: modelType === 'qwen2' || (modelType === 'llama' && json.attention_bias === true),
    outputBias: modelType === 'llama' && json.attention_bias === true,
    mlpBias: modelType === 'llama' && json.mlp_bias === true,
    bosTokenId: json.bos_token_id ?? null,
    eosTokenIds: json.eos_token_id,
    torchDtype: torchDtype(json, path),
    quantization: quantization === null ? null : parseQuantizationConfig(quantization, path),
    raw,
  };
}

/** Reads `generation_config.json` of a model folder; without that file nothing is said. Errors: `file-unreadable`, `json-invalid`. */
export function readGenerationDefaults(folder: string): GenerationDefaults {
  const path = join(folder, 'generation_config.json');
  const json = existsSync(path) ? readJson(path, generationSchema) : check({}, generationSchema, path);
  return {
    temperature: json.temperature ?? null,
    topK: json.top_k ?? null,
    topP: json.top_p ?? null,
    minP: json.min_p ?? null,
    repetitionPenalty: json.repetition_penalty ?? null,
    doSample: json.do_sample ?? null,
    eosTokenIds: json.eos_token_id,
  };
}

function headDim(json: RawModel, path: string): number {
  const size = json.head_dim ?? json.hidden_size / json.num_attention_heads;
  if (!Number.isInteger(size)) {
    throw errors.jsonInvalid(
      path,
      `num_attention_heads ${json.num_attention_heads} does not divide hidden_size ${json.hidden_size}`,
    );
  }
  if (size % 2 !== 0) throw errors.jsonInvalid(path, `head_dim ${size} is odd; rotary positions need pairs`);
  return size;
}

function contextLength(json: RawModel, modelType: ModelType): number {
  const full = json.max_position_embeddings;
  // Qwen2 files carry a window even where it is off.
  const windowed = modelType === 'mistral' || (modelType === 'qwen2' && json.use_sliding_window === true);
  return windowed ? Math.min(full, json.sliding_window ?? full) : full;
}

function torchDtype(json: RawModel, path: string): TorchDtype {
  const dtype = json.torch_dtype ?? json.dtype ?? 'float32';
  if (dtype === 'float16' || dtype === 'bfloat16' || dtype === 'float32') return dtype;
  throw errors.configUnsupported(path, 'torch_dtype', dtype, 'float16, bfloat16 or float32');
}

function ropeScaling(json: RawModel, path: string): RopeScaling | null {
  const rope = json.rope_parameters ?? json.rope_scaling ?? null;
  const part = rope?.partial_rotary_factor ?? json.partial_rotary_factor ?? 1;
  if (part !== 1) throw errors.configUnsupported(path, 'partial_rotary_factor', String(part), '1');
  if (rope === null) return null;
  const type = rope.rope_type ?? rope.type ?? 'default';
  switch (type) {
    case 'default':
      return null;
    case 'linear':
      return { type, factor: required(rope, 'factor', path) };
    case 'llama3':
      return {
        type,
        factor: required(rope, 'factor', path),
        lowFreqFactor: required(rope, 'low_freq_factor', path),
        highFreqFactor: required(rope, 'high_freq_factor', path),
        originalContextLength: required(rope, 'original_max_position_embeddings', path),
      };
    default:
      throw errors.configUnsupported(path, 'the rope_type of its position scaling', type, 'default, linear or llama3');
  }
}

type RopeNumber = 'factor' | 'low_freq_factor' | 'high_freq_factor' | 'original_max_position_embeddings';

function required(rope: RawRope, field: RopeNumber, path: string): number {
  const value = rope[field];
  if (value === null || value === undefined) throw errors.jsonInvalid(path, `the rope scaling has no ${field}`);
  return value;
}
