// What the 4-bit product means, in plain loops and float64.
import { type Epilogue, outputChannels } from './epilogue.ts';
import { type PackedMatrix, unpack } from './pack.ts';

/** y[token][channel] = sum over k of x[token][k] * W[channel][k], not rounded; x [tokens, k]. */
export function marlinReference(x: ArrayLike<number>, tokens: number, matrix: PackedMatrix): Float64Array {
  const { n, k } = matrix;
  const weights = unpack(matrix);
  const y = new Float64Array(tokens * n);
  for (let token = 0; token < tokens; token++) {
    for (let row = 0; row < n; row++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += x[token * k + i]! * weights[row * k + i]!;
      y[token * n + row] = sum;
    }
  }
  return y;
}

/** What becomes of sums [tokens, n]: y [tokens, channels]. `before` is what y held, for an output that adds. */
export function epilogueReference(
  sums: Float64Array,
  {
    epilogue,
    n,
    bias,
    before,
  }: {
    readonly epilogue: Epilogue;
    readonly n: number;
    readonly bias: ArrayLike<number>;
    readonly before: ArrayLike<number>;
  },
): Float64Array {
  const tokens = sums.length / n;
  const channels = outputChannels(epilogue, n);
  const biased = (token: number, row: number): number => sums[token * n + row]! + (epilogue.bias ? bias[row]! : 0);
  return Float64Array.from({ length: tokens * channels }, (_, i) => {
    const [token, channel] = [Math.floor(i / channels), i % channels];
    const added = epilogue.output === 'add-f32' ? before[i]! : 0;
    const { pairs = 'none' } = epilogue;
    if (pairs === 'none') return added + biased(token, channel);
    const row = 16 * (channel >> 3) + (channel & 7);
    const [upper, lower] = [biased(token, row), biased(token, row + 8)];
    return added + (pairs === 'gates' ? (upper / (1 + Math.exp(-upper))) * lower : 16 * upper + lower);
  });
}
