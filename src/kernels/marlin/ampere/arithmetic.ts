// The codec of one 16-bit type as one object, so that the kernel is written once for f16 and bf16. Knows no layout and no kernel.
import type { FragA } from '../../../ptx/fragments.ts';
import type { K } from '../../../ptx/trace.ts';
import type { B32, Bf16x2, F16x2 } from '../../../ptx/values.ts';
import {
  type GroupScale,
  groupScaleBf16,
  groupScaleF16,
  type RawCodec,
  rawCodec,
  type RawHalves,
  rawHalves,
  SCALED_FACTOR,
  scaledBf16,
  scaledF16,
} from '../codec.ts';
import type { HalfType } from '../pack.ts';

/** V: a pair of T. */
export interface Arithmetic<T extends HalfType, V> extends RawHalves<T> {
  readonly rawCodec: RawCodec;
  readonly groupScale: (scales: B32, zeros: B32 | null) => GroupScale<V>;
  readonly scaled: (k: K, word: B32, scale: GroupScale<V>) => FragA<T>;
  readonly scaledFactor: number;
}

export const f16Arithmetic: Arithmetic<'f16', F16x2> = {
  ...rawHalves.f16,
  rawCodec: rawCodec.f16,
  groupScale: groupScaleF16,
  scaled: scaledF16,
  scaledFactor: SCALED_FACTOR.f16,
};

export const bf16Arithmetic: Arithmetic<'bf16', Bf16x2> = {
  ...rawHalves.bf16,
  rawCodec: rawCodec.bf16,
  groupScale: groupScaleBf16,
  scaled: scaledBf16,
  scaledFactor: SCALED_FACTOR.bf16,
};
