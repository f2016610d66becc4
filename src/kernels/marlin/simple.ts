// The 4-bit product in its simplest form: one warp for 16 channels and 8 tokens, everything straight from global memory. Right for every shape and
// epilogue, and slow: the first level of the kernels, and what is left where no other fits.
import type { FragC } from '../../ptx/fragments.ts';
import { kernel, type Params } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type B32, f32 } from '../../ptx/values.ts';
import { type RawHalves, rawCodec, rawHalves } from './codec.ts';
import { type Epilogue, store } from './epilogue.ts';
import { type Family, runnable, type WeightShape } from './family.ts';
import {
  CODE_BYTES,
  groupBytes,
  HALF_STRIP_BYTES,
  ROW_PAIRS_BYTES,
  rowTiles,
  STEP_K,
  STRIP_K,
  STRIP_ROWS,
  stripBytes,
  stripsAlongK,
} from './layout.ts';
import { type HalfType, SYMMETRIC_ZERO } from './pack.ts';

/** Columns of the matrix instruction. */
const TOKENS = 8;
const WORD_BYTES = 4;

export type SimpleParams = {
  readonly strips: 'b32*';
  /** [n padded to 16] */
  readonly factors: 'f32*';
  /** [n]; not read without a bias. */
  readonly bias: 'f32*';
  /** [m, k] */
  readonly x: 'b16*';
  /** [m, n] of the epilogue's type. */
  readonly y: 'u8*';
  readonly m: 'u32';
};

/** Grid: row tiles x tiles of 8 tokens. k must be even. */
export function marlinSimple(weights: WeightShape, epilogue: Epilogue): Program<SimpleParams> {
  return weights.type === 'f16' ? build(weights, epilogue, rawHalves.f16) : build(weights, epilogue, rawHalves.bf16);
}

function build<T extends HalfType>(
  weights: WeightShape,
  epilogue: Epilogue,
  halves: RawHalves<T>,
): Program<SimpleParams> {
  const { n, k: columns, scheme, type } = weights;
  const [strips, stepsOfGroup] = [stripsAlongK(weights), scheme.group / STEP_K];
  const { factors: rawFactors, bias: rawBias } = rawCodec[type];
  const params: SimpleParams = { strips: 'b32*', factors: 'f32*', bias: 'f32*', x: 'b16*', y: 'u8*', m: 'u32' };
  return kernel({ name: 'marlin_simple', threads: 32, params }, (k, p) => {
    const [g, c] = [k.lane.div(4), k.lane.mod(4)];
    // Tokens behind the last are computed as copies of that, and not stored.
    const token = k.cta.y.mul(TOKENS).add(g).min(p.m.sub(1));
    const ownX = p.x.at(token.mul(columns));
    const ones = halves.constant(k, [1 / rawFactors[0], 1 / rawFactors[1]]);
    const total = k.accumulator();

    k.loop(0, strips, 1, (strip) => {
      const words = p.strips.at(
        k.cta.x
          .mul(strips)
          .add(strip)
          .mul(stripBytes(scheme) / WORD_BYTES),
      );
      const codes = [0, HALF_STRIP_BYTES].flatMap((half) =>
        k.ldGlobal(words.at(k.lane.mul(4).add(half / WORD_BYTES)), 4),
      );
      const pairOfX = (column: ReturnType<typeof strip.add>): B32 => {
        if (columns % STRIP_K === 0) return k.ldGlobal(ownX.at(column), 1)[0]!;
        // Behind the matrix the weights are 0, but what lies there may be no number.
        const [pair] = k.ldGlobal(ownX.at(column.min(columns - 2)), 1);
        return k.select(column.lt(columns), pair!, pair!.and(0));
      };
      for (let group = 0; group < STRIP_K / scheme.group; group++) {
        const pairs = words.at(g.add((CODE_BYTES + group * groupBytes(scheme)) / WORD_BYTES));
        const scales = halves.toF32(k.ldGlobal(pairs, 1)[0]!);
        const zeros = scheme.zeroPoints
          ? halves.toF32(k.ldGlobal(pairs.at(ROW_PAIRS_BYTES / WORD_BYTES), 1)[0]!)
          : ([f32(SYMMETRIC_ZERO), f32(SYMMETRIC_ZERO)] as const);
        // Raw codes are too large by the same number for all k of a group: that times the sum of x comes off afterwards.
        const [raw, sumOfX] = [k.accumulator(), k.accumulator()];
        for (let i = 0; i < stepsOfGroup; i++) {
          const step = group * stepsOfGroup + i;
          const first = strip
            .mul(STRIP_K)
            .add(c.mul(2))
            .add(step * STEP_K);
          const b = halves.fragB(k, pairOfX(first), pairOfX(first.add(8)));
          k.mma(raw, halves.raw(k, codes[step]!), b);
          k.mma(sumOfX, ones, b);
        }
        for (const [j, sum] of total.values.entries()) {
          const row = j >> 1;
          const excess = zeros[row]!.add(rawBias);
          const product = sumOfX.values[j]!.fma(excess.neg(), raw.values[j]!);
          sum.set(product.fma(scales[row]!.mul(rawFactors[row]!), sum));
        }
      }
    });
    storeTile(k, p, total, n, epilogue);
  });
}

/** Sums change places, so that 16 lanes store 16 channels of a token. */
function storeTile(k: K, p: Params<SimpleParams>, total: FragC, n: number, epilogue: Epilogue): void {
  // The padding keeps both the fragments' stores and the loads of token t and t + 4 in different banks.
  const tile = rows('f32', [TOKENS, STRIP_ROWS], 4);
  const staged = k.shared(tile);
  for (const [j, sum] of total.values.entries()) {
    const at = tile.at(
      k.lane
        .mod(4)
        .mul(2)
        .add(j & 1),
      k.lane.div(4).add(8 * (j >> 1)),
    );
    k.stShared(staged.at(at), [sum.asB32()]);
  }
  k.syncWarp();
  const inTile = k.lane.mod(STRIP_ROWS);
  const row = k.cta.x.mul(STRIP_ROWS).add(inTile);
  for (let t = 0; t < TOKENS / 2; t++) {
    const inTokens = k.lane
      .div(STRIP_ROWS)
      .mul(TOKENS / 2)
      .add(t);
    const token = k.cta.y.mul(TOKENS).add(inTokens);
    const sum = k.ldShared(staged.at(tile.at(inTokens, inTile)), 1)[0]!.asF32();
    k.if(token.lt(p.m).and(row.lt(n)), () => {
      const added = epilogue.bias ? k.ldF32(p.bias.at(row)) : f32(0);
      store(k, epilogue, p.y, token.mul(n).add(row), sum.fma(k.ldF32(p.factors.at(row)), added));
    });
  }
}

/** A warp waits for each strip: this long when all want memory at once (assumed, on the high side: it is for where nothing else runs). At most 32 of
 * these CTAs live on a multiprocessor. */
const STRIP_MICROSECONDS = 3;
const CTAS_OF_MULTIPROCESSOR = 32;

export const simpleFamily: Family = {
  name: 'simple',
  needs: 'sm_80',
  tokens: [1, TOKENS * 65_535],
  refusal: ({ pairs = 'none' }) => (pairs === 'none' ? null : 'it makes nothing of pairs of rows'),
  candidates: (problem, { multiprocessors }) => {
    const grid = [rowTiles(problem), Math.ceil(problem.m / TOKENS)] as const;
    const turns = Math.ceil((grid[0] * grid[1]) / (CTAS_OF_MULTIPROCESSOR * multiprocessors));
    return [
      {
        kernel: 'simple',
        tiling: { channels: STRIP_ROWS, tokens: TOKENS },
        grid,
        cost: 3 + turns * stripsAlongK(problem) * STRIP_MICROSECONDS,
        workspaceBytes: 0,
        build: (epilogue) =>
          runnable(marlinSimple(problem, epilogue), ({ strips, factors, bias, x, y, tokens }) => ({
            strips,
            factors,
            bias,
            x,
            y,
            m: tokens,
          })),
      },
    ];
  },
};
