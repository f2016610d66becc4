// A scale as a checkpoint stores it. Knows no way to find one.
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import type { ScaleDtype } from '../formats/quantized.ts';

/** Scales that are not 0, whose inverse an f32 can hold: a group too small for any other scale gets this one. */
const SMALLEST_SCALE: Readonly<Record<ScaleDtype, number>> = { F16: 2 ** -24, BF16: 2 ** -126 };

/** The nearest scale that `dtype` holds. */
export function storedScale(scale: number, dtype: ScaleDtype): number {
  const stored = dtype === 'F16' ? f16ToNumber(numberToF16(scale)) : bf16ToNumber(numberToBf16(scale));
  return Math.max(stored, SMALLEST_SCALE[dtype]);
}

/** Its bits. Errors: 'scale-overflow'. */
export function scaleBits(name: string, scale: number, dtype: ScaleDtype): number {
  if (!(scale < Infinity)) throw errors.scaleOverflow(name, scale, dtype);
  return dtype === 'F16' ? numberToF16(scale) : numberToBf16(scale);
}
