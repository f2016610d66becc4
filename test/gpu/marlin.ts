// The 4-bit products at sizes of real models, on sampled outputs: the catalogue's examples are small enough to simulate, and these are not.
import { Random } from '../../src/base/random.ts';
import { relativeError } from '../../src/base/stats.ts';
import { type Ampere, ampere, ampereGrid } from '../../src/kernels/marlin/ampere/kernel.ts';
import {
  type AmpereArgs,
  boundOf,
  expectedOf,
  outputOf,
  randomArgs,
  randomMatrix,
} from '../../src/kernels/marlin/ampere/problem.ts';
import { ampereCandidates } from '../../src/kernels/marlin/ampere/plan.ts';
import { packedBytes, STRIP_ROWS } from '../../src/kernels/marlin/layout.ts';
import type { PackedMatrix } from '../../src/kernels/marlin/pack.ts';
import { runOnDevice } from './run-program.ts';
import { type Trial, within } from './trial.ts';

type Case = Pick<Ampere, 'size' | 'scheme' | 'type'>;

/** Made once for all numbers of tokens: packing 16 M weights takes seconds. */
const matrices = new Map<Case, PackedMatrix>();
function matrixOf(of: Ampere, key: Case): PackedMatrix {
  const matrix = matrices.get(key) ?? randomMatrix(new Random(1), of);
  matrices.set(key, matrix);
  return matrix;
}

/** Row tile `tile` of a matrix, as a matrix. */
function rowTileOf(matrix: PackedMatrix, tile: number): PackedMatrix {
  const [n, bytes] = [STRIP_ROWS, packedBytes({ n: STRIP_ROWS, k: matrix.k }, matrix.scheme)];
  return {
    ...matrix,
    n,
    strips: matrix.strips.subarray(tile * bytes, (tile + 1) * bytes),
    factors: matrix.factors.subarray(tile * n, (tile + 1) * n),
  };
}

const SAMPLES = 6;

/** Error over all tokens of some row tiles, the first and the last among them. */
function sampledError(of: Ampere, matrix: PackedMatrix, args: AmpereArgs): number {
  const [{ n }, random] = [of.size, new Random(3)];
  const last = n / STRIP_ROWS - 1;
  const tiles = [0, last, ...Array.from({ length: SAMPLES - 2 }, () => random.integer(last))];
  const y = outputOf(of, args);
  const errors = tiles.map((tile) => {
    const expected = expectedOf(of, rowTileOf(matrix, tile), args);
    const actual = expected.map((_, i) => y[Math.floor(i / STRIP_ROWS) * n + tile * STRIP_ROWS + (i % STRIP_ROWS)]!);
    return relativeError(actual, expected);
  });
  return errors.includes(Number.NaN) ? Number.NaN : Math.max(...errors);
}

/** Right, the same bits at the second run with the workspace of the first, and counters that are zero again. */
const ampereTrial = (key: Case, m: number): Trial => ({
  name: `marlin-ampere ${key.size.n}x${key.size.k}, ${m} tokens, ${key.type}, groups of ${key.scheme.group}`,
  run: (device) => {
    const { tiling, ctas } = ampereCandidates(key.size, key.scheme, m, device.facts)[0]!;
    const of: Ampere = { ...key, tiling, ctas, epilogue: { output: key.type, bias: false } };
    const matrix = matrixOf(of, key);
    const args = randomArgs(new Random(2), of, matrix, m);
    const again = { ...args, y: args.y.slice() };
    for (const each of [args, again]) runOnDevice(device, ampere(of), ampereGrid(of, m), each);
    if (args.y.some((bits, i) => bits !== again.y[i])) return { ok: false, detail: 'other bits at the second run' };
    if (args.counters.some((count) => count !== 0)) return { ok: false, detail: 'counters are not zero again' };
    return within(sampledError(of, matrix, args), boundOf(of));
  },
});

const square: Case = { size: { n: 4096, k: 4096 }, scheme: { group: 128, zeroPoints: false }, type: 'f16' };
const zeroPoints: Case = { ...square, scheme: { group: 32, zeroPoints: true }, type: 'bf16' };

export const marlinTrials: readonly Trial[] = [square, zeroPoints].flatMap((key) =>
  [1, 7, 16, 33, 64, 130].map((m) => ampereTrial(key, m)),
);
