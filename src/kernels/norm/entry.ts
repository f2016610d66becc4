// RMS norm in the catalogue: one vector a thread and several, rows that do not fill their threads, with and without a sum before it.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import { addRmsNorm, rmsNorm } from './kernel.ts';
import { rmsNormReference } from './reference.ts';

const EPSILON = 1e-5;
/** f16 output rounds by up to 2^-11. */
const BOUND = 4e-4;

export const normEntry: Entry = entry({
  name: 'norm',
  title: 'RMS norm of f32 rows to f16, a row a CTA',
  examples: () => [normExample(4, 4096), normExample(3, 64), addNormExample(2, 520)],
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

export function addNormExample(rows: number, width: number): Example {
  const program = addRmsNorm({ width });
  return example({
    name: `add-${rows}x${width}`,
    program,
    grid: [rows],
    args: (seed) => {
      const random = new Random(seed);
      const x = random.fillNormal(new Float32Array(rows * width), 3);
      const delta = Float16Array.from(x, () => random.normal());
      const gain = random.fillNormal(new Float32Array(width));
      const expected = x.map((value, i) => value + delta[i]!);
      return { x, delta, gain, y: new Float16Array(rows * width).fill(Number.NaN), epsilon: EPSILON, expected };
    },
    // The sum in memory is exact; its norm is rounded.
    check: ({ x, gain, y, expected }) => ({
      error:
        relativeError(x, expected) === 0 ? relativeError(y, rmsNormReference(expected, gain, EPSILON)) : Number.NaN,
      bound: BOUND,
    }),
  });
}
