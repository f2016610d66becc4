// The consuming warpgroups of the 4-bit product on wgmma: codes out of shared memory into A fragments while the product before is under way.
// Knows neither where stages come from nor where sums go.
import type { FragA, MatrixSlab, WgmmaSums } from '../../../ptx/fragments.ts';
import type { MBarrier, Shared } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import type { B32, Int, Pred, U32 } from '../../../ptx/values.ts';
import { release, type Ring } from '../../persistent.ts';
import { groupScaleBf16, groupScaleF16, scaledBf16, scaledF16 } from '../codec.ts';
import {
  CODE_BYTES,
  groupBytes,
  groupsOf,
  HALF_STRIP_BYTES,
  PAIR_BYTES,
  ROW_PAIRS_BYTES,
  type Scheme,
  STEP_K,
  STRIP_K,
  stripBytes,
  VECTOR_BYTES,
  VECTOR_STEPS,
} from '../layout.ts';
import type { HalfType } from '../pack.ts';
import type { Stages } from './produce.ts';
import { BOX_K, depthOf, stageBytes, type TileTiling } from './tiling.ts';

export interface Format {
  readonly type: HalfType;
  readonly scheme: Scheme;
}

type Convert = (word: B32) => FragA<HalfType>;

/** sums += W . X^T over `count` stages of the ring. `strip`: which of the CTA's strips of 16 rows is the warp's. */
export function multiply(
  k: K,
  sums: WgmmaSums,
  stages: Stages,
  ring: Ring,
  count: Int,
  strip: U32,
  { format, tiling }: { readonly format: Format; readonly tiling: TileTiling },
): void {
  const { tokens, stageK, multicast } = tiling;
  const bytes = stageBytes(tiling, format.scheme).weights;
  const run = depthOf(tiling) * stripBytes(format.scheme);
  const before = k.var<U32>(ring.stage);

  k.loop(0, count, 1, (step) => {
    k.mbarrierWait(stages.full.at(ring.stage), ring.parity);
    const codes = stages.weights.at(ring.stage.mul(bytes).add(strip.mul(run)));
    const boxes = k.slab(stages.tokens.at(ring.stage.mul(tokens * stageK)));
    const multiplyStrip = (i: Int): void => {
      const halves = halfStrips(k, codes.at(times(i, stripBytes(format.scheme))), format);
      const box = onwards(boxes, times(i, (tokens * STRIP_K * 2) / DESCRIPTOR_UNIT));
      for (const [half, { words, convert }] of halves.entries()) {
        // Of the products before, the last half may go on: it has other fragments. The one before it is over, and after
        // the first half of a stage that was all of the stage before.
        k.wgmmaWait(1);
        if (half === 1) {
          letGo(k, stages.empty.at(before), multicast, typeof i === 'number' ? step.ne(0) : i.eq(0).and(step.ne(0)));
        }
        const fragments = words.map((word, at) => convert[at]!(word));
        k.wgmmaFence();
        for (const [at, fragment] of fragments.entries())
          k.wgmma(sums, fragment, onwards(box, (half * tokens * BOX_K * 2 + at * STEP_K * 2) / DESCRIPTOR_UNIT));
        k.wgmmaCommit();
      }
    };
    // A loop: ptxas gives each half of what is unrolled registers of its own, and four warpgroups have them for two.
    if (depthOf(tiling) === 1) multiplyStrip(0);
    else k.loop(0, depthOf(tiling), 1, multiplyStrip);
    before.set(ring.stage);
    ring.advance();
  });
  k.wgmmaWait(0);
  letGo(k, stages.empty.at(before), multicast);
}

/** Arrivals of a warp that `letGo` makes at a barrier, those of the cluster's other CTAs included. */
export const arrivals = (multicast: number): number => (multicast === 1 ? 32 : multicast);

/**
 * Each lane says of itself that it has read the stage. (One for all of a warp, after a barrier of the warp, is as right and as fast, but
 * racecheck takes only the lane that arrives for ordered.) Across a cluster that would be many arrivals far away: there one lane speaks for the warp.
 */
function letGo(k: K, barrier: MBarrier, multicast: number, when: Pred | null = null): void {
  if (multicast > 1) {
    k.syncWarp();
    release(k, barrier, multicast, when);
  } else if (when === null) k.mbarrierArrive(barrier);
  else k.if(when, () => k.mbarrierArrive(barrier));
}

const DESCRIPTOR_UNIT = 16;

/** The slab so many units of 16 bytes further on. */
const onwards = (slab: MatrixSlab<HalfType>, units: Int): MatrixSlab<HalfType> => ({
  ...slab,
  low: slab.low.add(units),
});

const times = (x: Int, factor: number): Int => (typeof x === 'number' ? x * factor : x.mul(factor));

interface HalfStrip {
  readonly words: readonly B32[];
  /** For each word. */
  readonly convert: readonly Convert[];
}

/** Loads a lane's words and scales of a strip: for each 64 k four words, and how each becomes a fragment. */
function halfStrips(k: K, strip: Shared<'u8'>, format: Format): HalfStrip[] {
  const lane = strip.at(k.lane.mul(VECTOR_BYTES));
  const words = [0, 1].map((half) => k.ldShared(lane.at(half * HALF_STRIP_BYTES), 4));
  const groups = Array.from({ length: groupsOf(format.scheme) }, (_, group) => converter(k, strip, group, format));
  return words.map((four, half) => ({
    words: four,
    convert: four.map((_, i) => groups[groupOf(half * VECTOR_STEPS + i, format.scheme)]!),
  }));
}

const groupOf = (step: number, scheme: Scheme): number => Math.floor((step * STEP_K) / (STRIP_K / groupsOf(scheme)));

/** Loads the scales of a group, for rows g and g + 8 of a lane. */
function converter(k: K, strip: Shared<'u8'>, group: number, { type, scheme }: Format): Convert {
  const pairs = strip.at(CODE_BYTES + group * groupBytes(scheme)).at(k.lane.div(4).mul(PAIR_BYTES));
  const [scales] = k.ldShared(pairs, 1);
  const zeros = scheme.zeroPoints ? k.ldShared(pairs.at(ROW_PAIRS_BYTES), 1)[0]! : null;
  if (type === 'f16') {
    const scale = groupScaleF16(scales!, zeros);
    return (word) => scaledF16(k, word, scale);
  }
  const scale = groupScaleBf16(scales!, zeros);
  return (word) => scaledBf16(k, word, scale);
}
