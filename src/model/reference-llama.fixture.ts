// Test support, used by tests only: the whole Llama forward pass in float64, one token at a time over all earlier ones. It knows no kernel, no cache
// and nothing of llama.ts, so that a mistake there is not repeated here.
import { rmsNorm } from '../base/reference.ts';
import { denseProduct } from '../cpu/reference.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { type ModelConfig, readModelConfig, type RopeScaling } from '../formats/config.ts';
import { partsOf, quantizedModules, readQuantized } from '../formats/modules.ts';
import { dequantize } from '../formats/quantized.ts';

export interface ReferenceModel {
  readonly config: ModelConfig;
  /** Tensors by name; a quantized module under `module.weight`, as the values its codes stand for. */
  readonly weights: ReadonlyMap<string, Float32Array>;
}

export function readReference(folder: string): ReferenceModel {
  const config = readModelConfig(folder);
  using checkpoint = Checkpoint.open(folder);
  const weights = new Map<string, Float32Array>();
  const packed = new Set<string>();
  for (const { name, form } of quantizedModules(checkpoint)) {
    weights.set(`${name}.weight`, dequantize(readQuantized(checkpoint, name, config.quantization!)));
    for (const part of partsOf(checkpoint, name, form)) packed.add(part);
  }
  for (const name of checkpoint.tensors.keys()) if (!packed.has(name)) weights.set(name, checkpoint.readFloats(name));
  return { config, weights };
}

type Vector = Float64Array;

/**
 * Logits after each token, [tokens][vocabSize]. Which biases there are, and whether the head is the embedding, is decided by the tensors
 * that exist, not by config.json. Rotation: Hugging Face's half-split form, angles position * theta^(-2i / headDim).
 */
export function referenceLogits(model: ReferenceModel, ids: readonly number[]): Vector[] {
  const { hiddenSize, layers, rmsNormEps } = model.config;
  const weight = (name: string): Float32Array => {
    const found = model.weights.get(name);
    if (found === undefined) throw new Error(`no tensor ${name}`);
    return found;
  };
  const linear = (module: string, x: Vector): Vector => {
    const matrix = weight(`${module}.weight`);
    const y = denseProduct(matrix, matrix.length / x.length, x.length, x, 1);
    const bias = model.weights.get(`${module}.bias`);
    return bias === undefined ? y : y.map((value, i) => value + bias[i]!);
  };
  const norm = (module: string, x: Vector): Vector => rmsNorm(x, weight(`${module}.weight`), rmsNormEps);

  const embedding = weight('model.embed_tokens.weight');
  let states: Vector[] = ids.map((id) => Float64Array.from(embedding.subarray(id * hiddenSize, (id + 1) * hiddenSize)));
  for (let i = 0; i < layers; i++) {
    const name = `model.layers.${i}`;
    const normed = states.map((x) => norm(`${name}.input_layernorm`, x));
    const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((part) =>
      normed.map((x) => linear(`${name}.self_attn.${part}`, x)),
    );
    const attended = attention(model.config, q!, k!, v!);
    states = states.map((x, t) => add(x, linear(`${name}.self_attn.o_proj`, attended[t]!)));
    states = states.map((x) => {
      const y = norm(`${name}.post_attention_layernorm`, x);
      const up = linear(`${name}.mlp.up_proj`, y);
      const gated = linear(`${name}.mlp.gate_proj`, y).map((gate, j) => (gate / (1 + Math.exp(-gate))) * up[j]!);
      return add(x, linear(`${name}.mlp.down_proj`, gated));
    });
  }
  const head = model.weights.has('lm_head.weight') ? 'lm_head' : 'model.embed_tokens';
  return states.map((x) => linear(head, norm('model.norm', x)));
}

/** Causal attention, softmax(q . k / sqrt(headDim)) . v; query head h reads key head floor(h * kvHeads / heads). */
function attention(config: ModelConfig, q: readonly Vector[], k: readonly Vector[], v: readonly Vector[]): Vector[] {
  const { heads, kvHeads, headDim } = config;
  const turned = k.map((row, t) => rotate(config, row, t));
  return q.map((row, t) => {
    const query = rotate(config, row, t);
    const out = new Float64Array(heads * headDim);
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor((h * kvHeads) / heads);
      const scores: number[] = [];
      for (let s = 0; s <= t; s++) {
        let score = 0;
        for (let d = 0; d < headDim; d++) score += query[h * headDim + d]! * turned[s]![kv * headDim + d]!;
        scores.push(score / Math.sqrt(headDim));
      }
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let s = 0; s <= t; s++) {
        for (let d = 0; d < headDim; d++) {
          out[h * headDim + d] = out[h * headDim + d]! + (weights[s]! / total) * v[s]![kv * headDim + d]!;
        }
      }
    }
    return out;
  });
}

/** All heads of a row, each pair (i, i + headDim / 2) turned by its angle. */
function rotate({ headDim, ropeTheta, ropeScaling }: ModelConfig, row: Vector, position: number): Vector {
  const half = headDim / 2;
  const turned = new Float64Array(row.length);
  for (let i = 0; i < half; i++) {
    const angle = position * scaled(1 / Math.pow(ropeTheta, (2 * i) / headDim), ropeScaling);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    for (let head = 0; head < row.length; head += headDim) {
      const [a, b] = [row[head + i]!, row[head + half + i]!];
      turned[head + i] = a * cos - b * sin;
      turned[head + half + i] = b * cos + a * sin;
    }
  }
  return turned;
}

/** A frequency under the scaling, by wavelengths and cases as Llama 3.1 was released. */
export function scaled(frequency: number, scaling: RopeScaling | null): number {
  if (scaling === null) return frequency;
  if (scaling.type === 'linear') return frequency / scaling.factor;
  const { factor, lowFreqFactor, highFreqFactor, originalContextLength } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < originalContextLength / highFreqFactor) return frequency;
  if (wavelength > originalContextLength / lowFreqFactor) return frequency / factor;
  const smooth = (originalContextLength / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

function add(a: Vector, b: Vector): Vector {
  return a.map((value, i) => value + b[i]!);
}
