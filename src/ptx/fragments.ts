// Fragments of the tensor cores: what a lane holds of a matrix. The role is part of the type, so that A, B and C cannot be mixed up.
import type { Var } from './trace.ts';
import type { Bf16x2, F16x2, F32 } from './values.ts';

type Halves<T extends 'f16' | 'bf16'> = T extends 'f16' ? F16x2 : Bf16x2;

/** 16 x 16 of A, by rows. */
export interface FragA<T extends 'f16' | 'bf16' = 'f16'> {
  readonly role: 'A 16x16';
  readonly type: T;
  readonly values: readonly [Halves<T>, Halves<T>, Halves<T>, Halves<T>];
}

/** 16 x 8 of B, by columns. */
export interface FragB<T extends 'f16' | 'bf16' = 'f16'> {
  readonly role: 'B 16x8';
  readonly type: T;
  readonly values: readonly [Halves<T>, Halves<T>];
}

/** 16 x 8 of sums in f32; mma adds to it. */
export interface FragC {
  readonly role: 'C 16x8';
  readonly values: readonly [Var<F32>, Var<F32>, Var<F32>, Var<F32>];
}
