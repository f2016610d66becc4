// What becomes of a finished sum: bias, type, or addition to what is there. Shared by all 4-bit kernels; knows no tiling.
import type { Global } from '../../ptx/pointers.ts';
import type { K } from '../../ptx/trace.ts';
import { type F32, pairOfBf16, pairOfHalves, type U32 } from '../../ptx/values.ts';

export interface Epilogue {
  /** 'add-f32': added to the f32 that stand in y, as a residual is. */
  readonly output: 'f16' | 'bf16' | 'f32' | 'add-f32';
  /** A bias [n] in f32 is added. */
  readonly bias: boolean;
}

export const outputBytes = ({ output }: Epilogue): number => (output === 'f16' || output === 'bf16' ? 2 : 4);

/** Stores one sum at element `index` of y. */
export function store(k: K, { output }: Epilogue, y: Global<'u8'>, index: U32, sum: F32): void {
  switch (output) {
    case 'f16':
      return k.stB16(y.as('f16').at(index), sum.toF16());
    case 'bf16':
      return k.stB16(y.as('bf16').at(index), sum.toBf16());
    case 'f32':
      return k.stF32(y.as('f32').at(index), sum);
    case 'add-f32': {
      const place = y.as('f32').at(index);
      return k.stF32(place, k.ldF32(place).add(sum));
    }
  }
}

/** Stores the sums of two channels side by side, the first at the even element `index` of y. */
export function storePair(k: K, { output }: Epilogue, y: Global<'u8'>, index: U32, [a, b]: readonly [F32, F32]): void {
  switch (output) {
    case 'f16':
      return k.stGlobal(y.as('f16').at(index), [pairOfHalves(a, b).asB32()]);
    case 'bf16':
      return k.stGlobal(y.as('bf16').at(index), [pairOfBf16(a, b).asB32()]);
    case 'f32':
      return k.stGlobal(y.as('f32').at(index), [a.asB32(), b.asB32()]);
    case 'add-f32': {
      const place = y.as('f32').at(index);
      const [c, d] = k.ldGlobal(place, 2);
      return k.stGlobal(place, [a.add(c!.asF32()).asB32(), b.add(d!.asF32()).asB32()]);
    }
  }
}
