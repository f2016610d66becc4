// One block of a network, run stage by stage over calibration windows: what the inputs of each linear say is summed up, the linear is quantized by it, and
// the stage goes on with the quantized one, so that every linear sees the inputs it will have (GPTQ's "true sequential"). Knows no file and no device.
import { setImmediate } from 'node:timers/promises';
import { encodeBf16, encodeF16 } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import type { ModelConfig } from '../formats/config.ts';
import { biasesOf, type BlockTensors, type LinearTensor } from '../model/block-tensors.ts';
import type { Kinds } from '../model/ops.ts';
import { ropeFrequencies } from '../model/rope.ts';
import type { MatrixSource } from '../model/weights.ts';
import { curvatureOf } from '../quantize/curvature.ts';
import { solve, type Solved, type SolveOptions } from '../quantize/solve.ts';
import type { CalibrationDevice, CalibrationSize, Store, WideStore } from './device.ts';

/** How linears are quantized. */
export interface Recipe extends SolveOptions {
  readonly damp: number;
  readonly actOrder: boolean;
}

export interface SolvedLinear extends LinearTensor {
  readonly solved: Solved;
  /** What was needed: the recipe's, unless inputs said too little. */
  readonly damp: number;
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
  /** Tokens, all windows of the same length. */
  readonly windows: readonly Uint32Array[];
  readonly signal?: AbortSignal;
  /** A window has passed a stage. */
  readonly onWindow?: (label: string) => void;
}

/** Passes of all windows through a block. */
export const STAGES = 5;

/** What a device has to make room for. */
export function calibrationSize(config: ModelConfig, windows: readonly Uint32Array[]): CalibrationSize {
  const { hiddenSize, intermediateSize, heads, headDim } = config;
  const widths = [...new Set([hiddenSize, heads * headDim, intermediateSize])];
  return { windows: windows.length, length: windows[0]!.length, widths };
}

export class Calibrator<K extends Kinds> {
  private readonly device: CalibrationDevice<K>;
  private readonly config: ModelConfig;
  private readonly options: CalibratorOptions;
  private readonly length: number;
  private readonly cache: K['cache'];
  private readonly hidden: K['activation'];
  private readonly normed: K['activation'];
  private readonly qkv: K['activation'];
  private readonly attended: K['activation'];
  private readonly gateUp: K['activation'];
  private readonly gated: K['activation'];

  /** The device stays its owner's. */
  constructor(device: CalibrationDevice<K>, config: ModelConfig, options: CalibratorOptions) {
    const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
    const { length } = options.windows[0]!;
    const { ops } = device;
    this.device = device;
    this.config = config;
    this.options = options;
    this.length = length;
    this.hidden = ops.activation(length, hiddenSize, 'wide');
    this.normed = ops.activation(length, hiddenSize, 'narrow');
    this.qkv = ops.activation(length, (heads + 2 * kvHeads) * headDim, 'narrow');
    this.attended = ops.activation(length, heads * headDim, 'narrow');
    this.gateUp = ops.activation(length, 2 * intermediateSize, 'narrow');
    this.gated = ops.activation(length, intermediateSize, 'narrow');
    const frequencies = ropeFrequencies(config);
    this.cache = ops.cache({ layers: 1, heads, kvHeads, headDim, context: length, frequencies });
  }

  /** The hidden states of tokens before the first block: rows of the embedding, [vocabSize, hiddenSize]. */
  async embedded(table: MatrixSource): Promise<WideStore<K>> {
    const { ops } = this.device;
    const store = this.device.wide(this.config.hiddenSize);
    return await this.device.scope(async () => {
      const matrix = ops.matrix([table]);
      for (const [i, ids] of this.options.windows.entries()) {
        this.step(i, () => ops.embed(matrix, ids, this.hidden));
        store.keep(i, this.hidden);
      }
      return await Promise.resolve(store);
    });
  }

  /** Runs a window's part of a pass: its tokens stand at the beginning. */
  private step(window: number, body: () => void): void {
    this.device.ops.step(this.options.windows[window]!, 0, this.cache, body);
  }

  /**
   * Quantizes the linears of a block by `hidden`, the states before it, which become those behind it; where `last`, nobody asks for those. Errors:
   * those of `solve` and `curvatureOf`, the signal's reason.
   */
  async block(
    tensors: BlockTensors,
    source: BlockSource,
    recipe: Recipe,
    hidden: Store<K>,
    last: boolean,
  ): Promise<readonly SolvedLinear[]> {
    return await this.device.scope(async () => await this.stages(tensors, source, recipe, hidden, last));
  }

  private async stages(
    tensors: BlockTensors,
    source: BlockSource,
    recipe: Recipe,
    hidden: Store<K>,
    last: boolean,
  ): Promise<readonly SolvedLinear[]> {
    const { device, cache, normed, qkv, attended, gateUp, gated, length } = this;
    const { ops } = device;
    const { rmsNormEps, intermediateSize, heads, headDim } = this.config;
    const norm = (name: string): K['vector'] => ops.vector(source.vector(name, this.config.hiddenSize));
    const [inputNorm, mlpNorm] = [norm(tensors.inputNorm), norm(tensors.mlpNorm)];
    const toNormed = (gain: K['vector']): void => ops.rmsNorm(this.hidden, gain, rmsNormEps, normed, length);
    const state = this.hidden;

    const ofQkv = await this.quantized(tensors.qkv, source, recipe, 'inputs of attention', (window) => {
      hidden.bring(window, state);
      toNormed(inputNorm);
      return normed;
    });
    const attentions = device.narrow(heads * headDim);
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
    const gates = device.narrow(intermediateSize);
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
    return [ofQkv, ofOutput, ofGateUp, ofDown].flatMap(({ linears }) => linears);
  }

  /** Quantizes linears of one input, which `inputOf` makes of a window, and loads what came out. */
  private async quantized(
    linears: readonly LinearTensor[],
    source: BlockSource,
    recipe: Recipe,
    label: string,
    inputOf: (window: number) => K['activation'],
  ): Promise<Quantized<K>> {
    const { ops, pool } = this.device;
    const { columns } = linears[0]!;
    await this.pass(label, (window) => this.device.add(window, inputOf(window)));
    const { damp, actOrder } = recipe;
    const modules = linears.map(({ module }) => module).join(', ');
    const tokens = this.options.windows.length * this.length;
    const curvature = curvatureOf(pool, modules, this.device.take(columns), columns, { damp, actOrder, tokens });
    const solved = linears.map((linear): SolvedLinear => {
      const result = solve(pool, linear.module, source.floats(linear.module), curvature, recipe);
      return { ...linear, solved: result, damp: curvature.damp };
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
    for (let window = 0; window < windows.length; window++) {
      await setImmediate();
      signal?.throwIfAborted();
      this.step(window, () => body(window));
      onWindow?.(label);
    }
  }
}

/** Linears of one input, loaded. */
interface Quantized<K extends Kinds> {
  readonly linears: readonly SolvedLinear[];
  readonly matrix: K['matrix'];
  readonly bias: K['vector'] | null;
}

/** What a linear became, as a device loads it. */
function matrixSource({ module, rows, columns, solved }: SolvedLinear, dtype: 'F16' | 'BF16'): MatrixSource {
  const { matrix, weights } = solved;
  if (matrix !== null) return { kind: 'w4', name: module, rows, columns, read: () => matrix };
  if (weights === null) throw errors.internal(`${module} was neither rounded nor pruned`);
  const encode = dtype === 'F16' ? encodeF16 : encodeBf16;
  return { kind: 'w16', name: module, rows, columns, dtype, read: (target) => encode(weights, target) };
}
