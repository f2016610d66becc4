// Fragments of the tensor cores: what a lane holds of a matrix. The role is part of the type, so that A, B and C cannot be mixed up.
import type { MatrixLayout } from './isa/wgmma.ts';
import type { HalfType } from './isa/matrix.ts';
import type { B32, Bf16x2, F16x2, F32, U32, Var } from './values.ts';

export type Halves<T extends HalfType> = T extends 'f16' ? F16x2 : Bf16x2;

/** 16 x 16 of A, by rows; also 16 of the 64 rows of a warpgroup's A. */
export interface FragA<T extends HalfType = 'f16'> {
  readonly role: 'A 16x16';
  readonly type: T;
  readonly values: readonly [Halves<T>, Halves<T>, Halves<T>, Halves<T>];
}

/** 16 x 8 of B, by columns. */
export interface FragB<T extends HalfType = 'f16'> {
  readonly role: 'B 16x8';
  readonly type: T;
  readonly values: readonly [Halves<T>, Halves<T>];
}

/** The kept two of every four along 32 k of A, 16 rows (2:4). */
export interface FragSparseA<T extends HalfType = 'f16'> {
  readonly role: 'A 16x32, 2:4';
  readonly type: T;
  readonly values: readonly [Halves<T>, Halves<T>, Halves<T>, Halves<T>];
  /** Which two were kept (fragments.metadataPlace), and which lanes of each four say so. */
  readonly metadata: B32;
  readonly selector: 0 | 1;
}

/** 16 x 8 of sums in f32; mma adds to it. */
export interface FragC {
  readonly role: 'C 16x8';
  readonly values: readonly [Var<F32>, Var<F32>, Var<F32>, Var<F32>];
}

/** 64 x n sums of a warpgroup: n / 2 registers a lane. In use by wgmma from a product until the wait for its group. */
export interface WgmmaSums {
  readonly role: 'sums 64xn';
  readonly n: number;
  readonly values: readonly Var<F32>[];
}

/** An operand of wgmma in shared memory: the lower word of its descriptor, and how it lies. */
export interface MatrixSlab<T extends 'f16' | 'bf16' | 'e4m3' | 'e5m2' = 'f16'> {
  readonly role: 'slab';
  readonly type: T;
  readonly low: U32;
  readonly layout: MatrixLayout;
}
