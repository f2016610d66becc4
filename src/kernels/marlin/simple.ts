// The 4-bit product in its simplest form: one warp for 16 channels and 8 tokens, everything straight from global memory. Right for every shape and
// epilogue, and slow: the first level of the kernels, and what is left where no other fits.
import type { FragC } from '../../ptx/fragments.ts';
import { kernel, type Params } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type B32, bf16x2, type F32, half2 } from '../../ptx/values.ts';
import { constantBf16, constantF16, rawBf16, rawCodec, rawF16 } from './codec.ts';
import { type Epilogue, outputParam, storeOutput, withBias } from './epilogue.ts';
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
import { SYMMETRIC_ZERO } from './pack.ts';

/** Columns of the matrix instruction. */
const TOKENS = 8;
const WORD_BYTES = 4;

export type SimpleParams = {
  readonly strips: 'b32*';
  readonly factors: 'f32*';
  readonly bias: 'f32*';
  readonly x: 'b16*';
  readonly y: 'b16*' | 'f32*';
  readonly m: 'u32';
};

/** Grid: row tiles x tiles of 8 tokens. k must be even. */
export function marlinSimple(weights: WeightShape, epilogue: Epilogue): Program<SimpleParams> {
  const { n, k: columns, scheme, type } = weights;
  const [strips, stepsOfGroup] = [stripsAlongK(weights), scheme.group / STEP_K];
  const params: SimpleParams = {
    strips: 'b32*',
    factors: 'f32*',
    bias: 'f32*',
    x: 'b16*',
    y: outputParam(epilogue.output),
    m: 'u32',
  };
  return kernel({ name: 'marlin_simple', threads: 32, params }, (k, p) => {
    const [g, c] = [k.lane.div(4), k.lane.mod(4)];
    const firstToken = k.cta.y.mul(TOKENS);
    // Tokens behind the last are computed as copies of that, and not stored.
    const ownX = p.x.at(firstToken.add(g).min(p.m.sub(1)).mul(columns));
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
      for (let group = 0; group < STRIP_K / scheme.group; group++) {
        const pairs = words.at(g.add((CODE_BYTES + group * groupBytes(scheme)) / WORD_BYTES));
        const [scales] = k.ldGlobal(pairs, 1);
        const zeros = scheme.zeroPoints ? k.ldGlobal(pairs.at(ROW_PAIRS_BYTES / WORD_BYTES), 1)[0]! : null;
        const sums = k.accumulator();
        for (let i = 0; i < stepsOfGroup; i++) {
          const step = group * stepsOfGroup + i;
          const first = strip
            .mul(STRIP_K)
            .add(c.mul(2))
            .add(step * STEP_K);
          const load = (at: number): B32 => {
            const column = first.add(at);
            if (columns % STRIP_K === 0) return k.ldGlobal(ownX.at(column), 1)[0]!;
            // Behind the matrix the weights are 0, but what lies there may be no number.
            const [pair] = k.ldGlobal(ownX.at(column.min(columns - 2)), 1);
            return k.select(column.lt(columns), pair!, pair!.and(0));
          };
          multiply(k, type, sums, codes[step]!, zeros, [load(0), load(8)]);
        }
        const scaleOf = scalesOf(type, scales!);
        for (const [j, sum] of total.values.entries()) sum.set(sums.values[j]!.fma(scaleOf[j >> 1]!, sum));
      }
    });
    store(k, p, total);
  });

  /** Sums change places, so that 16 lanes store 16 channels of a token. */
  function store(k: K, p: Params<SimpleParams>, total: FragC): void {
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
      const [sum] = k.ldShared(staged.at(tile.at(inTokens, inTile)), 1);
      k.if(token.lt(p.m).and(row.lt(n)), () => {
        const scaled = sum!.asF32().mul(k.ldF32(p.factors.at(row)));
        const place = token.mul(n).add(row);
        const to = p.y.elem === 'f32' ? p.y.at(place) : p.y.at(place);
        storeOutput(k, epilogue.output, to, withBias(k, epilogue, scaled, p.bias, row));
      });
    }
  }
}

/** sums += (codes - zero point) * x / factor, in two products: what the codes are too large by is subtracted as a fragment of its own. */
function multiply(
  k: K,
  type: WeightShape['type'],
  sums: FragC,
  word: B32,
  zeros: B32 | null,
  [low, high]: readonly [B32, B32],
): void {
  const { factors, bias } = rawCodec[type];
  const [row, below] = factors;
  if (type === 'f16') {
    const x = k.fragB([low.asF16x2(), high.asF16x2()]);
    k.mma(sums, rawF16(k, word), x);
    if (zeros === null) return k.mma(sums, constantF16(k, [-SYMMETRIC_ZERO / row, -SYMMETRIC_ZERO / below]), x);
    const a = zeros
      .permute(0, LOWER_TWICE)
      .asF16x2()
      .mul(half2(-1 / row));
    const b = zeros
      .permute(0, UPPER_TWICE)
      .asF16x2()
      .mul(half2(-1 / below));
    return k.mma(sums, k.fragA([a, b, a, b]), x);
  }
  const x = k.fragBBf16([low.asBf16x2(), high.asBf16x2()]);
  k.mma(sums, rawBf16(k, word), x);
  if (zeros === null) return k.mma(sums, constantBf16(k, [-bias - SYMMETRIC_ZERO, -bias - SYMMETRIC_ZERO]), x);
  const minus = (selector: number) => zeros.permute(0, selector).asBf16x2().fma(bf16x2(-1), bf16x2(-bias));
  const [a, b] = [minus(LOWER_TWICE), minus(UPPER_TWICE)];
  return k.mma(sums, k.fragABf16([a, b, a, b]), x);
}

/** One half of a word twice. */
const LOWER_TWICE = 0x1010;
const UPPER_TWICE = 0x3232;

/** {S[g], S[g + 8]} as what sums of raw products are multiplied with. */
function scalesOf(type: WeightShape['type'], pair: B32): readonly [F32, F32] {
  const { factors } = rawCodec[type];
  const [row, below] =
    type === 'f16'
      ? [pair.asF16x2().lower().f16ToF32(), pair.asF16x2().upper().f16ToF32()]
      : [pair.asBf16x2().lowerToF32(), pair.asBf16x2().upperToF32()];
  return [row.mul(factors[0]), below.mul(factors[1])];
}

/** A warp waits for each strip: about this long, and at most 32 of these CTAs live on a multiprocessor. */
const STRIP_MICROSECONDS = 1.2;
const CTAS_OF_MULTIPROCESSOR = 32;

export const simpleFamily: Family = {
  name: 'simple',
  needs: 'sm_80',
  tokens: [1, TOKENS * 65_535],
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
