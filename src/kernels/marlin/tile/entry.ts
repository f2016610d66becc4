// The 4-bit product on wgmma in the catalogue: few tokens and many, ragged edges, k shared by a cluster, tokens shared by one.
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../../../base/f16.ts';
import { Random } from '../../../base/random.ts';
import { relativeError } from '../../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../../entry.ts';
import { type Epilogue, outputChannels } from '../epilogue.ts';
import type { MatrixSize, Scheme } from '../layout.ts';
import { type HalfType, pack } from '../pack.ts';
import { randomCoded } from '../coded.ts';
import { epilogueReference, marlinReference } from '../reference.ts';
import { marlinTile } from './kernel.ts';
import { tileGrid, type TileTiling } from './tiling.ts';

export interface TileCase {
  readonly m: number;
  readonly size: MatrixSize;
  readonly tiling: TileTiling;
  readonly type?: HalfType;
  readonly scheme?: Scheme;
  readonly epilogue?: Epilogue;
  /** Of the GPU it is for; default 2. */
  readonly multiprocessors?: number;
}

const base: TileTiling = {
  warpgroups: 2,
  tokens: 16,
  stages: 2,
  stageK: 128,
  split: 1,
  multicast: 1,
  group: 8,
  once: true,
};

export const marlinTileEntry: Entry = entry({
  name: 'marlin-tile',
  title: 'y = x W^T with 4-bit weights on wgmma: codes become fragments in registers, for many tokens',
  examples: () => [
    tileExample({ m: 16, size: { n: 128, k: 384 }, tiling: base }),
    tileExample({ m: 35, size: { n: 328, k: 512 }, tiling: { ...base, warpgroups: 4, stageK: 256 } }),
    tileExample({ m: 32, size: { n: 128, k: 384 }, tiling: { ...base, tokens: 32, split: 2 } }),
    tileExample({
      m: 40,
      size: { n: 256, k: 256 },
      tiling: { ...base, tokens: 48, multicast: 2, once: false },
      type: 'bf16',
    }),
    tileExample({
      m: 20,
      size: { n: 144, k: 256 },
      tiling: base,
      epilogue: { output: 'f16', bias: true, pairs: 'gates' },
    }),
  ],
});

/** Weights are rounded, each by up to 2^-11 or 2^-8, and so is y. */
const bounds: Readonly<Record<HalfType, number>> = { f16: 1e-3, bf16: 8e-3 };

export function tileExample(of: TileCase): Example {
  const { m, size, tiling, type = 'f16', scheme = { group: 128, zeroPoints: false }, multiprocessors = 2 } = of;
  const { n, k } = size;
  const epilogue = of.epilogue ?? { output: type, bias: false };
  const single = epilogue.output === 'f32' || epilogue.output === 'add-f32';
  const [toBits, toNumber] = type === 'f16' ? [numberToF16, f16ToNumber] : [numberToBf16, bf16ToNumber];
  const outputNumber = epilogue.output === 'bf16' ? bf16ToNumber : f16ToNumber;
  const numbersOf = (Y: Uint32Array): ArrayLike<number> =>
    single ? new Float32Array(Y.buffer) : Float64Array.from(new Uint16Array(Y.buffer), outputNumber);
  /** 'add-f32' finds numbers, the others NaN. */
  const found = (random: Random): Uint32Array => {
    const Y = new Uint32Array((m * outputChannels(epilogue, n)) / (single ? 1 : 2)).fill(0xffffffff);
    if (epilogue.output === 'add-f32') new Float32Array(Y.buffer).forEach((_, i, all) => (all[i] = random.normal()));
    return Y;
  };

  return example({
    name: nameOf(of),
    program: marlinTile({ size, format: { type, scheme }, tiling, epilogue }),
    grid: [tileGrid(m, size, tiling, multiprocessors)],
    args: (seed) => {
      const random = new Random(seed);
      const group = k % scheme.group === 0 ? scheme.group : k;
      const { zeroPoints } = scheme;
      const matrix = pack('W', randomCoded(random, { rows: n, columns: k, group, zeroPoints }), type);
      const x = Uint16Array.from({ length: m * k }, () => toBits(random.normal()));
      const bias = Float32Array.from({ length: n }, () => random.normal());
      const Y = found(random);
      const sums = marlinReference(Float64Array.from(x, toNumber), m, matrix);
      const expected = epilogueReference(sums, { epilogue, n, bias, before: new Float32Array(Y.buffer) });
      return { W: matrix.strips, X: { data: x, rows: m, columns: k }, factors: matrix.factors, bias, Y, m, expected };
    },
    check: ({ Y, expected }) => ({
      error: relativeError(numbersOf(Y), expected),
      bound: bounds[type] + (epilogue.output === 'bf16' ? 2e-3 : 0),
    }),
  });
}

function nameOf({ m, size: { n, k }, tiling: { split, multicast }, type = 'f16', epilogue }: TileCase): string {
  const cluster = split > 1 ? `, k split by ${split}` : multicast > 1 ? ', tokens shared' : '';
  return `${m}x${n}x${k} ${type}${cluster}${epilogue?.pairs === undefined ? '' : `, ${epilogue.pairs}`}`;
}
