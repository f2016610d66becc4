// The gated activation in the catalogue: a row of one CTA, of several, and one that fills a few threads only.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { siluColumns, siluMultiply } from './kernel.ts';
import { siluMultiply as siluMultiplyReference } from '../../base/reference.ts';

export const activationEntry: Entry = entry({
  name: 'activation',
  title: 'silu(gate) * up of f16 rows, eight numbers a thread',
  examples: () => [activationExample(2, 1536), activationExample(1, 1024), activationExample(3, 96)],
});

export function activationExample(tokens: number, width: number): Example {
  return example({
    name: `${tokens}x${width}`,
    program: siluMultiply({ width }),
    grid: [siluColumns(width), tokens],
    args: (seed) => {
      const random = new Random(seed);
      const x = Float16Array.from({ length: 2 * tokens * width }, () => 4 * random.normal());
      // The ends of the range: nothing may become NaN.
      x[0] = -60_000;
      x[1] = 60_000;
      [x[width], x[width + 1]] = [1, 1e-3];
      return { x, y: new Float16Array(tokens * width).fill(Number.NaN) };
    },
    // f16 output rounds by up to 2^-11.
    check: ({ x, y }) => ({ error: relativeError(y, siluMultiplyReference(x, width)), bound: 4e-4 }),
  });
}
