// The 4-bit matrix-vector product as one writes it in TypeScript with typed arrays: what the WebAssembly kernels are compared with.
import type { W4Source } from '../src/cpu/matrix.ts';

/** y = W x in f32 for a symmetric matrix whose group is a multiple of 8; codes are unpacked word by word, scaled once a group. */
export function plainW4(w: W4Source, x: Float32Array, y: Float32Array): void {
  const words = w.columns / 8;
  const groupWords = w.group / 8;
  const groups = w.columns / w.group;
  const { packed, scales } = w;
  for (let row = 0; row < w.rows; row++) {
    let total = 0;
    for (let g = 0; g < groups; g++) {
      let sum = 0;
      for (let i = g * groupWords; i < (g + 1) * groupWords; i++) {
        const word = packed[row * words + i]!;
        const k = i * 8;
        sum += ((word & 15) - 8) * x[k]! + (((word >>> 4) & 15) - 8) * x[k + 1]!;
        sum += (((word >>> 8) & 15) - 8) * x[k + 2]! + (((word >>> 12) & 15) - 8) * x[k + 3]!;
        sum += (((word >>> 16) & 15) - 8) * x[k + 4]! + (((word >>> 20) & 15) - 8) * x[k + 5]!;
        sum += (((word >>> 24) & 15) - 8) * x[k + 6]! + ((word >>> 28) - 8) * x[k + 7]!;
      }
      total += sum * scales[row * groups + g]!;
    }
    y[row] = total;
  }
}
