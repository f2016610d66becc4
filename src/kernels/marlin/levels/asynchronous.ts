// Steps 3 to 5: strips and activations come asynchronously, three on their way while one is multiplied; then without bank conflicts; then with fewer
// operations a weight.
import { kernel } from '../../../ptx/kernel.ts';
import { type Layout, rows, swizzled } from '../../../ptx/layout.ts';
import type { Program } from '../../../ptx/program.ts';
import { type U32, u32 } from '../../../ptx/values.ts';
import { groupScaleF16, rawCodec, rawF16, rawHalves, SCALED_FACTOR, scaledF16 } from '../codec.ts';
import { HALF_STRIP_BYTES, type MatrixSize, STEPS, STRIP_K, VECTOR_BYTES, VECTOR_STEPS } from '../layout.ts';
import { SYMMETRIC_ZERO } from '../pack.ts';
import { type LevelParams, PARAMS, SCALES, storeTile, STRIP_WORDS, stripsOf, TOKENS } from './operands.ts';

export interface Asynchronous {
  /** Step 4: activations lie so that ldmatrix meets no conflicts. */
  readonly swizzle: boolean;
  /** Step 5: codes are multiplied as they are, and a group's sums scaled. */
  readonly raw: boolean;
}

const STAGES = 4;
const CHUNK = 16;

/** Grid: [n / 16]. */
export function asynchronous(size: MatrixSize, { swizzle, raw }: Asynchronous): Program<LevelParams> {
  const [strips, activations] = [stripsOf(size), rows('f16', [TOKENS, size.k])];
  const stripTile = rows('b32', [1, STRIP_WORDS]);
  const tokenTile: Layout<'f16'> = (swizzle ? swizzled : rows)('f16', [TOKENS, STRIP_K]);
  const alongK = size.k / STRIP_K;
  const name = `marlin_asynchronous${swizzle ? '_swizzled' : ''}${raw ? '_raw' : ''}`;

  return kernel({ name, threads: 32, params: PARAMS }, (k, p) => {
    const [sStrips, sTokens] = [k.shared(stripTile, STAGES), k.shared(tokenTile, STAGES)];
    const sums = k.accumulator();

    /** Begins to copy strip `at` of the row tile, and 128 k of the tokens. */
    const fetch = (at: U32): void => {
      const strip = p.strips.at(strips.at(k.cta.x.mul(alongK).add(at), 0));
      const stage = sStrips.at(at.mod(STAGES).mul(stripTile.count));
      for (let word = 0; word < STRIP_WORDS; word += 32 * (CHUNK / 4)) {
        const mine = k.lane.mul(CHUNK / 4).add(word);
        k.if(mine.lt(STRIP_WORDS), () => k.cpAsync(stage.at(mine), strip.at(mine)));
      }
      const tokens = sTokens.at(at.mod(STAGES).mul(tokenTile.count));
      const [row, column] = [k.lane.div(16), k.lane.mod(16).mul(CHUNK / 2)];
      for (let first = 0; first < TOKENS; first += 2) {
        const token = row.add(first);
        k.cpAsync(tokens.at(tokenTile.at(token, column)), p.x.at(activations.at(token, at.mul(STRIP_K).add(column))));
      }
    };

    for (let at = 0; at < STAGES - 1; at++) {
      if (at < alongK) fetch(u32(at));
      k.cpAsyncCommit();
    }
    k.loop(0, alongK, 1, (at) => {
      k.cpAsyncWait(STAGES - 2);
      // All lanes' copies of this stage are there, and all lanes have read the one filled next.
      k.syncWarp();
      const next = at.add(STAGES - 1);
      k.if(next.lt(alongK), () => fetch(next));
      k.cpAsyncCommit();

      const strip = sStrips.at(at.mod(STAGES).mul(stripTile.count));
      const tokens = sTokens.at(at.mod(STAGES).mul(tokenTile.count));
      const words = Array.from({ length: STEPS / VECTOR_STEPS }, (_, half) =>
        k.ldShared(strip.at(k.lane.mul(VECTOR_BYTES / 4).add((half * HALF_STRIP_BYTES) / 4)), 4),
      ).flat();
      const [pair] = k.ldShared(strip.at(k.lane.div(4).add(SCALES)), 1);
      // One ldmatrix brings two steps of eight tokens.
      const b = Array.from({ length: STEPS / 2 }, (_, two) => {
        const column = k.lane
          .div(8)
          .mul(8)
          .add(32 * two);
        return k.ldmatrixB2(tokens.at(tokenTile.at(k.lane.mod(8), column)));
      }).flat();

      if (raw) {
        const [group, ofX] = [k.accumulator(), k.accumulator()];
        const [row, below] = rawCodec.f16.factors;
        const eight = rawHalves.f16.constant(k, [SYMMETRIC_ZERO / row, SYMMETRIC_ZERO / below]);
        for (const [step, word] of words.entries()) {
          k.mma(group, rawF16(k, word), b[step]!);
          k.mma(ofX, eight, b[step]!);
        }
        const scale = rawHalves.f16.toF32(pair!);
        for (const [i, sum] of sums.values.entries())
          sum.set(group.values[i]!.sub(ofX.values[i]!).fma(scale[i >> 1]!, sum));
      } else {
        const scale = groupScaleF16(pair!, null);
        for (const [step, word] of words.entries()) k.mma(sums, scaledF16(k, word, scale), b[step]!);
      }
    });
    const powers = raw ? rawCodec.f16.factors : ([SCALED_FACTOR.f16, SCALED_FACTOR.f16] as const);
    storeTile(k, size, k.cta.x, sums, p, powers);
  });
}
