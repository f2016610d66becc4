// The steps towards the paper's kernel in the catalogue, all of the same product, so that what they count can be compared.
import { f16ToNumber, numberToF16 } from '../../../base/f16.ts';
import { Random } from '../../../base/random.ts';
import { relativeError } from '../../../base/stats.ts';
import type { Program } from '../../../ptx/program.ts';
import { type Entry, entry, type Example, example } from '../../entry.ts';
import { randomCoded } from '../coded.ts';
import { STRIP_ROWS } from '../layout.ts';
import { pack } from '../pack.ts';
import { marlinReference } from '../reference.ts';
import { asynchronous } from './asynchronous.ts';
import { naive } from './naive.ts';
import { type LevelParams, SCHEME, TOKENS } from './operands.ts';
import { tensorCores } from './tensor-cores.ts';

export const SIZE = { n: 64, k: 768 } as const;

export const marlinStepsEntry: Entry = entry({
  name: 'marlin-steps',
  title: 'The way to the 4-bit product of the MARLIN paper: naive, tensor cores, asynchronous, dequantisation',
  examples: () => [
    step('1-naive', naive(SIZE)),
    step('2-tensor-cores', tensorCores(SIZE)),
    // By rows, step 3 meets bank conflicts: its test shows them.
    step('4-asynchronous-swizzled', asynchronous(SIZE, { swizzle: true, raw: false })),
    step('5-raw-codes', asynchronous(SIZE, { swizzle: true, raw: true })),
  ],
});

export function step(name: string, program: Program<LevelParams>): Example {
  const { n, k } = SIZE;
  return example({
    name,
    program,
    grid: [n / STRIP_ROWS],
    args: (seed) => {
      const random = new Random(seed);
      const matrix = pack('w', randomCoded(random, { rows: n, columns: k, group: SCHEME.group }), 'f16');
      const x = Uint16Array.from({ length: TOKENS * k }, () => numberToF16(random.normal()));
      const y = new Float32Array(TOKENS * n).fill(Number.NaN);
      return { x, strips: matrix.strips, factors: matrix.factors, y, matrix };
    },
    check: ({ x, y, matrix }) => ({
      error: relativeError(y, marlinReference(Float64Array.from(x, f16ToNumber), TOKENS, matrix)),
      // Step 5 does without rounding; the others round weights to 2^-11.
      bound: 1e-3,
    }),
  });
}
