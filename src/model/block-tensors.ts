// How the tensors of a Llama block are named and shaped in a checkpoint: said once, for who runs blocks and who quantizes them. Knows no device.
import type { ModelConfig } from '../formats/config.ts';

export interface LinearTensor {
  /** Such as 'model.layers.0.self_attn.q_proj'; its weight is `${module}.weight`. */
  readonly module: string;
  readonly rows: number;
  readonly columns: number;
  /** Whether the config says that it has one, `${module}.bias`. */
  readonly bias: boolean;
}

export interface BlockTensors {
  /** Names of vectors of hiddenSize. */
  readonly inputNorm: string;
  readonly mlpNorm: string;
  /** Linears with one input stand together, in the order that activations have. */
  readonly qkv: readonly LinearTensor[];
  readonly output: readonly LinearTensor[];
  readonly gateUp: readonly LinearTensor[];
  readonly down: readonly LinearTensor[];
}

export function blockTensors(config: ModelConfig, layer: number): BlockTensors {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  const name = `model.layers.${layer}`;
  const linear = (part: string, rows: number, columns: number, bias: boolean): LinearTensor => ({
    module: `${name}.${part}`,
    rows,
    columns,
    bias,
  });
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  return {
    inputNorm: `${name}.input_layernorm.weight`,
    mlpNorm: `${name}.post_attention_layernorm.weight`,
    qkv: [
      linear('self_attn.q_proj', q, hiddenSize, config.attentionBias),
      linear('self_attn.k_proj', kv, hiddenSize, config.attentionBias),
      linear('self_attn.v_proj', kv, hiddenSize, config.attentionBias),
    ],
    output: [linear('self_attn.o_proj', hiddenSize, q, config.outputBias)],
    gateUp: [
      linear('mlp.gate_proj', intermediateSize, hiddenSize, config.mlpBias),
      linear('mlp.up_proj', intermediateSize, hiddenSize, config.mlpBias),
    ],
    down: [linear('mlp.down_proj', hiddenSize, intermediateSize, config.mlpBias)],
  };
}

/** The biases of linears with one input, one after another; null where they have none. */
export function biasesOf(
  linears: readonly LinearTensor[],
  vector: (name: string, length: number) => Float32Array,
): Float32Array | null {
  if (!linears[0]!.bias) return null;
  return Float32Array.from(linears.flatMap(({ module, rows }) => [...vector(`${module}.bias`, rows)]));
}
