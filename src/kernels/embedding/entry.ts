// The look-up in the catalogue: both 16-bit types, rows of one CTA and of several.
import { encodeBf16, encodeF16 } from '../../base/f16.ts';
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { STATE_IDS } from '../vectors.ts';
import { embed, embedColumns } from './kernel.ts';
import { embedReference } from './reference.ts';

export const embeddingEntry: Entry = entry({
  name: 'embedding',
  title: 'Rows of a 16-bit table by token id, widened to f32',
  examples: () => [embedExample(3, 64, 'f16'), embedExample(2, 1032, 'bf16')],
});

const VOCABULARY = 50;

export function embedExample(tokens: number, width: number, type: 'f16' | 'bf16'): Example {
  return example({
    name: `${tokens}x${width}-${type}`,
    program: embed({ width, type }),
    grid: [embedColumns(width), tokens],
    args: (seed) => {
      const random = new Random(seed);
      // Small whole numbers: exact in either type.
      const values = Float32Array.from({ length: VOCABULARY * width }, () => random.integer(200) - 100);
      const table = new Uint16Array(values.length);
      (type === 'f16' ? encodeF16 : encodeBf16)(values, table);
      const state = Uint32Array.from({ length: STATE_IDS + tokens }, () => random.integer(VOCABULARY));
      return { table, state, y: new Float32Array(tokens * width).fill(Number.NaN), values };
    },
    check: ({ state, y, values }) => ({
      error: relativeError(y, embedReference(values, state.subarray(STATE_IDS), width)),
      bound: 0,
    }),
  });
}
