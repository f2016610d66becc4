// Random operands, quickly, and how a result is checked: sampled outputs against float64, and that every output was written.
import { Random } from '../../src/base/random.ts';
import { relativeError } from '../../src/base/stats.ts';
import type { Shape } from '../../src/kernels/dense16/kernel.ts';

/** A prime: rows of a matrix that repeats a block of this length are not alike. */
const BLOCK = 65_521;

/** `count` standard normals in f16, a block of them repeated: to draw 8192 x 8192 takes seconds. */
export function normals(count: number, seed: number): Float16Array {
  const random = new Random(seed);
  const block = Float16Array.from({ length: Math.min(BLOCK, count) }, () => random.normal());
  const values = new Float16Array(count);
  for (let at = 0; at < count; at += BLOCK) values.set(block.subarray(0, count - at), at);
  return values;
}

const SAMPLES = 256;

/** ||C - A B^T|| / ||A B^T|| over sampled outputs; NaN if any output at all is one, as those are that were filled so and not written. */
export function sampledError(
  A: Float16Array,
  B: Float16Array,
  C: Float16Array,
  { m, n, k }: Shape,
  seed: number,
): number {
  const patterns = new Uint16Array(C.buffer, C.byteOffset, C.length);
  for (let i = 0; i < patterns.length; i++) if ((patterns[i]! & 0x7fff) > 0x7c00) return Number.NaN;
  const random = new Random(seed);
  const [actual, expected] = [new Float64Array(SAMPLES), new Float64Array(SAMPLES)];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const [i, j] = [random.integer(m), random.integer(n)];
    let sum = 0;
    for (let p = 0; p < k; p++) sum += A[i * k + p]! * B[j * k + p]!;
    expected[sample] = sum;
    actual[sample] = C[i * n + j]!;
  }
  return relativeError(actual, expected);
}
