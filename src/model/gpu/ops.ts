// Ops over a Device: a residual in f32, activations in f16, logits in f32. A step of one token is recorded as a graph and replayed: positions and
// token ids are read from device memory. Knows no network.
import { errors } from '../../base/errors.ts';
import type { Device, DeviceBuffer, DeviceGraph } from '../../device/device.ts';
import { siluColumns } from '../../kernels/activation/kernel.ts';
import {
  counterBytes,
  decodeGrid,
  type DecodeShape,
  decodeSplits,
  partialBytes,
} from '../../kernels/attention/decode.ts';
import { prefillTiles } from '../../kernels/attention/prefill.ts';
import { embedColumns } from '../../kernels/embedding/kernel.ts';
import { MarlinKernels } from '../../kernels/marlin/op.ts';
import { ropeColumns } from '../../kernels/rope/kernel.ts';
import { DRAW_WORDS, drawWords, NO_TOKEN } from '../../kernels/sampling/kernel.ts';
import { STATE_IDS, STATE_POSITION, STATE_TOKENS } from '../../kernels/vectors.ts';
import { has } from '../../ptx/builder.ts';
import type { CacheShape, Drawing, Ops, Precision, ProductOptions } from '../ops.ts';
import type { MatrixSource } from '../weights.ts';
import { BIAS_MULTIPLE, type DeviceLinear, type LinearHost, loadLinear, paddedRows } from './linear.ts';
import { type Programs, programsOn } from './programs.ts';

/** [tokens, width padded to 8] */
export interface GpuActivation {
  readonly buffer: DeviceBuffer;
  readonly width: number;
  readonly pitch: number;
  readonly precision: Precision;
}

export interface GpuCache {
  readonly shape: DecodeShape;
  /** For each layer [kvHeads, context, headDim] f16. */
  readonly keys: readonly DeviceBuffer[];
  readonly values: readonly DeviceBuffer[];
  /** [context, headDim / 2] f32 */
  readonly cosines: DeviceBuffer;
  readonly sines: DeviceBuffer;
  /** Partial softmaxes of a step of one token. */
  readonly partial: DeviceBuffer;
  readonly counters: DeviceBuffer;
  /** The step of one token: first its kernels are loaded by a step that is not recorded. */
  recording: 'none' | 'loaded' | DeviceGraph;
}

export interface GpuKinds {
  readonly activation: GpuActivation;
  readonly matrix: DeviceLinear;
  readonly vector: DeviceBuffer;
  readonly cache: GpuCache;
}

/** Tokens of a step: enough of them that the products are bound by arithmetic, not by reading weights. */
const MAX_TOKENS = 1024;

export class GpuOps implements Ops<GpuKinds> {
  readonly device: string;
  readonly maxTokens: number;
  readonly gpu: Device;
  private readonly owned = new DisposableStack();
  protected readonly host: LinearHost;
  private readonly programs: Programs;
  private readonly overlap: boolean;
  /** Position, tokens and ids of the step. */
  private readonly state: DeviceBuffer;
  /** What it holds as far as the host knows: the device goes on by itself when it draws. */
  private known: readonly number[] = [];
  private readonly drawing: DeviceBuffer;
  private drawn: Uint32Array = new Uint32Array(0);
  private readonly token: DeviceBuffer;
  private tables: (Pick<GpuCache, 'cosines' | 'sines'> & { readonly frequencies: Float64Array }) | null = null;

  /** The device stays its owner's. */
  constructor(gpu: Device, { maxTokens = MAX_TOKENS }: { readonly maxTokens?: number } = {}) {
    this.gpu = gpu;
    this.device = gpu.name;
    this.maxTokens = maxTokens;
    this.programs = programsOn(gpu, this.owned);
    this.overlap = has(gpu.facts.arch, 'sm_90');
    this.host = {
      device: gpu,
      programs: this.programs,
      marlin: this.owned.use(new MarlinKernels(gpu)),
      overlap: this.overlap,
      allocate: (bytes, label) => this.allocate(bytes, label),
    };
    this.state = this.allocate(4 * (STATE_IDS + maxTokens), 'the state of a step');
    this.drawing = this.allocate(4 * DRAW_WORDS, 'sampling parameters');
    this.token = this.allocate(4, 'the next token');
  }

  private allocate(bytes: number, label: string): DeviceBuffer {
    return this.owned.use(this.gpu.allocate(bytes, label));
  }

  activation(tokens: number, width: number, precision: Precision): GpuActivation {
    const pitch = paddedRows(width);
    return { buffer: this.allocate(bytesOf(precision) * tokens * pitch, 'activations'), width, pitch, precision };
  }

  /** Errors: those of `loadLinear`. */
  matrix(sources: readonly MatrixSource[], options: { readonly gates?: boolean } = {}): DeviceLinear {
    return loadLinear(this.host, sources, options);
  }

  vector(values: Float32Array): DeviceBuffer {
    const padded = new Float32Array(BIAS_MULTIPLE * Math.ceil(values.length / BIAS_MULTIPLE));
    padded.set(values);
    const buffer = this.allocate(padded.byteLength, 'a norm or bias');
    buffer.write(padded);
    return buffer;
  }

  /** Errors: 'head-dim-unsupported'. */
  cache({ layers, heads, kvHeads, headDim, context, frequencies }: CacheShape): GpuCache {
    if (headDim % 32 !== 0 || headDim > 256) throw errors.headDimUnsupported(headDim);
    const sizes = { heads, kvHeads, headDim, context };
    const shape = { ...sizes, splits: decodeSplits(sizes, this.gpu.facts.multiprocessors), overlap: this.overlap };
    const block = (label: string): readonly DeviceBuffer[] =>
      Array.from({ length: layers }, () => this.allocate(2 * kvHeads * context * headDim, label));
    const counters = this.allocate(counterBytes(shape), 'counters of attention');
    counters.write(new Uint8Array(counters.bytes));
    return {
      shape,
      counters,
      keys: block('keys'),
      values: block('values'),
      partial: this.allocate(partialBytes(shape), 'partial softmaxes'),
      ...this.rotation(frequencies, context),
      recording: 'none',
    };
  }

  /** Cosines and sines of all positions, computed in float64, shared by all caches. */
  private rotation(frequencies: Float64Array, context: number): Pick<GpuCache, 'cosines' | 'sines'> {
    if (this.tables?.frequencies !== frequencies) {
      const half = frequencies.length;
      const table = (f: (angle: number) => number): DeviceBuffer => {
        const buffer = this.allocate(4 * context * half, 'rotations');
        buffer.write(
          Float32Array.from({ length: context * half }, (_, i) => f(Math.floor(i / half) * frequencies[i % half]!)),
        );
        return buffer;
      };
      this.tables = { frequencies, cosines: table(Math.cos), sines: table(Math.sin) };
    }
    return { cosines: this.tables.cosines, sines: this.tables.sines };
  }

  step(ids: Uint32Array, position: number, cache: GpuCache, body: () => void): void {
    this.tell(ids, position);
    if (ids.length > 1) return body();
    if (cache.recording === 'none') {
      cache.recording = 'loaded';
      return body();
    }
    if (cache.recording === 'loaded') cache.recording = this.owned.use(this.gpu.graph(body));
    return cache.recording.launch();
  }

  /** Writes the step's state, unless the device has made it itself. */
  private tell(ids: Uint32Array, position: number): void {
    const words = new Uint32Array(STATE_IDS + ids.length);
    words[STATE_POSITION] = position;
    words[STATE_TOKENS] = ids.length;
    words.set(ids, STATE_IDS);
    const state = Array.from(words);
    if (state.length === this.known.length && state.every((word, i) => word === this.known[i])) return;
    // The step before may still be reading it.
    this.gpu.synchronize();
    this.state.write(words);
    this.known = state;
  }

  embed(table: DeviceLinear, ids: Uint32Array, y: GpuActivation): void {
    if (table.table === null) throw errors.internal('rows can be looked up in a 16-bit matrix only');
    const { overlap } = this;
    this.programs
      .embed({ width: y.width, type: 'f16', overlap })
      .launch([embedColumns(y.width), ids.length], { table: table.table, state: this.state, y: y.buffer }, { overlap });
  }

  rmsNorm(x: GpuActivation, gain: DeviceBuffer, epsilon: number, y: GpuActivation, tokens: number, first = 0): void {
    const { overlap } = this;
    const args = { x: x.buffer, gain, y: y.buffer, epsilon, first };
    this.programs.rmsNorm({ width: x.width, overlap }).launch([tokens], args, { overlap });
  }

  linear(
    weights: DeviceLinear,
    x: GpuActivation,
    y: GpuActivation,
    tokens: number,
    { add = false, bias = null, norm }: ProductOptions<GpuKinds> & { readonly add?: boolean } = {},
  ): void {
    const output = y.precision === 'narrow' ? 'f16' : add ? 'add-f32' : 'f32';
    if (add && output === 'f16') throw errors.internal('only wide activations are added to');
    const call = { y: y.buffer, tokens, output, bias } as const;
    if (norm === undefined) return weights.bind({ ...call, x: x.buffer }).launch();
    if (weights.norms(tokens)) return weights.bind({ ...call, x: x.buffer, norm }).launch();
    this.rmsNorm(x, norm.gain, norm.epsilon, norm.into, tokens);
    return weights.bind({ ...call, x: norm.into.buffer }).launch();
  }

  attention(
    qkv: GpuActivation,
    cache: GpuCache,
    layer: number,
    _position: number,
    y: GpuActivation,
    tokens: number,
  ): void {
    const { overlap, programs, state } = this;
    const { cosines, sines, shape, partial, counters } = cache;
    const { heads, kvHeads, headDim, context } = shape;
    const all = { qkv: qkv.buffer, keys: cache.keys[layer]!, values: cache.values[layer]!, state };
    if (tokens === 1) {
      programs
        .decodeAttention(shape)
        .launch(decodeGrid(shape), { ...all, cosines, sines, partial, counters, y: y.buffer }, { overlap });
      return;
    }
    const sizes = { heads, kvHeads, headDim, context, overlap };
    programs.ropeAndStore(sizes).launch([ropeColumns(shape), tokens], { ...all, cosines, sines }, { overlap });
    programs.prefillAttention(sizes).launch([prefillTiles(tokens), heads], { ...all, y: y.buffer }, { overlap });
  }

  gatedLinear(
    weights: DeviceLinear,
    x: GpuActivation,
    between: GpuActivation,
    y: GpuActivation,
    tokens: number,
    options: ProductOptions<GpuKinds> = {},
  ): void {
    if (weights.gates) return this.linear(weights, x, y, tokens, options);
    this.linear(weights, x, between, tokens, options);
    const { overlap } = this;
    const { width } = y;
    this.programs
      .siluMultiply({ width, overlap })
      .launch([siluColumns(width), tokens], { x: between.buffer, y: y.buffer }, { overlap });
  }

  read({ buffer, width, pitch }: GpuActivation, tokens: number): Float32Array {
    const padded = new Float32Array(tokens * pitch);
    buffer.read(padded);
    if (pitch === width) return padded;
    const values = new Float32Array(tokens * width);
    for (let token = 0; token < tokens; token++)
      values.set(padded.subarray(token * pitch, token * pitch + width), token * width);
    return values;
  }

  /** Errors: 'logits-not-drawable'. */
  draw(logits: GpuActivation, drawing: Drawing): number {
    this.enqueueDraw(logits, drawing);
    const token = new Uint32Array(1);
    this.token.read(token);
    const [drawn] = token;
    if (drawn === undefined || drawn === NO_TOKEN) throw errors.logitsNotDrawable();
    const last = this.known[STATE_POSITION]! + this.known[STATE_TOKENS]!;
    const next = new Uint32Array(STATE_IDS + 1);
    [next[STATE_POSITION], next[STATE_TOKENS], next[STATE_IDS]] = [last, 1, drawn];
    this.known = Array.from(next);
    return drawn;
  }

  /** The draw alone: the device knows the next step, the host does not yet. */
  enqueueDraw({ buffer, width, pitch }: GpuActivation, drawing: Drawing): void {
    const { overlap, state } = this;
    const words = drawWords(drawing);
    if (words.some((word, i) => word !== this.drawn[i])) {
      this.gpu.synchronize();
      this.drawing.write(words);
      this.drawn = words;
    }
    const args = { logits: buffer, draw: this.drawing, tokens: this.token, state };
    this.programs.sample({ vocabulary: width, pitch, advance: true, overlap }).launch([1], args, { overlap });
  }

  [Symbol.dispose](): void {
    this.owned.dispose();
  }
}

const bytesOf = (precision: Precision): number => (precision === 'wide' ? 4 : 2);
