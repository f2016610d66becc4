// The operations of a Llama block on the CPU: named parameters here, positional ones to the kernels. Knows no network and no file.
import { errors } from '../base/errors.ts';
import type { Address, Heap } from './heap.ts';
import {
  type Activation,
  allocateActivation,
  fromToken,
  type Matrix,
  type W16Matrix,
  type W4Matrix,
} from './matrix.ts';
import { Pool, type PoolOptions } from './pool.ts';
import type { ActivationBits } from './rounding.ts';

/** Rows of a tile of the 4-bit matrix kernel (assembly/w4.ts). */
const TILE_ROWS = 12;
/** What it keeps in a thread's scratch: the totals of 64 tiles and the codes of one chunk. */
const W4_SCRATCH_BYTES = 64 * 192 + 16 * 128;
/** Tokens that the kernels for 16-bit weights and attention take together (assembly/panel.ts). */
const PANEL_ROWS = 6;
/** Numbers that share a scale in a packed row (assembly/elementwise.ts). */
const PACKED = 128;

/** Attention's view of the key/value cache of one layer (layout: assembly/attention.ts). */
export interface CpuCache {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions, a multiple of 32. */
  readonly capacity: number;
  /** One [kvHeads, capacity, headDim] f32 block a layer. */
  readonly keys: readonly Address[];
  readonly values: readonly Address[];
  /** [capacity, headDim / 2] f32 */
  readonly cosines: Address;
  readonly sines: Address;
}

export interface CpuOptions {
  /** Default: one a core. */
  readonly threads?: number;
  /** Positions that attention may see; the scratch of a thread grows with it. */
  readonly context: number;
  /** Widest input of a 16-bit matrix, in columns. */
  readonly maxColumns: number;
  readonly simd?: PoolOptions['simd'];
}

export class Cpu implements Disposable {
  readonly pool: Pool;
  private rounded: {
    readonly rows: Address;
    readonly scales: Address;
    readonly sums: Address;
    readonly bytes: number;
  } | null = null;

  constructor(options: CpuOptions) {
    const scratchBytes = Math.max(
      W4_SCRATCH_BYTES,
      PANEL_ROWS * 4 * roundUp(options.context, 32),
      32 * roundUp(options.maxColumns, 8),
    );
    this.pool = new Pool({
      scratchBytes,
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      ...(options.simd === undefined ? {} : { simd: options.simd }),
    });
  }

  /** Takes the room now that products of so many tokens and columns need beside their operands, so that what is allocated later can be released. */
  reserve(tokens: number, columns: number, bits: ActivationBits): void {
    const tokensPerTile = bits === 16 ? TILE_ROWS / 2 : TILE_ROWS;
    this.roundedFor(Math.ceil(tokens / tokensPerTile) * Math.ceil(columns / 8) * TILE_ROWS * 8);
    this.idsAddress(tokens);
  }

  get heap(): Heap {
    return this.pool.heap;
  }

  activation(tokens: number, width: number): Activation {
    return allocateActivation(this.heap, tokens, width);
  }

  /** A vector of f32 (norm gain, bias), padded with zeros to a multiple of 8. */
  vector(values: Float32Array): Address {
    const address = this.heap.allocate(roundUp(values.length, 8) * 4);
    this.heap.floats(address, values.length).set(values);
    return address;
  }

  /** y[token] = table[ids[token]], widened to f32. */
  embed(table: W16Matrix, ids: Uint32Array, y: Activation): void {
    const address = this.idsAddress(ids.length);
    this.heap.words(address, ids.length).set(ids);
    this.pool.run(
      'w16Rows',
      [table.weights, table.stride, Number(table.bf16), table.scale, address, ids.length, y.address, y.stride],
      ids.length,
      ids.length,
    );
  }

  private ids: { readonly address: Address; readonly count: number } | null = null;

  private idsAddress(count: number): Address {
    if (this.ids === null || this.ids.count < count) this.ids = { address: this.heap.allocate(count * 4), count };
    return this.ids.address;
  }

  /** y = x * gain / sqrt(mean(x^2) + epsilon), each token for itself. */
  rmsNorm(x: Activation, gain: Address, epsilon: number, y: Activation, tokens: number): void {
    if (x.stride !== y.stride) throw errors.internal('rmsNorm between activations of different width');
    this.pool.run('rmsNorm', [x.address, gain, epsilon, y.address, x.width, x.stride], tokens, 16);
  }

  /** y[token] += bias, y.width f32. */
  addBias(y: Activation, bias: Address, tokens: number): void {
    this.pool.run('addRows', [y.address, y.stride, bias, roundUp(y.width, 4) * 4], tokens, 64);
  }

  /** y[token][row] = weights[row] . x[token], or += with `add`. `bits` counts for 4-bit weights only. */
  linear(
    weights: Matrix,
    x: Activation,
    y: Activation,
    tokens: number,
    options: { readonly add?: boolean; readonly bits?: ActivationBits } = {},
  ): void {
    const add = options.add === true;
    if (weights.kind === 'w16') this.linear16(weights, x, y, tokens, add);
    else this.linear4(weights, x, y, tokens, add, options.bits ?? 8);
  }

  private linear16(w: W16Matrix, x: Activation, y: Activation, tokens: number, add: boolean): void {
    if (tokens === 1) {
      this.pool.run(
        'w16Vector',
        [w.weights, w.stride, Number(w.bf16), w.scale, x.address, y.address, Number(add)],
        w.rows,
        grainOf(w.rows, this.pool.threads, 4),
      );
      return;
    }
    const panels = Math.ceil(w.rows / 8);
    this.pool.run(
      'w16Matrix',
      [
        w.weights,
        w.stride,
        w.rows,
        Number(w.bf16),
        w.scale,
        x.address,
        x.stride,
        tokens,
        y.address,
        y.stride,
        Number(add),
      ],
      panels,
      grainOf(panels, this.pool.threads, 1),
    );
  }

  private linear4(w: W4Matrix, x: Activation, y: Activation, tokens: number, add: boolean, bits: ActivationBits): void {
    const tokenShift = bits === 16 ? 1 : 0;
    const rowsPerTile = tokens === 1 ? 1 << tokenShift : TILE_ROWS;
    const tokensPerTile = rowsPerTile >> tokenShift;
    const tiles = Math.ceil(tokens / tokensPerTile);
    const chunks = Math.ceil(w.words / w.chunkWords);
    const { rows, scales, sums } = this.roundedFor(tiles * w.words * rowsPerTile * 8);
    // The last tile may be part empty: rows without a scale contribute nothing.
    if (tiles * tokensPerTile > tokens)
      this.heap.floats(scales, tiles * chunks * rowsPerTile).fill(0, (tiles - 1) * chunks * rowsPerTile);
    this.pool.run(
      'roundActivations',
      [x.address, x.stride, w.words, w.chunkWords, tokenShift, rowsPerTile, rows, scales, sums],
      tokens,
      12,
    );
    const weights = [w.weights, w.scales, w.zeros, Number(w.asymmetric)];
    if (tokens === 1) {
      this.pool.run(
        bits === 16 ? 'w4Vector16' : 'w4Vector8',
        [...weights, rows, scales, sums, y.address, Number(add), w.words, w.chunkWords, w.chunksPerGroup],
        w.quads,
        grainOf(w.quads, this.pool.threads, 4),
      );
      return;
    }
    this.pool.run(
      'w4Matrix',
      [
        ...weights,
        rows,
        scales,
        sums,
        tokenShift,
        y.address,
        y.stride,
        Number(add),
        tiles,
        w.words,
        w.chunkWords,
        w.chunksPerGroup,
      ],
      w.quads,
      grainOf(w.quads, this.pool.threads, 1),
    );
  }

  /** Room for rounded activations of `bytes` bytes; scales and sums need at most half as much (one 4-byte value for 8 bytes). */
  private roundedFor(bytes: number): { readonly rows: Address; readonly scales: Address; readonly sums: Address } {
    if (this.rounded === null || this.rounded.bytes < bytes) {
      this.rounded = {
        rows: this.heap.allocate(bytes),
        scales: this.heap.allocate(bytes / 2),
        sums: this.heap.allocate(bytes / 2),
        bytes,
      };
    }
    return this.rounded;
  }

  /** Bytes of packed activations. */
  packedBytes(tokens: number, width: number): number {
    return tokens * Math.ceil(width / PACKED) * (PACKED + 4);
  }

  /** Activations in a quarter of their room, rounded as the 4-bit product rounds them; the width is a multiple of 8. */
  packRows(x: Activation, tokens: number, packed: Address): void {
    this.pool.run('packRows', [x.address, x.stride, x.width, packed], tokens, 16);
  }

  unpackRows(packed: Address, x: Activation, tokens: number): void {
    this.pool.run('unpackRows', [packed, x.width, x.address, x.stride], tokens, 16);
  }

  /** y = silu(gate) * up, where a token of x is gate then up. */
  siluMultiply(x: Activation, y: Activation, tokens: number): void {
    this.pool.run('siluMultiply', [x.address, x.stride, y.address, y.stride, y.width], tokens, 4);
  }

  /** Rotates q in place, and k into the cache beside v; a token of qkv is q heads, k heads, v heads. `position` is the first token's. */
  ropeAndStore(qkv: Activation, cache: CpuCache, layer: number, position: number, tokens: number): void {
    const { heads, kvHeads, headDim, capacity, cosines, sines } = cache;
    this.pool.run(
      'ropeAndStore',
      [
        qkv.address,
        qkv.stride,
        heads,
        kvHeads,
        headDim,
        cosines,
        sines,
        cache.keys[layer]!,
        cache.values[layer]!,
        capacity,
        position,
      ],
      tokens,
      16,
    );
  }

  /** y = causal attention of q (the first heads of qkv) over the cache; the tokens stand at position, position + 1, ... */
  attention(qkv: Activation, cache: CpuCache, layer: number, position: number, y: Activation, tokens: number): void {
    const { heads, kvHeads, headDim, capacity } = cache;
    const keys = cache.keys[layer]!;
    const values = cache.values[layer]!;
    const scale = 1 / Math.sqrt(headDim);
    if (tokens === 1) {
      this.pool.run(
        'attentionVector',
        [qkv.address, heads, kvHeads, headDim, scale, keys, values, capacity, position, y.address],
        kvHeads,
        1,
      );
      return;
    }
    const items = Math.ceil(tokens / PANEL_ROWS) * heads;
    this.pool.run(
      'attentionMatrix',
      [
        qkv.address,
        qkv.stride,
        tokens,
        heads,
        kvHeads,
        headDim,
        scale,
        keys,
        values,
        capacity,
        position,
        y.address,
        y.stride,
      ],
      items,
      heads,
    );
  }

  /** The same activations from token `first` on. */
  fromToken(x: Activation, first: number): Activation {
    return fromToken(x, first);
  }

  [Symbol.dispose](): void {
    this.pool[Symbol.dispose]();
  }
}

/** Items a thread takes at a time: about four turns a thread, in multiples of `unit`, so that a late thread costs a quarter of its share. */
function grainOf(items: number, threads: number, unit: number): number {
  return Math.max(1, Math.ceil(items / (threads * 4) / unit)) * unit;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
