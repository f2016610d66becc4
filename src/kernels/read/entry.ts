// Reading alone, in the catalogue: more than a turn, a last chunk that is not whole, CTAs without work.
import { Random } from '../../base/random.ts';
import type { Program } from '../../ptx/program.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { readBulk, type ReadParams, readWide, sumWords } from './kernel.ts';

export const readEntry: Entry = entry({
  name: 'read',
  title: 'reads memory with 16-byte loads and sums it: the limit of products with few tokens',
  examples: () => [
    ofBytes('wide', 50_000, 2, readWide(50_000, { ctas: 2, unroll: 4 })),
    ofBytes('short', 4112, 2, readWide(4112, { ctas: 2, unroll: 2 })),
  ],
});

export const readBulkEntry: Entry = entry({
  name: 'read-bulk',
  title: 'reads memory with bulk copies into a ring and sums it: the same limit on Hopper',
  examples: () => [
    ofBytes('ring', 66_000, 2, readBulk(66_000, { ctas: 2, chunk: 8192, stages: 3 })),
    ofBytes('short', 8208, 3, readBulk(8208, { ctas: 3, chunk: 8192, stages: 2 })),
  ],
});

function ofBytes(name: string, bytes: number, ctas: number, program: Program<ReadParams>): Example {
  return example({
    name,
    program,
    grid: [ctas],
    args: (seed) => {
      const random = new Random(seed);
      const from = Uint32Array.from({ length: bytes / 4 }, () => random.u32());
      return { from, sums: new Uint32Array(sumWords({ ctas })).fill(0xffffffff) };
    },
    check: ({ from, sums }) => ({ error: total(from) === total(sums) ? 0 : 1, bound: 0 }),
  });
}

/** Modulo 2^32. */
export function total(words: Uint32Array): number {
  return words.reduce((sum, word) => (sum + word) >>> 0, 0);
}
