// Test support, used by tests only: small random models of the Llama family, and model folders made of tensors in memory.
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { encodeBf16, encodeF16 } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { quantizedSpecs } from '../formats/compressed-tensors.ts';
import { writeJson } from '../formats/files.ts';
import type { QuantizedMatrix } from '../formats/quantized.ts';
import { SafetensorsWriter, type TensorSpec } from '../formats/safetensors-writer.ts';

/** A tensor in memory; `bytes` as in a safetensors file. */
export interface Tensor extends TensorSpec {
  readonly bytes: Uint8Array;
}

/** config.json, as far as it matters here. */
export interface TinyConfig {
  readonly model_type: string;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly rope_scaling: Readonly<Record<string, unknown>> | null;
  readonly tie_word_embeddings: boolean;
  readonly attention_bias: boolean;
  readonly mlp_bias: boolean;
  readonly bos_token_id: number;
  readonly eos_token_id: number | readonly number[];
  readonly torch_dtype: 'float16' | 'bfloat16';
}

/** Nothing equals anything else by chance: heads x head_dim is not hidden_size, and the vocabulary is odd. */
const DEFAULTS: TinyConfig = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 61,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  rope_scaling: null,
  tie_word_embeddings: false,
  attention_bias: false,
  mlp_bias: false,
  bos_token_id: 0,
  eos_token_id: 1,
  torch_dtype: 'float16',
};

export interface TinyModel {
  readonly config: TinyConfig;
  readonly tensors: readonly Tensor[];
}

/**
 * A random model; `config` replaces fields of config.json. The deviations make attention peaked and every term of the network matter: a rotation by
 * the wrong position, a missing bias or a swapped matrix changes the logits by far more than rounding does.
 */
export function tinyModel(seed: number, changes: Partial<TinyConfig> = {}): TinyModel {
  const config = { ...DEFAULTS, ...changes };
  const { hidden_size: hidden, intermediate_size: ffn, vocab_size: vocab } = config;
  const query = config.num_attention_heads * config.head_dim;
  const keyValue = config.num_key_value_heads * config.head_dim;
  const random = new Random(seed);
  const dtype = config.torch_dtype === 'float16' ? 'F16' : 'BF16';
  const tensor = (name: string, shape: readonly number[], mean: number, deviation: number): Tensor => {
    const count = shape.reduce((product, size) => product * size, 1);
    const values = random.fillNormal(new Float32Array(count), deviation).map((value) => value + mean);
    return floatTensor(name, dtype, shape, values);
  };
  const norm = (name: string): Tensor => tensor(`${name}.weight`, [hidden], 1, 0.3);
  const linear = (name: string, rows: number, columns: number, gain: number, bias: boolean): Tensor[] => [
    tensor(`${name}.weight`, [rows, columns], 0, gain / Math.sqrt(columns)),
    ...(bias ? [tensor(`${name}.bias`, [rows], 0, 0.5)] : []),
  ];
  const llama = config.model_type === 'llama';
  const qkvBias = config.model_type === 'qwen2' || (llama && config.attention_bias);
  const layer = (name: string): Tensor[] => [
    norm(`${name}.input_layernorm`),
    ...linear(`${name}.self_attn.q_proj`, query, hidden, 1.5, qkvBias),
    ...linear(`${name}.self_attn.k_proj`, keyValue, hidden, 1.5, qkvBias),
    ...linear(`${name}.self_attn.v_proj`, keyValue, hidden, 1, qkvBias),
    ...linear(`${name}.self_attn.o_proj`, hidden, query, 1, llama && config.attention_bias),
    norm(`${name}.post_attention_layernorm`),
    ...linear(`${name}.mlp.gate_proj`, ffn, hidden, 1, llama && config.mlp_bias),
    ...linear(`${name}.mlp.up_proj`, ffn, hidden, 1, llama && config.mlp_bias),
    ...linear(`${name}.mlp.down_proj`, hidden, ffn, 1, llama && config.mlp_bias),
  ];
  return {
    config,
    tensors: [
      tensor('model.embed_tokens.weight', [vocab, hidden], 0, 1),
      ...Array.from({ length: config.num_hidden_layers }, (_, i) => layer(`model.layers.${i}`)).flat(),
      norm('model.norm'),
      ...(config.tie_word_embeddings ? [] : linear('lm_head', vocab, hidden, 1, false)),
    ],
  };
}

/** Values rounded to `dtype`. */
export function floatTensor(
  name: string,
  dtype: 'F16' | 'BF16' | 'F32',
  shape: readonly number[],
  values: Float32Array,
): Tensor {
  if (dtype === 'F32') return { name, dtype, shape, bytes: bytesOf(values) };
  const bits = new Uint16Array(values.length);
  (dtype === 'F16' ? encodeF16 : encodeBf16)(values, bits);
  return { name, dtype, shape, bytes: bytesOf(bits) };
}

/** The three tensors of a module stored in 4 bits. */
export function quantizedTensors(module: string, matrix: QuantizedMatrix): Tensor[] {
  const contents = [matrix.packed, matrix.scales, BigInt64Array.of(BigInt(matrix.rows), BigInt(matrix.columns))];
  return quantizedSpecs(module, matrix).map((spec, i) => ({ ...spec, bytes: bytesOf(contents[i]!) }));
}

/** `base` with every tensor of `replacement` in the place of all tensors of its module (`module.weight`, `module.weight_packed`, ...). */
export function replaceModules(base: readonly Tensor[], replacement: readonly Tensor[]): Tensor[] {
  const moduleOf = ({ name }: Tensor): string => name.slice(0, name.lastIndexOf('.weight'));
  const replaced = new Set(replacement.map(moduleOf));
  return [...base.filter((tensor) => !replaced.has(moduleOf(tensor))), ...replacement];
}

/** Writes config.json and model.safetensors into a new folder inside `root`; returns its path. */
export function writeModel(root: string, config: object, tensors: readonly Tensor[]): string {
  const folder = mkdtempSync(join(root, 'model-'));
  writeJson(join(folder, 'config.json'), config);
  using writer = SafetensorsWriter.create(join(folder, 'model.safetensors'), tensors);
  for (const { name, bytes } of tensors) writer.write(name, bytes);
  writer.commit();
  return folder;
}

/** All tensors of a model folder. */
export function readTensors(folder: string): Tensor[] {
  using checkpoint = Checkpoint.open(folder);
  return [...checkpoint.tensors.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    bytes: checkpoint.read(name),
  }));
}

function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
