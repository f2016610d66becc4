// Memory that C reads or writes at an alignment of its own.
import type { Driver } from './driver.ts';

/** `bytes` zeroed bytes whose address is a multiple of `align` (a power of two); the address holds as long as the view does. */
export function alignedBytes(
  driver: Driver,
  bytes: number,
  align: number,
): { readonly view: Uint8Array<ArrayBuffer>; readonly address: bigint } {
  const whole = new Uint8Array(new ArrayBuffer(bytes + align - 1));
  const start = driver.native.address(whole);
  const skip = Number(-start & BigInt(align - 1));
  return { view: whole.subarray(skip, skip + bytes), address: start + BigInt(skip) };
}
