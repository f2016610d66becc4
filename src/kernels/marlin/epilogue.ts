// What becomes of the f32 sums of a product before they are memory: a bias, rounding, adding to what is there. Knows no kernel.
import type { Global } from '../../ptx/pointers.ts';
import type { K } from '../../ptx/trace.ts';
import type { F32, U32 } from '../../ptx/values.ts';

/** 'add-f32' adds to what y holds, in f32: a residual stream. */
export type Output = 'f16' | 'bf16' | 'f32' | 'add-f32';

export interface Epilogue {
  readonly output: Output;
  /** One f32 a channel is added, before rounding. */
  readonly bias: boolean;
}

export const outputBytes = (output: Output): 2 | 4 => (output === 'f16' || output === 'bf16' ? 2 : 4);

/** What a kernel declares y as. */
export const outputParam = (output: Output): 'b16*' | 'f32*' => (outputBytes(output) === 2 ? 'b16*' : 'f32*');

/** Stores one sum, which has its bias already. */
export function storeOutput(k: K, output: Output, to: Global<'b16'> | Global<'f32'>, sum: F32): void {
  if (to.elem === 'f32') k.stF32(to, output === 'add-f32' ? k.ldF32(to).add(sum) : sum);
  else k.stB16(to, output === 'f16' ? sum.toF16() : sum.toBf16());
}

/** The sum of a channel with its bias, if there is one. */
export function withBias(k: K, { bias }: Epilogue, sum: F32, biases: Global<'f32'>, channel: U32): F32 {
  return bias ? sum.add(k.ldF32(biases.at(channel))) : sum;
}
