// The paper's kernel in the catalogue: both types, scales on sums and on weights, zero points, tiles that several CTAs share, sizes that nothing divides.
import { Random } from '../../../base/random.ts';
import { relativeError } from '../../../base/stats.ts';
import { type Access, drawAccess, drawLayout } from '../../../ptx/draw/drawing.ts';
import { type Drawing, drawn, type Entry, entry, type Example, example } from '../../entry.ts';
import { type Ampere, ampere, ampereGrid } from './kernel.ts';
import { boundOf, expectedOf, outputOf, randomArgs, randomMatrix } from './problem.ts';
import { tokenTile, weightTile } from './stage.ts';

const plain: Ampere = {
  size: { n: 128, k: 640 },
  scheme: { group: 128, zeroPoints: false },
  type: 'f16',
  tiling: { strips: 4, tokens: 8, stages: 4 },
  epilogue: { output: 'f16', bias: false },
  ctas: 3,
};

export const marlinAmpereEntry: Entry = entry({
  name: 'marlin-ampere',
  title: 'y = x W^T, W in 4 bits, on mma.sync: the kernel of the MARLIN paper, its stripes included',
  examples: () => [
    ofTokens(7, plain),
    ofTokens(16, {
      ...plain,
      scheme: { group: 32, zeroPoints: true },
      type: 'bf16',
      tiling: { strips: 8, tokens: 16, stages: 4 },
      epilogue: { output: 'bf16', bias: true },
    }),
    ofTokens(33, {
      ...plain,
      scheme: { group: 64, zeroPoints: true },
      tiling: { strips: 8, tokens: 32, stages: 4 },
      epilogue: { output: 'add-f32', bias: false },
    }),
    ofTokens(64, {
      ...plain,
      size: { n: 100, k: 200 },
      type: 'bf16',
      tiling: { strips: 8, tokens: 64, stages: 4 },
      epilogue: { output: 'f32', bias: true },
    }),
    ofTokens(3, {
      ...plain,
      size: { n: 96, k: 301 },
      tiling: { strips: 4, tokens: 16, stages: 6 },
      epilogue: { output: 'f16', bias: false, pairs: 'gates' },
    }),
  ],
  drawings,
});

function ofTokens(m: number, of: Ampere): Example {
  const program = ampere(of);
  return example({
    name: program.name.replace('marlin_ampere_', `${m}_`),
    program,
    grid: ampereGrid(of, m),
    args: (seed) => {
      const random = new Random(seed);
      const matrix = randomMatrix(random, of);
      const args = randomArgs(random, of, matrix, m);
      return { ...args, expected: expectedOf(of, matrix, args) };
    },
    check: ({ expected, ...args }) => ({ error: relativeError(outputOf(of, args), expected), bound: boundOf(of) }),
  });
}

function drawings(): readonly Drawing[] {
  const [tokens, weights] = [tokenTile(plain.tiling), weightTile(plain.tiling, plain.scheme)];
  return [
    drawn(drawLayout(tokens, { title: 'Activations of a stage' })),
    drawn(drawAccess(tokens, eightTokens, { title: 'ldmatrix of 8 tokens and 32 k', bytes: 16 })),
    drawn(drawAccess(weights, (lane) => [0, 4 * lane], { title: 'Loading codes', bytes: 16 })),
  ];
}

/** Lane l gives token l % 8 and k 8 (l / 8) on. */
const eightTokens: Access = (lane) => [lane % 8, 8 * (lane >> 3)];
