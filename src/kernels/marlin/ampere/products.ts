// What a warp makes of its half of a stage: codes to fragments, fragments to sums. Raw codes for few tokens, scaled weights for more.
import type { FragB, FragC } from '../../../ptx/fragments.ts';
import type { K } from '../../../ptx/trace.ts';
import type { B32 } from '../../../ptx/values.ts';
import { type Scheme, STEP_K } from '../layout.ts';
import { type HalfType, SYMMETRIC_ZERO } from '../pack.ts';
import type { Arithmetic } from './arithmetic.ts';
import { groupsOfWarp, type Reader, type Stage, stepsAtOnce, stripsOfWarp, WARP_K } from './stage.ts';
import { MOST_RAW_TOKENS, type Tiling } from './tiling.ts';

/** [strips of a warp][8 tokens]: sums of 16 rows each. */
export type Sums = readonly (readonly FragC[])[];

export const warpSums = (k: K, tiling: Tiling): Sums =>
  Array.from({ length: stripsOfWarp(tiling) }, () => tokenSums(k, tiling));
const tokenSums = (k: K, { tokens }: Tiling): readonly FragC[] =>
  Array.from({ length: tokens / 8 }, () => k.accumulator());

/** Whether scales come to the sums. */
export const isRaw = ({ tokens }: Tiling): boolean => tokens <= MOST_RAW_TOKENS;

/** What sums are to be multiplied with in the end, for a lane's row and for the one 8 below. */
export function powersOf<T extends HalfType, V>(
  arithmetic: Arithmetic<T, V>,
  tiling: Tiling,
): readonly [row: number, rowBelow: number] {
  const { rawCodec, scaledFactor } = arithmetic;
  return isRaw(tiling) ? rawCodec.factors : [scaledFactor, scaledFactor];
}

const STEPS = WARP_K / STEP_K;

/** Adds the products of a stage to the sums of a warp. */
export function multiplyStage<T extends HalfType, V>(
  k: K,
  arithmetic: Arithmetic<T, V>,
  sums: Sums,
  stage: Stage,
  reader: Reader,
  { tiling, scheme }: { readonly tiling: Tiling; readonly scheme: Scheme },
): void {
  const strips = [...sums.keys()];
  const codes = strips.map((strip) => reader.codes(stage, strip));
  const tokens = ahead(k, arithmetic, stage, reader, tiling);
  const groups = groupsOfWarp(scheme);
  for (let group = 0; group < groups; group++) {
    const scales = strips.map((strip) => ({
      scale: reader.scales(stage, strip, group),
      zero: scheme.zeroPoints ? reader.zeros(stage, strip, group) : null,
    }));
    const steps = Array.from({ length: STEPS / groups }, (_, i) => (STEPS / groups) * group + i);
    if (isRaw(tiling)) multiplyRaw(k, arithmetic, sums, { codes, scales, steps, tokens });
    else multiplyScaled(k, arithmetic, sums, { codes, scales, steps, tokens });
  }
}

/** Activations step by step; the next are under way while these are multiplied. */
function ahead<T extends HalfType, V>(
  k: K,
  arithmetic: Arithmetic<T, V>,
  stage: Stage,
  reader: Reader,
  tiling: Tiling,
): (step: number) => readonly FragB<T>[] {
  const load = (step: number): readonly (readonly FragB<T>[])[] =>
    reader.tokens(stage, step).map((one) => one.map(([low, high]) => arithmetic.fragB(k, low, high)));
  const loaded = load(0).slice();
  return (step) => {
    if (loaded.length <= step + stepsAtOnce(tiling) && loaded.length < STEPS) loaded.push(...load(loaded.length));
    return loaded[step]!;
  };
}

interface Group<T extends HalfType> {
  /** [strip][step] */
  readonly codes: readonly (readonly B32[])[];
  /** [strip]: of rows g and g + 8. */
  readonly scales: readonly { readonly scale: B32; readonly zero: B32 | null }[];
  readonly steps: readonly number[];
  readonly tokens: (step: number) => readonly FragB<T>[];
}

/**
 * sums += scale * (sum of raw codes * x - (bias + zero) * sum of x). The sums of x come from one fragment of a constant that all strips share; it is
 * as large as a raw code of 1 (of bias + 8 where zero points are constant as well), so that both have the same unit.
 */
function multiplyRaw<T extends HalfType, V>(
  k: K,
  arithmetic: Arithmetic<T, V>,
  sums: Sums,
  { codes, scales, steps, tokens }: Group<T>,
): void {
  const { factors, bias } = arithmetic.rawCodec;
  const constant = scales[0]!.zero === null ? bias + SYMMETRIC_ZERO : 1;
  const ones = arithmetic.constant(k, [constant / factors[0], constant / factors[1]]);
  const ofX = sums[0]!.map(() => k.accumulator());
  const ofGroup = sums.map((row) => row.map(() => k.accumulator()));
  for (const step of steps) {
    const b = tokens(step);
    for (const [j, sum] of ofX.entries()) k.mma(sum, ones, b[j]!);
    for (const [i, row] of ofGroup.entries()) {
      const a = arithmetic.raw(k, codes[i]![step]!);
      for (const [j, sum] of row.entries()) k.mma(sum, a, b[j]!);
    }
  }
  for (const [i, row] of sums.entries()) {
    const { scale, zero } = scales[i]!;
    const scaleOf = arithmetic.toF32(scale);
    const minus = zero === null ? null : arithmetic.toF32(zero).map((value) => value.add(bias).neg());
    for (const [j, { values }] of row.entries()) {
      for (const [v, sum] of values.entries()) {
        // Sums 0 and 1 are of the lane's row, 2 and 3 of the one 8 below.
        const [below, x, group] = [v >> 1, ofX[j]!.values[v]!, ofGroup[i]![j]!.values[v]!];
        const centred = minus === null ? group.sub(x) : x.fma(minus[below]!, group);
        sum.set(centred.fma(scaleOf[below]!, sum));
      }
    }
  }
}

/** sums += weights * x, a fragment of weights for all tokens. */
function multiplyScaled<T extends HalfType, V>(
  k: K,
  arithmetic: Arithmetic<T, V>,
  sums: Sums,
  { codes, scales, steps, tokens }: Group<T>,
): void {
  const scaleOf = scales.map(({ scale, zero }) => arithmetic.groupScale(scale, zero));
  for (const step of steps) {
    const b = tokens(step);
    for (const [i, row] of sums.entries()) {
      const a = arithmetic.scaled(k, codes[i]![step]!, scaleOf[i]!);
      for (const [j, sum] of row.entries()) k.mma(sum, a, b[j]!);
    }
  }
}
