// Sums of x^T x in the catalogue: widths that fill tiles and that do not, tokens that are no multiple of anything.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { gram, gramGrid } from './kernel.ts';

export const gramEntry: Entry = entry({
  name: 'gram',
  title: 'h += x^T x of f16 rows, what quantizers ask of inputs',
  examples: () => [gramExample(70, 128), gramExample(33, 72)],
});

export function gramExample(tokens: number, width: number): Example {
  return example({
    name: `${tokens}x${width}`,
    program: gram({ width }),
    grid: gramGrid({ width }),
    args: (seed) => {
      const random = new Random(seed);
      const x = Float16Array.from({ length: tokens * width }, () => random.normal());
      const h = random.fillNormal(new Float32Array(width * width));
      return { x, h, tokens, before: h.slice() };
    },
    // Sums in f32.
    check: ({ x, h, before }) => {
      const above = (of: (i: number, j: number) => number): Float64Array =>
        Float64Array.from({ length: width * width }, (_, at) => {
          const [i, j] = [Math.floor(at / width), at % width];
          return j < i ? 0 : of(i, j);
        });
      const expected = above((i, j) => {
        let sum = before[i * width + j]!;
        for (let t = 0; t < tokens; t++) sum += x[t * width + i]! * x[t * width + j]!;
        return sum;
      });
      return {
        error: relativeError(
          above((i, j) => h[i * width + j]!),
          expected,
        ),
        bound: 2e-6,
      };
    },
  });
}
