// Vector add in the catalogue: whole CTAs, one that is not full, and a single element.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { THREADS, vectorAdd } from './kernel.ts';
import { vectorAddReference } from './reference.ts';

export const vectorAddEntry: Entry = entry({
  name: 'vector-add',
  title: 'c = a + b over f32 vectors, an element a thread',
  examples: () => [ofLength(1000), ofLength(1024), ofLength(1)],
});

function ofLength(n: number): Example {
  return example({
    name: String(n),
    program: vectorAdd,
    grid: [Math.ceil(n / THREADS)],
    args: (seed) => {
      const random = new Random(seed);
      const [a, b] = [random.fillNormal(new Float32Array(n)), random.fillNormal(new Float32Array(n))];
      return { a, b, c: new Float32Array(n).fill(Number.NaN), n };
    },
    // One rounding, the same on both sides.
    check: ({ a, b, c }) => ({ error: relativeError(c, vectorAddReference(a, b)), bound: 0 }),
  });
}
