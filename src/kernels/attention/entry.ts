// Attention in the catalogue: one query over a cache and many, grouped heads of all dimensions, lengths that are no multiple of anything.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { simulate } from '../../sim/simulate.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { STATE_IDS, STATE_POSITION, STATE_TOKENS } from '../vectors.ts';
import { combineAttention, decodeAttention, decodeGrid, type DecodeShape, partialBytes } from './decode.ts';
import { prefillAttention, prefillTiles } from './prefill.ts';
import { attentionReference, type AttentionShape } from './reference.ts';

export const attentionDecodeEntry: Entry = entry({
  name: 'attention-decode',
  title: 'Attention of one query over a cache, positions shared among CTAs: partial softmaxes',
  examples: () => [
    decodeExample({ heads: 8, kvHeads: 2, headDim: 128, context: 300, splits: 3 }, 250),
    decodeExample({ heads: 3, kvHeads: 3, headDim: 96, context: 50, splits: 2 }, 49),
    decodeExample({ heads: 14, kvHeads: 2, headDim: 64, context: 200, splits: 2 }, 0),
    decodeExample({ heads: 16, kvHeads: 1, headDim: 32, context: 600, splits: 2 }, 511),
  ],
});

export const attentionCombineEntry: Entry = entry({
  name: 'attention-combine',
  title: 'Merges the partial softmaxes of attention-decode, in a fixed order',
  examples: () => [combineExample({ heads: 4, kvHeads: 2, headDim: 64, context: 400, splits: 3 }, 390)],
});

export const attentionPrefillEntry: Entry = entry({
  name: 'attention-prefill',
  title: 'Causal attention of many queries on mma.sync, keys and values in tiles',
  examples: () => [
    prefillExample({ heads: 4, kvHeads: 2, headDim: 64, context: 160 }, 20, 70),
    prefillExample({ heads: 2, kvHeads: 1, headDim: 128, context: 64 }, 0, 64),
    prefillExample({ heads: 3, kvHeads: 1, headDim: 96, context: 90 }, 63, 9),
    prefillExample({ heads: 1, kvHeads: 1, headDim: 32, context: 8 }, 0, 1),
  ],
});

interface Inputs {
  readonly qkv: Float16Array;
  readonly keys: Float16Array;
  readonly values: Float16Array;
  readonly state: Uint32Array;
}

/** Behind the last position the cache holds NaNs, as fresh memory may. */
function inputs(shape: AttentionShape, position: number, tokens: number, seed: number): Inputs {
  const { heads, kvHeads, headDim, context } = shape;
  const random = new Random(seed);
  const cache = (): Float16Array =>
    Float16Array.from({ length: kvHeads * context * headDim }, (_, i) =>
      Math.floor(i / headDim) % context < position + tokens ? random.normal() : Number.NaN,
    );
  const state = new Uint32Array(STATE_IDS);
  [state[STATE_POSITION], state[STATE_TOKENS]] = [position, tokens];
  // Large queries make peaked weights.
  const qkv = Float16Array.from({ length: tokens * (heads + 2 * kvHeads) * headDim }, () => 2 * random.normal());
  return { qkv, keys: cache(), values: cache(), state };
}

/** The partial softmaxes, merged here. */
export function decodeExample(shape: DecodeShape, position: number): Example {
  const { heads, kvHeads, headDim } = shape;
  return example({
    name: `${heads}-${kvHeads}x${headDim}-at-${position}`,
    program: decodeAttention(shape),
    grid: decodeGrid(shape),
    args: (seed) => ({
      ...inputs(shape, position, 1, seed),
      partial: new Float32Array(partialBytes(shape) / 4).fill(Number.NaN),
    }),
    check: ({ qkv, keys, values, partial }) => ({
      error: relativeError(merged(partial, shape), attentionReference(qkv, keys, values, position, 1, shape)),
      // Sums in f32.
      bound: 5e-6,
    }),
  });
}

/** Of partials that were never written there is nothing. */
function merged(partial: Float32Array, { heads, headDim }: DecodeShape): Float64Array {
  const pitch = headDim + 4;
  const perHead = partial.length / heads / pitch;
  return Float64Array.from({ length: heads * headDim }, (_, i) => {
    const own = Array.from({ length: perHead }, (_, split) => {
      const start = (Math.floor(i / headDim) * perHead + split) * pitch;
      return {
        value: partial[start + (i % headDim)]!,
        most: partial[start + headDim]!,
        weight: partial[start + headDim + 1]!,
      };
    }).filter(({ most }) => !Number.isNaN(most));
    const most = Math.max(...own.map((one) => one.most));
    const sum = (of: (one: (typeof own)[number]) => number): number =>
      own.reduce((total, one) => total + of(one) * 2 ** (one.most - most), 0);
    return sum(({ value }) => value) / sum(({ weight }) => weight);
  });
}

export function combineExample(shape: DecodeShape, position: number): Example {
  const { heads, kvHeads, headDim } = shape;
  return example({
    name: `${heads}x${headDim}-at-${position}`,
    program: combineAttention(shape),
    grid: [heads],
    args: (seed) => {
      const given = inputs(shape, position, 1, seed);
      const partial = new Float32Array(partialBytes(shape) / 4).fill(Number.NaN);
      simulate(decodeAttention(shape), { grid: decodeGrid(shape), args: { ...given, partial }, seed });
      return { ...given, partial, y: new Float16Array(heads * headDim).fill(Number.NaN), kvHeads };
    },
    check: ({ qkv, keys, values, y }) => ({
      error: relativeError(y, attentionReference(qkv, keys, values, position, 1, shape)),
      // f16 output rounds by up to 2^-11.
      bound: 4e-4,
    }),
  });
}

export function prefillExample(shape: AttentionShape, position: number, tokens: number): Example {
  const { heads, kvHeads, headDim } = shape;
  return example({
    name: `${tokens}x${heads}-${kvHeads}x${headDim}-at-${position}`,
    program: prefillAttention(shape),
    grid: [prefillTiles(tokens), heads],
    args: (seed) => ({
      ...inputs(shape, position, tokens, seed),
      y: new Float16Array(tokens * heads * headDim).fill(Number.NaN),
    }),
    check: ({ qkv, keys, values, y }) => ({
      error: relativeError(y, attentionReference(qkv, keys, values, position, tokens, shape)),
      // Weights are rounded to f16, and so is the output.
      bound: 8e-4,
    }),
  });
}
