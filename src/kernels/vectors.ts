// Pieces that kernels share: rows of 16-bit numbers as f32, sums over lanes and warps, how kernels of one stream overlap. Knows no operation.
import { rows } from '../ptx/layout.ts';
import type { Global } from '../ptx/pointers.ts';
import type { ElemType, Target } from '../ptx/program.ts';
import type { K } from '../ptx/trace.ts';
import { type B32, type F32, f32, type Int, pairOfHalves, type Pred } from '../ptx/values.ts';

/** 16-bit numbers in the 16 bytes that a lane loads at once. */
export const PER_LOAD = 8;
/** log2 of e: kernels compute e^x as 2^(x log2 e), which the hardware has. */
export const LOG2_E = 1.4426950408889634;

/** What a kernel may ask of the launch around it. */
export interface Overlap {
  /**
   * For launches that overlap (sm_90): the kernel waits for the memory of those before it, and lets the next one begin. Default false.
   */
  readonly overlap?: boolean;
}

export function targetOf({ overlap = false }: Overlap): Target {
  return overlap ? 'sm_90' : 'sm_80';
}

/** First thing in a kernel. The next kernel may begin before this one's wait is over: it waits for the memory of both. */
export function awaitInputs(k: K, { overlap = false }: Overlap): void {
  if (!overlap) return;
  k.griddepcontrolLaunchDependents();
  k.griddepcontrolWait();
}

/** Two numbers for each word. */
export function floatsOf(words: readonly B32[], type: 'f16' | 'bf16' = 'f16'): readonly F32[] {
  return words.flatMap((word) => {
    if (type === 'bf16') return [word.asBf16x2().lowerToF32(), word.asBf16x2().upperToF32()];
    return [word.asF16x2().lower().f16ToF32(), word.asF16x2().upper().f16ToF32()];
  });
}

/** Numbers rounded to f16, two a word. */
export function halvesOf(values: readonly F32[]): readonly B32[] {
  return Array.from({ length: values.length / 2 }, (_, i) => pairOfHalves(values[2 * i]!, values[2 * i + 1]!).asB32());
}

/** Stores eight numbers as 16 bytes of f16. */
export function storeHalves(k: K, to: Global<'f16'>, values: readonly F32[]): void {
  const [a, b, c, d] = halvesOf(values);
  k.stGlobal(to, [a!, b!, c!, d!]);
}

/** Four f32. */
export function loadFloats(k: K, from: Global<'f32'>): readonly F32[] {
  return k.ldGlobal(from, 4).map((word) => word.asF32());
}

/** Four f32 as 16 bytes. */
export function storeFloats(k: K, to: Global<'f32'>, values: readonly F32[]): void {
  const [a, b, c, d] = values.map((value) => value.asB32());
  k.stGlobal(to, [a!, b!, c!, d!]);
}

/** The sum over each run of `lanes` lanes (a power of two), in all of them. */
export function laneSum(k: K, value: F32, lanes = 32): F32 {
  let sum = value;
  for (let mask = lanes / 2; mask >= 1; mask /= 2) sum = sum.add(k.shflBfly(sum, mask));
  return sum;
}

/** The sum over all threads of a CTA of `threads`, in all of them; once a kernel, since it takes shared memory of its own. */
export function ctaSum(k: K, value: F32, threads: number): F32 {
  const warps = threads / 32;
  const sum = laneSum(k, value);
  if (warps === 1) return sum;
  const parts = k.shared(rows('f32', [1, warps]));
  k.if(k.lane.eq(0), () => k.stShared(parts.at(k.warp), [sum.asB32()]));
  k.barSync();
  let total: F32 = f32(0);
  for (let warp = 0; warp < warps; warp++) total = total.add(k.ldShared(parts.at(warp), 1)[0]!.asF32());
  return total;
}

/** Runs `body` where `index` is below `count`; without a branch when the build knows that all `most` indices are. */
export function within(k: K, index: { lt(x: Int): Pred }, count: number, most: number, body: () => void): void {
  if (most <= count) body();
  else k.if(index.lt(count), body);
}

/** `count` elements of a type, for messages: RangeError unless it is a multiple of `step`. */
export function requireMultiple(what: string, count: number, step: number): void {
  if (!Number.isInteger(count / step) || count < step)
    throw new RangeError(`${what} ${count} is no multiple of ${step}`);
}

/** What a kernel reads of a step, in device memory, so that one graph serves every step. */
export const STATE_POSITION = 0;
export const STATE_TOKENS = 1;
/** Where the step's token ids begin. */
export const STATE_IDS = 4;

/** One u32 of it. */
export function stateOf(k: K, state: Global<Extract<ElemType, 'u32'>>, index: Int): ReturnType<B32['asU32']> {
  return k.ldGlobal(state.at(index), 1)[0]!.asU32();
}
