// The Llama network (Touvron et al. 2023; also Mistral and Qwen2, which differ in biases only), written once over Ops.
import { errors } from '../base/errors.ts';
import type { ModelConfig } from '../formats/config.ts';
import { biasesOf, blockTensors, type LinearTensor } from './block-tensors.ts';
import type { Drawing, Kinds, Norm, Ops } from './ops.ts';
import { ropeFrequencies } from './rope.ts';
import type { WeightSource } from './weights.ts';

interface Layer<K extends Kinds> {
  readonly inputNorm: K['vector'];
  readonly qkv: K['matrix'];
  readonly qkvBias: K['vector'] | null;
  readonly output: K['matrix'];
  readonly outputBias: K['vector'] | null;
  readonly mlpNorm: K['vector'];
  readonly gateUp: K['matrix'];
  readonly gateUpBias: K['vector'] | null;
  readonly down: K['matrix'];
  readonly downBias: K['vector'] | null;
}

/** Logits computed at once: enough rows to pay for widening the head, at most 4 MB of them. */
function logitRows(vocabSize: number): number {
  return Math.max(1, Math.min(128, Math.floor(2 ** 20 / vocabSize)));
}

export class Llama<K extends Kinds> {
  readonly config: ModelConfig;
  /** Positions that a sequence may have. */
  readonly context: number;
  /** Tokens that one `forward` takes. */
  readonly maxTokens: number;
  private readonly ops: Ops<K>;
  private readonly embedding: K['matrix'];
  private readonly head: K['matrix'];
  private readonly norm: K['vector'];
  private readonly layers: readonly Layer<K>[];
  private readonly frequencies: Float64Array;
  private readonly freeCaches: K['cache'][];
  // Activations of one step, planned once.
  private readonly hidden: K['activation'];
  private readonly normed: K['activation'];
  private readonly qkv: K['activation'];
  private readonly attended: K['activation'];
  private readonly gateUp: K['activation'];
  private readonly gated: K['activation'];
  private readonly logitsOut: K['activation'];

  /** Brings all weights onto the device. `onLayer` is told how many layers are there. Errors: 'embedding-quantized', those of Weights and of the device. */
  constructor(
    ops: Ops<K>,
    config: ModelConfig,
    weights: WeightSource,
    context: number,
    onLayer?: (done: number, total: number) => void,
  ) {
    this.ops = ops;
    this.config = config;
    this.context = context;
    const { hiddenSize, headDim, heads, kvHeads, vocabSize, intermediateSize } = config;
    // The first sequence's room is planned before the weights come: what does not fit or cannot be is known at once.
    this.frequencies = ropeFrequencies(config);
    this.freeCaches = [this.newCache()];
    const embedding = weights.matrix('model.embed_tokens', vocabSize, hiddenSize);
    if (embedding.kind !== 'w16') throw errors.embeddingQuantized();
    this.embedding = ops.matrix([embedding]);
    this.head = config.tiedEmbeddings ? this.embedding : ops.matrix([weights.matrix('lm_head', vocabSize, hiddenSize)]);
    this.norm = ops.vector(weights.vector('model.norm.weight', hiddenSize));
    this.layers = Array.from({ length: config.layers }, (_, i) => {
      const layer = loadLayer(ops, config, weights, i);
      onLayer?.(i + 1, config.layers);
      return layer;
    });
    const tokens = ops.maxTokens;
    this.maxTokens = tokens;
    this.hidden = ops.activation(tokens, hiddenSize, 'wide');
    this.normed = ops.activation(tokens, hiddenSize, 'narrow');
    this.qkv = ops.activation(tokens, (heads + 2 * kvHeads) * headDim, 'narrow');
    this.attended = ops.activation(tokens, heads * headDim, 'narrow');
    this.gateUp = ops.activation(tokens, 2 * intermediateSize, 'narrow');
    this.gated = ops.activation(tokens, intermediateSize, 'narrow');
    this.logitsOut = ops.activation(logitRows(vocabSize), vocabSize, 'wide');
  }

  /** Room for the keys and values of one sequence of up to `context` positions; give it back when the sequence ends. */
  takeCache(): K['cache'] {
    return this.freeCaches.pop() ?? this.newCache();
  }

  returnCache(cache: K['cache']): void {
    this.freeCaches.push(cache);
  }

  private newCache(): K['cache'] {
    const { layers, heads, kvHeads, headDim } = this.config;
    return this.ops.cache({ layers, heads, kvHeads, headDim, context: this.context, frequencies: this.frequencies });
  }

  /** Runs up to ops.maxTokens tokens that stand at position, position + 1, ...; their last hidden states wait for `logits`. */
  forward(ids: Uint32Array, position: number, cache: K['cache']): void {
    this.ops.step(ids, position, cache, () => this.run(ids, position, cache));
  }

  private run(ids: Uint32Array, position: number, cache: K['cache']): void {
    const { ops, hidden, config } = this;
    const tokens = ids.length;
    const normedBy = (gain: K['vector']): Norm<K> => ({ gain, epsilon: config.rmsNormEps, into: this.normed });
    ops.embed(this.embedding, ids, hidden);
    for (const [i, layer] of this.layers.entries()) {
      ops.linear(layer.qkv, hidden, this.qkv, tokens, { bias: layer.qkvBias, norm: normedBy(layer.inputNorm) });
      ops.attention(this.qkv, cache, i, position, this.attended, tokens);
      ops.linear(layer.output, this.attended, hidden, tokens, { add: true, bias: layer.outputBias });
      const norm = normedBy(layer.mlpNorm);
      ops.gatedLinear(layer.gateUp, hidden, this.gateUp, this.gated, tokens, { bias: layer.gateUpBias, norm });
      ops.linear(layer.down, this.gated, hidden, tokens, { add: true, bias: layer.downBias });
    }
  }

  /** Logits of `count` tokens of the last `forward`, from token `first` on, a few rows at a time: [rows, vocabSize] each. */
  *logits(first: number, count: number): Generator<Float32Array> {
    const { ops, config } = this;
    const step = logitRows(config.vocabSize);
    for (let done = 0; done < count; done += step) {
      const rows = Math.min(step, count - done);
      this.toLogits(first + done, rows);
      yield ops.read(this.logitsOut, rows);
    }
  }

  /** Whether `draw` can be called. */
  get draws(): boolean {
    return this.ops.draw !== undefined;
  }

  /** Draws what follows the last forward, whose last token is `last`, on the device. */
  draw(last: number, drawing: Drawing): number {
    if (this.ops.draw === undefined) throw errors.internal('this device draws no tokens');
    this.toLogits(last, 1);
    return this.ops.draw(this.logitsOut, drawing);
  }

  private toLogits(first: number, rows: number): void {
    const { ops, config } = this;
    ops.rmsNorm(this.hidden, this.norm, config.rmsNormEps, this.normed, rows, first);
    ops.linear(this.head, this.normed, this.logitsOut, rows);
  }
}

function loadLayer<K extends Kinds>(ops: Ops<K>, config: ModelConfig, weights: WeightSource, index: number): Layer<K> {
  const { inputNorm, mlpNorm, qkv, output, gateUp, down } = blockTensors(config, index);
  const matrix = (linears: readonly LinearTensor[], options?: { readonly gates: boolean }): K['matrix'] =>
    ops.matrix(
      linears.map(({ module, rows, columns }) => weights.matrix(module, rows, columns)),
      options,
    );
  const bias = (linears: readonly LinearTensor[]): K['vector'] | null => {
    const values = biasesOf(linears, (name, length) => weights.vector(name, length));
    return values === null ? null : ops.vector(values);
  };
  const norm = (name: string): K['vector'] => ops.vector(weights.vector(name, config.hiddenSize));
  return {
    inputNorm: norm(inputNorm),
    qkv: matrix(qkv),
    qkvBias: bias(qkv),
    output: matrix(output),
    outputBias: bias(output),
    mlpNorm: norm(mlpNorm),
    gateUp: matrix(gateUp, { gates: !config.mlpBias }),
    gateUpBias: bias(gateUp),
    down: matrix(down),
    downBias: bias(down),
  };
}
