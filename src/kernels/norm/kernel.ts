// RMS norm (Zhang and Sennrich 2019): a row of f32 a CTA, kept in registers between the sum and the product; f16 out.
import { kernel } from '../../ptx/kernel.ts';
import type { Global } from '../../ptx/pointers.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type F32, f32, type U32 } from '../../ptx/values.ts';
import {
  awaitInputs,
  ctaSum,
  halvesOf,
  loadFloats,
  type Overlap,
  requireMultiple,
  targetOf,
  within,
} from '../vectors.ts';

export interface NormShape extends Overlap {
  /** Of a row: a multiple of 4. */
  readonly width: number;
}

export type RmsNormParams = {
  /** [rows, width]; the first row to be read is `first`. */
  readonly x: 'f32*';
  /** [width] */
  readonly gain: 'f32*';
  /** [rows, width], from its start. */
  readonly y: 'f16*';
  readonly epsilon: 'f32';
  readonly first: 'u32';
};

/** f32 of a load of 16 bytes. */
const VECTOR = 4;
/** Loads of a thread that it keeps: 16 registers. */
const KEPT = 4;

/** y = x * gain / sqrt(mean(x^2) + epsilon). Grid: [rows]. Errors: RangeError for another width. */
export function rmsNorm(shape: NormShape): Program<RmsNormParams> {
  const { width } = shape;
  const threads = threadsOf(width);
  const params: RmsNormParams = { x: 'f32*', gain: 'f32*', y: 'f16*', epsilon: 'f32', first: 'u32' };
  return kernel(
    { name: `rms_norm_${width}`, threads, target: targetOf(shape), params },
    (k, { x, gain, y, epsilon, first }) => {
      awaitInputs(k, shape);
      const row = k.cta.x;
      const from = x.at(first.add(row).mul(width));
      const values = eachVector(k, width, (at) => loadFloats(k, from.at(at)));
      normalize(k, width, values, gain, epsilon, y.at(row.mul(width)));
    },
  );
}

function threadsOf(width: number): number {
  requireMultiple('the width', width, VECTOR);
  return Math.min(1024, 32 * Math.ceil(width / (32 * VECTOR * KEPT)));
}

/** Where a thread's vectors lie in a row, as many as the row needs. */
function placesOf(k: K, width: number): readonly U32[] {
  const threads = threadsOf(width);
  return Array.from({ length: Math.ceil(width / (VECTOR * threads)) }, (_, i) => k.thread.add(i * threads).mul(VECTOR));
}

/** The vectors that `load` gives for a thread's places in the row, zeros behind its end. */
function eachVector(k: K, width: number, load: (at: U32) => readonly F32[]): readonly (readonly F32[])[] {
  const most = VECTOR * threadsOf(width);
  return placesOf(k, width).map((at, i) => {
    if ((i + 1) * most <= width) return load(at);
    const kept = Array.from({ length: VECTOR }, () => k.var(f32(0)));
    k.if(at.lt(width), () => {
      for (const [j, value] of load(at).entries()) kept[j]!.set(value);
    });
    return kept;
  });
}

function normalize(
  k: K,
  width: number,
  vectors: readonly (readonly F32[])[],
  gain: Global<'f32'>,
  epsilon: F32,
  to: Global<'f16'>,
): void {
  const threads = threadsOf(width);
  const squares = vectors.flat().reduce<F32>((sum, value) => value.fma(value, sum), f32(0));
  const factor = ctaSum(k, squares, threads)
    .mul(1 / width)
    .add(epsilon)
    .rsqrt();
  for (const [i, at] of placesOf(k, width).entries()) {
    within(k, at, width, (i + 1) * VECTOR * threads, () => {
      const gains = loadFloats(k, gain.at(at));
      const [a, b] = halvesOf(vectors[i]!.map((value, j) => value.mul(factor).mul(gains[j]!)));
      k.stGlobal(to.at(at), [a!, b!]);
    });
  }
}
