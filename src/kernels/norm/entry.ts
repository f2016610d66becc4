// RMS norm in the catalogue: one vector a thread and several and rows that do not fill their threads.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { rmsNorm } from './kernel.ts';
import { rmsNorm as rmsNormReference } from '../../base/reference.ts';

const EPSILON = 1e-5;
/** f16 output rounds by up to 2^-11. */
const BOUND = 4e-4;

export const normEntry: Entry = entry({
  name: 'norm',
  title: 'RMS norm of f32 rows to f16, a row a CTA',
  examples: () => [normExample(4, 4096), normExample(3, 64), normExample(2, 520)],
});

export function normExample(rows: number, width: number): Example {
  return example({
    name: `${rows}x${width}`,
    program: rmsNorm({ width }),
    grid: [rows],
    args: (seed) => {
      const random = new Random(seed);
      const first = random.integer(3);
      return {
        x: random.fillNormal(new Float32Array((first + rows) * width), 3),
        gain: random.fillNormal(new Float32Array(width)),
        y: new Float16Array(rows * width).fill(Number.NaN),
        epsilon: EPSILON,
        first,
      };
    },
    check: ({ x, gain, y, first }) => ({
      error: relativeError(y, rmsNormReference(x.subarray(first * width), gain, EPSILON)),
      bound: BOUND,
    }),
  });
}
