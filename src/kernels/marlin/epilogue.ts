// What becomes of the sums of a 4-bit product, the same for every kernel.

export interface Epilogue {
  /** 'add-f32' adds to what is there. */
  readonly output: 'f16' | 'bf16' | 'f32' | 'add-f32';
  /** One number a channel is added. */
  readonly bias: boolean;
}
