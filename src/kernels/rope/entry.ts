// Rotation and storing in the catalogue: grouped heads, head dimensions that are and are not powers of two.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { STATE_IDS, STATE_POSITION, STATE_TOKENS } from '../vectors.ts';
import { ropeAndStore, ropeColumns, type RopeShape } from './kernel.ts';
import { ropeReference } from './reference.ts';

export const ropeEntry: Entry = entry({
  name: 'rope',
  title: 'Rotary positions: queries in place, keys and values into the cache',
  examples: () => [
    ropeExample({ heads: 4, kvHeads: 2, headDim: 64, context: 40 }, 3),
    ropeExample({ heads: 3, kvHeads: 1, headDim: 96, context: 9 }, 2),
    ropeExample({ heads: 8, kvHeads: 8, headDim: 128, context: 5 }, 1),
  ],
});

export function ropeExample(shape: RopeShape, tokens: number): Example {
  const { heads, kvHeads, headDim, context } = shape;
  return example({
    name: `${heads}-${kvHeads}x${headDim}`,
    program: ropeAndStore(shape),
    grid: [ropeColumns(shape), tokens],
    args: (seed) => {
      const random = new Random(seed);
      const position = random.integer(context - tokens + 1);
      const normals = (length: number): Float16Array => Float16Array.from({ length }, () => random.normal());
      const cacheSize = kvHeads * context * headDim;
      const angles = Float64Array.from({ length: (context * headDim) / 2 }, () => 6 * random.uniform());
      const state = new Uint32Array(STATE_IDS);
      [state[STATE_POSITION], state[STATE_TOKENS]] = [position, tokens];
      const qkv = normals(tokens * (heads + 2 * kvHeads) * headDim);
      const [keys, values] = [normals(cacheSize), normals(cacheSize)];
      const cosines = Float32Array.from(angles, Math.cos);
      const sines = Float32Array.from(angles, Math.sin);
      const expected = [qkv, keys, values].map((all) => Float64Array.from(all));
      ropeReference(expected[0]!, expected[1]!, expected[2]!, { cosines, sines }, position, shape);
      return { qkv, keys, values, cosines, sines, state, expected };
    },
    // f16 output rounds by up to 2^-11; what is not written keeps its bits.
    check: ({ qkv, keys, values, expected }) => ({
      error: Math.max(...[qkv, keys, values].map((all, i) => relativeError(all, expected[i]!))),
      bound: 3e-4,
    }),
  });
}
