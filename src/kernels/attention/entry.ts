// Attention in the catalogue: one query over a cache and many, grouped heads of all dimensions, lengths that are no multiple of anything.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { STATE_IDS, STATE_POSITION, STATE_TOKENS } from '../vectors.ts';
import { ropeReference } from '../rope/reference.ts';
import { counterBytes, decodeAttention, decodeGrid, type DecodeShape, partialBytes } from './decode.ts';
import { prefillAttention, prefillTiles } from './prefill.ts';
import { attentionReference, type AttentionShape } from './reference.ts';

export const attentionDecodeEntry: Entry = entry({
  name: 'attention-decode',
  title: 'Attention of one query over a cache, positions shared among CTAs, the last of which merges',
  examples: () => [
    decodeExample({ heads: 8, kvHeads: 2, headDim: 128, context: 300, splits: 3 }, 250),
    decodeExample({ heads: 3, kvHeads: 3, headDim: 96, context: 50, splits: 2 }, 49),
    decodeExample({ heads: 14, kvHeads: 2, headDim: 64, context: 200, splits: 2 }, 0),
    decodeExample({ heads: 16, kvHeads: 1, headDim: 32, context: 600, splits: 2 }, 511),
  ],
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

/** The position's own key and value are not in the cache yet. */
export function decodeExample(shape: DecodeShape, position: number): Example {
  const { heads, kvHeads, headDim, context } = shape;
  return example({
    name: `${heads}-${kvHeads}x${headDim}-at-${position}`,
    program: decodeAttention(shape),
    grid: decodeGrid(shape),
    args: (seed) => {
      const given = inputs(shape, position, 0, seed);
      const random = new Random(seed + 1);
      const angles = Float64Array.from({ length: (context * headDim) / 2 }, () => 6 * random.uniform());
      return {
        ...given,
        qkv: Float16Array.from({ length: (heads + 2 * kvHeads) * headDim }, () => 2 * random.normal()),
        cosines: Float32Array.from(angles, Math.cos),
        sines: Float32Array.from(angles, Math.sin),
        partial: new Float32Array(partialBytes(shape) / 4).fill(Number.NaN),
        counters: new Uint32Array(counterBytes(shape) / 4),
        y: new Float16Array(heads * headDim).fill(Number.NaN),
      };
    },
    check: ({ qkv, keys, values, cosines, sines, counters, y }) => {
      if (counters.some((count) => count !== 0)) throw new Error('counters are left as they were found');
      const [ownQkv, ownKeys, ownValues] = [qkv, keys, values].map((all) => Float64Array.from(all));
      const cached = (all: Float64Array): Float64Array =>
        all.filter((_, i) => Math.floor(i / headDim) % context === position);
      const [newKeys, newValues] = [ownKeys!, ownValues!].map(cached);
      ropeReference(ownQkv!, ownKeys!, ownValues!, { cosines, sines }, position, shape);
      const kept = Float16Array.from(ownKeys!);
      return {
        error: Math.max(
          relativeError(y, attentionReference(ownQkv!, kept, ownValues!, position, 1, shape)),
          relativeError(newKeys!, cached(ownKeys!)),
          relativeError(newValues!, cached(ownValues!)),
        ),
        // f16 output rounds by up to 2^-11.
        bound: 4e-4,
      };
    },
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
