// The element types of safetensors files and their sizes. Knows nothing of files or of what a tensor means.

export type Dtype =
  | 'BOOL'
  | 'U8'
  | 'I8'
  | 'I16'
  | 'U16'
  | 'F16'
  | 'BF16'
  | 'I32'
  | 'U32'
  | 'F32'
  | 'F64'
  | 'I64'
  | 'U64'
  | 'C64'
  | 'F8_E4M3'
  | 'F8_E5M2'
  | 'F8_E4M3FNUZ'
  | 'F8_E5M2FNUZ'
  | 'F8_E8M0'
  | 'F6_E2M3'
  | 'F6_E3M2'
  | 'F4';

const BITS: Readonly<Record<Dtype, number>> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  F64: 64,
  I64: 64,
  U64: 64,
  C64: 64,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  F8_E8M0: 8,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F4: 4,
};

/** Whether `name` is an element type this reader knows. */
export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(BITS, name);
}

/** Bits of one element. */
export function bitsOf(dtype: Dtype): number {
  return BITS[dtype];
}

/**
 * Bytes of a dense tensor; elements narrower than a byte are packed and the end rounded up. A shape too large for exact arithmetic
 * gives a number that is not a safe integer (or NaN): check with `Number.isSafeInteger`.
 */
export function byteLength(dtype: Dtype, shape: readonly number[]): number {
  const elements = shape.reduce((product, size) => product * size, 1);
  return Math.ceil(elements * (BITS[dtype] / 8));
}
