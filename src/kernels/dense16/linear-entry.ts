// The product of a 16-bit layer in the catalogue: every ending, sizes that are no multiple of anything, one token and many.
import { Random } from '../../base/random.ts';
import { relativeError } from '../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../entry.ts';
import type { Epilogue } from '../marlin/epilogue.ts';
import { streamedGrid, streamedLinear, STREAMED_TOKENS, tiledGrid, tiledLinear } from './linear.ts';
import { dense16Reference } from './reference.ts';

export const linearTiledEntry: Entry = entry({
  name: 'linear-tiled',
  title: 'y = x W^T with 16-bit weights for many tokens, on mma.sync, with the ends a network needs',
  examples: () => [
    linearExample({ tokens: 70, n: 136, k: 200 }, { output: 'f16', bias: true }, 'tiled'),
    linearExample({ tokens: 9, n: 128, k: 64 }, { output: 'add-f32', bias: false }, 'tiled'),
    linearExample({ tokens: 130, n: 62, k: 72 }, { output: 'f32', bias: false }, 'tiled'),
  ],
});

export const linearStreamedEntry: Entry = entry({
  name: 'linear-streamed',
  title: 'y = x W^T with 16-bit weights for at most 8 tokens: a warp reads two rows of W',
  examples: () => [
    linearExample({ tokens: 1, n: 64, k: 2304 }, { output: 'f16', bias: false }, 'streamed'),
    linearExample({ tokens: 3, n: 14, k: 72 }, { output: 'add-f32', bias: true }, 'streamed'),
    linearExample({ tokens: 8, n: 30, k: 1024 }, { output: 'f32', bias: true }, 'streamed'),
  ],
});

export interface LinearSize {
  readonly tokens: number;
  readonly n: number;
  readonly k: number;
}

export function linearExample(size: LinearSize, epilogue: Epilogue, kind: 'tiled' | 'streamed'): Example {
  const { tokens, n, k } = size;
  const shape = { n, k, epilogue };
  const most = STREAMED_TOKENS.find((count) => count >= tokens) ?? 8;
  return example({
    name: `${tokens}x${n}x${k}-${epilogue.output}${epilogue.bias ? '-bias' : ''}`,
    program: kind === 'tiled' ? tiledLinear(shape) : streamedLinear(shape, most),
    grid: kind === 'tiled' ? tiledGrid(tokens, shape) : streamedGrid(shape),
    args: (seed) => {
      const random = new Random(seed);
      const normals = (length: number): Float16Array => Float16Array.from({ length }, () => random.normal());
      const before = random.fillNormal(new Float32Array(tokens * n));
      const y =
        epilogue.output === 'f16'
          ? new Float16Array(tokens * n).fill(Number.NaN)
          : epilogue.output === 'f32'
            ? new Float32Array(tokens * n).fill(Number.NaN)
            : before.slice();
      return {
        x: normals(tokens * k),
        w: normals(n * k),
        bias: random.fillNormal(new Float32Array(n)),
        y,
        tokens,
        before,
      };
    },
    check: ({ x, w, bias, y, before }) => {
      const expected = dense16Reference(x, w, { m: tokens, n, k }).map(
        (sum, i) => sum + (epilogue.bias ? bias[i % n]! : 0) + (epilogue.output === 'add-f32' ? before[i]! : 0),
      );
      // f16 output rounds by up to 2^-11; sums run in f32.
      return { error: relativeError(y, expected), bound: epilogue.output === 'f16' ? 5e-4 : 2e-6 };
    },
  });
}
