// The border between a network and a machine: the operations a Llama block is written in. Each device implements them once.
import type { MatrixSource } from './weights.ts';

/** The types of a device's own handles, so that one network serves every device without a cast. */
export interface Kinds {
  /** [tokens, width] numbers in flight. */
  readonly activation: unknown;
  /** [rows, columns] weights, 16 or 4 bits. */
  readonly matrix: unknown;
  /** A norm's gain or a bias. */
  readonly vector: unknown;
  /** Keys and values of all layers of one sequence. */
  readonly cache: unknown;
}

export interface CacheShape {
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions it must hold. */
  readonly context: number;
  /** Radians a position, one for each of headDim / 2 pairs (rope.ts). */
  readonly frequencies: Float64Array;
}

/** Wide: sums and logits, which need f32. Narrow: what a device may keep in 16 bits. */
export type Precision = 'wide' | 'narrow';

/** How a token is drawn on a device: the rules of `SamplingParameters`, without a penalty. */
export interface Drawing {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly seed: readonly [low: number, high: number];
}

/** What the input of a product goes through first: an RMS norm, `into` for a device that does one after the other. */
export interface Norm<K extends Kinds> {
  readonly gain: K['vector'];
  readonly epsilon: number;
  readonly into: K['activation'];
}

export interface ProductOptions<K extends Kinds> {
  readonly bias?: K['vector'] | null;
  readonly norm?: Norm<K>;
}

export interface Ops<K extends Kinds> extends Disposable {
  /** What a user calls the device, such as 'cpu'. */
  readonly device: string;
  /** Tokens that one step may hold. */
  readonly maxTokens: number;

  activation(tokens: number, width: number, precision: Precision): K['activation'];
  /**
   * One matrix of all the sources' rows, in order; they share their columns. `gates`: it is for `gatedLinear` without a bias alone, and a device may
   * order the rows of its two sources as it likes.
   */
  matrix(sources: readonly MatrixSource[], options?: { readonly gates?: boolean }): K['matrix'];
  vector(values: Float32Array): K['vector'];
  cache(shape: CacheShape): K['cache'];

  /**
   * Runs `body`, which calls the operations below for the tokens `ids` that stand at `position`, position + 1, ... A device may record what it does for
   * one token and replay that, so `body` must do the same for every token of a cache.
   */
  step(ids: Uint32Array, position: number, cache: K['cache'], body: () => void): void;
  /** y[token] = table[ids[token]] */
  embed(table: K['matrix'], ids: Uint32Array, y: K['activation']): void;
  /** y = x * gain / sqrt(mean(x^2) + epsilon), for `tokens` tokens of x from `first` on. */
  rmsNorm(
    x: K['activation'],
    gain: K['vector'],
    epsilon: number,
    y: K['activation'],
    tokens: number,
    first?: number,
  ): void;
  /** y = weights . x + bias, or y += with `add`; x normed first with `norm`. */
  linear(
    weights: K['matrix'],
    x: K['activation'],
    y: K['activation'],
    tokens: number,
    options?: ProductOptions<K> & { readonly add?: boolean },
  ): void;
  /**
   * y = causal attention: a token of qkv is its q heads, k heads, v heads, the first token at `position`. Queries and keys are rotated to their positions,
   * keys and values go into the cache, and queries look at all of it up to themselves. What qkv holds afterwards is the device's affair.
   */
  attention(
    qkv: K['activation'],
    cache: K['cache'],
    layer: number,
    position: number,
    y: K['activation'],
    tokens: number,
  ): void;
  /** y = silu(gate) * up, where weights . x + bias is gate then up. `between` has room for both, if they are needed one after the other. */
  gatedLinear(
    weights: K['matrix'],
    x: K['activation'],
    between: K['activation'],
    y: K['activation'],
    tokens: number,
    options?: ProductOptions<K>,
  ): void;
  /** The first `tokens` tokens of x, [tokens, width], copied out. */
  read(x: K['activation'], tokens: number): Float32Array;
  /** Draws what follows the last token of the last step from its logits, row 0 of them; only where the device can. */
  draw?(logits: K['activation'], drawing: Drawing): number;
}
