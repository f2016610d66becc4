// One block of a network, run stage by stage over calibration windows: what the inputs of each linear say is summed up, the linear is quantized by it, and
// the stage goes on with the quantized one, so that every linear sees the inputs it will have (GPTQ's "true sequential"). Knows no file.
import { setImmediate } from 'node:timers/promises';
import { encodeBf16, encodeF16 } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import { addGram, clearGram, type Gram, newGram, readGram } from '../cpu/gram.ts';
import type { Address } from '../cpu/heap.ts';
import type { Activation } from '../cpu/matrix.ts';
import type { ModelConfig } from '../formats/config.ts';
import { biasesOf, type BlockTensors, type LinearTensor } from '../model/block-tensors.ts';
import { type CpuKinds, CpuOps } from '../model/cpu.ts';
import { ropeFrequencies } from '../model/rope.ts';
import type { MatrixSource } from '../model/weights.ts';
import { curvatureOf } from '../quantize/curvature.ts';
import { solve, type Solved, type SolveOptions } from '../quantize/solve.ts';
import { NarrowStore, type Store, WideStore } from './store.ts';

/** How linears are quantized. */
export interface Recipe extends SolveOptions {
  readonly damp: number;
  readonly actOrder: boolean;
}

export interface SolvedLinear extends LinearTensor {
  readonly solved: Solved;
  /** What was needed: the recipe's, unless inputs said too little. */
  readonly damp: number;
  readonly seconds: number;
}

/** What a block needs of its checkpoint. */
export interface BlockSource {
  /** [rows, columns] */
  readonly floats: (module: string) => Float32Array;
  readonly vector: (name: string, length: number) => Float32Array;
  /** What weights that are only pruned are kept in. */
  readonly dtype: 'F16' | 'BF16';
}

export interface CalibratorOptions {
  readonly windows: number;
  /** Tokens of a window. */
  readonly length: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  /** A window has passed a stage. */
  readonly onWindow?: (label: string) => void;
}

/** Passes of all windows through a block. */
export const STAGES = 5;

type Cache = CpuKinds['cache'];

export class Calibrator implements Disposable {
  private readonly ops: CpuOps;
  private readonly config: ModelConfig;
  private readonly options: CalibratorOptions;
  private readonly cache: Cache;
  private readonly hidden: Activation;
  private readonly normed: Activation;
  private readonly qkv: Activation;
  private readonly attended: Activation;
  private readonly gateUp: Activation;
  private readonly gated: Activation;
  private readonly grams = new Map<number, Gram>();
  /** What goes from stage to stage besides the hidden state: attended, then gated. */
  private readonly room: ArrayBuffer;
  private readonly packed: Address;

  constructor(config: ModelConfig, options: CalibratorOptions) {
    const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
    const { windows, length, threads } = options;
    const attention = heads * headDim;
    const widest = Math.max(hiddenSize, intermediateSize, attention);
    this.config = config;
    this.options = options;
    this.ops = new CpuOps({ context: length, maxColumns: widest, ...(threads === undefined ? {} : { threads }) });
    const { ops } = this;
    this.hidden = ops.activation(length, hiddenSize);
    this.normed = ops.activation(length, hiddenSize);
    this.qkv = ops.activation(length, (heads + 2 * kvHeads) * headDim);
    this.attended = ops.activation(length, attention);
    this.gateUp = ops.activation(length, 2 * intermediateSize);
    this.gated = ops.activation(length, intermediateSize);
    for (const width of [hiddenSize, attention, intermediateSize])
      if (!this.grams.has(width)) this.grams.set(width, newGram(ops.cpu.heap, width, length));
    const shape = { layers: 1, heads, kvHeads, headDim, context: length, frequencies: ropeFrequencies(config) };
    this.cache = ops.cache(shape);
    ops.cpu.reserve(length, widest, 8);
    const bytes = ops.cpu.packedBytes(length, Math.max(attention, intermediateSize));
    this.packed = ops.cpu.heap.allocate(bytes);
    this.room = new ArrayBuffer(windows * bytes);
  }

  /** The hidden states of tokens before the first block: rows of the embedding, [vocabSize, hiddenSize]. */
  embedded(table: MatrixSource, windows: readonly Uint32Array[]): WideStore {
    const { ops, hidden } = this;
    const { length } = this.options;
    return ops.cpu.heap.scope(() => {
      const matrix = ops.matrix([table]);
      const store = new WideStore(ops.cpu, windows.length, length, this.config.hiddenSize);
      for (const [i, ids] of windows.entries()) {
        ops.embed(matrix, ids, hidden);
        store.keep(i, hidden);
      }
      return store;
    });
  }

  /**
   * Quantizes the linears of a block by `hidden`, the states before it, which become those behind it; where `last`, nobody asks for those. Errors:
   * those of `solve` and `curvatureOf`, the signal's reason.
   */
  async block(
    tensors: BlockTensors,
    source: BlockSource,
    recipe: Recipe,
    hidden: Store,
    last: boolean,
  ): Promise<readonly SolvedLinear[]> {
    const { ops, cache, normed, qkv, attended, gateUp, gated } = this;
    const { heap } = ops.cpu;
    const mark = heap.mark();
    const { length } = this.options;
    const { rmsNormEps, intermediateSize, heads, headDim } = this.config;
    const norm = (name: string): CpuKinds['vector'] => ops.vector(source.vector(name, this.config.hiddenSize));
    const [inputNorm, mlpNorm] = [norm(tensors.inputNorm), norm(tensors.mlpNorm)];
    const toNormed = (gain: CpuKinds['vector']): void => ops.rmsNorm(this.hidden, gain, rmsNormEps, normed, length);
    const store = (width: number): Store =>
      new NarrowStore(ops.cpu, this.options.windows, length, width, this.room, this.packed);
    const state = this.hidden;

    const ofQkv = await this.quantized(tensors.qkv, source, recipe, 'inputs of attention', (window) => {
      hidden.bring(window, state);
      toNormed(inputNorm);
      return normed;
    });
    const attentions = store(heads * headDim);
    const ofOutput = await this.quantized(tensors.output, source, recipe, 'attention', (window) => {
      hidden.bring(window, state);
      toNormed(inputNorm);
      ops.linear(ofQkv.matrix, normed, qkv, length, { bias: ofQkv.bias });
      ops.attention(qkv, cache, 0, 0, attended, length);
      attentions.keep(window, attended);
      return attended;
    });
    const ofGateUp = await this.quantized(tensors.gateUp, source, recipe, 'inputs of the MLP', (window) => {
      hidden.bring(window, state);
      attentions.bring(window, attended);
      ops.linear(ofOutput.matrix, attended, state, length, { add: true, bias: ofOutput.bias });
      hidden.keep(window, state);
      toNormed(mlpNorm);
      return normed;
    });
    const gates = store(intermediateSize);
    const ofDown = await this.quantized(tensors.down, source, recipe, 'the MLP', (window) => {
      hidden.bring(window, state);
      toNormed(mlpNorm);
      ops.gatedLinear(ofGateUp.matrix, normed, gateUp, gated, length, { bias: ofGateUp.bias });
      gates.keep(window, gated);
      return gated;
    });
    if (!last)
      await this.pass('outputs', (window) => {
        hidden.bring(window, state);
        gates.bring(window, gated);
        ops.linear(ofDown.matrix, gated, state, length, { add: true, bias: ofDown.bias });
        hidden.keep(window, state);
      });
    heap.release(mark);
    return [ofQkv, ofOutput, ofGateUp, ofDown].flatMap(({ linears }) => linears);
  }

  /** Quantizes linears of one input, which `inputOf` makes of a window, and loads what came out. */
  private async quantized(
    linears: readonly LinearTensor[],
    source: BlockSource,
    recipe: Recipe,
    label: string,
    inputOf: (window: number) => Activation,
  ): Promise<{
    readonly linears: readonly SolvedLinear[];
    readonly matrix: CpuKinds['matrix'];
    readonly bias: CpuKinds['vector'] | null;
  }> {
    const { ops } = this;
    const { pool, heap } = ops.cpu;
    const { windows, length } = this.options;
    const { columns } = linears[0]!;
    const gram = this.grams.get(columns);
    if (gram === undefined) throw errors.internal(`no sums for inputs of width ${columns}`);
    await this.pass(label, (window) => addGram(pool, gram, inputOf(window), length));
    const hessian = readGram(heap, gram);
    clearGram(heap, gram);
    const { damp, actOrder } = recipe;
    const modules = linears.map(({ module }) => module).join(', ');
    const curvature = curvatureOf(pool, modules, hessian, columns, { damp, actOrder, tokens: windows * length });
    const solved = linears.map((linear): SolvedLinear => {
      const start = performance.now();
      const result = solve(pool, linear.module, source.floats(linear.module), curvature, recipe);
      return { ...linear, solved: result, damp: curvature.damp, seconds: (performance.now() - start) / 1000 };
    });
    const biases = biasesOf(linears, source.vector);
    return {
      linears: solved,
      matrix: ops.matrix(solved.map((one) => matrixSource(one, source.dtype))),
      bias: biases === null ? null : ops.vector(biases),
    };
  }

  private async pass(label: string, body: (window: number) => void): Promise<void> {
    const { windows, signal, onWindow } = this.options;
    for (let window = 0; window < windows; window++) {
      await setImmediate();
      signal?.throwIfAborted();
      body(window);
      onWindow?.(label);
    }
  }

  [Symbol.dispose](): void {
    this.ops[Symbol.dispose]();
  }
}

/** What a linear became, as a device loads it. */
function matrixSource({ module, rows, columns, solved }: SolvedLinear, dtype: 'F16' | 'BF16'): MatrixSource {
  const { matrix, weights } = solved;
  if (matrix !== null) return { kind: 'w4', name: module, rows, columns, read: () => matrix };
  if (weights === null) throw errors.internal(`${module} was neither rounded nor pruned`);
  const encode = dtype === 'F16' ? encodeF16 : encodeBf16;
  return { kind: 'w16', name: module, rows, columns, dtype, read: (target) => encode(weights, target) };
}
