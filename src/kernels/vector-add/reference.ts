// What adding two vectors means, in a plain loop.

/** c[i] = a[i] + b[i], rounded to f32 as the kernel rounds. */
export function vectorAddReference(a: ArrayLike<number>, b: ArrayLike<number>): Float32Array {
  return Float32Array.from({ length: a.length }, (_, i) => a[i]! + b[i]!);
}
