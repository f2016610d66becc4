// The 4-bit product for few tokens in the catalogue: several CTAs, ragged edges, zero points; one token, normed or not.
import { Random } from '../../../base/random.ts';
import { numberToBf16, bf16ToNumber } from '../../../base/f16.ts';
import { rmsNorm } from '../../../base/reference.ts';
import { relativeError } from '../../../base/stats.ts';
import { type Entry, entry, type Example, example } from '../../entry.ts';
import { randomCoded, type CodedOptions } from '../coded.ts';
import { type HalfType, pack, schemeOf } from '../pack.ts';
import { type Epilogue, outputChannels } from '../epilogue.ts';
import { epilogueReference, marlinReference } from '../reference.ts';
import { stream, streamOneToken } from './kernel.ts';
import { streamGrid, type StreamTiling } from './tiling.ts';

export const streamEntry: Entry = entry({
  name: 'marlin-stream',
  title: 'y = x W^T with 4-bit weights for at most 16 tokens: private rings of bulk copies, mma.sync',
  examples: () => [
    streamExample(
      { rows: 64, columns: 1024, group: 128 },
      { tokens: 8, strips: 2, rowWarps: 1, depthWarps: 4, stages: 2 },
      5,
      'f16',
    ),
    streamExample(
      { rows: 72, columns: 320, group: 32, zeroPoints: true },
      { tokens: 16, strips: 2, rowWarps: 2, depthWarps: 2, stages: 2 },
      13,
      'f16',
    ),
    streamExample(
      { rows: 40, columns: 384, group: 64 },
      { tokens: 8, strips: 1, rowWarps: 2, depthWarps: 2, stages: 3 },
      1,
      'bf16',
    ),
    streamExample(
      { rows: 48, columns: 256, group: 128 },
      { tokens: 8, strips: 2, rowWarps: 1, depthWarps: 2, stages: 2 },
      3,
      'f16',
      { pairs: 'gates' },
    ),
    oneTokenExample(
      { rows: 72, columns: 1400, group: 1400 },
      { tokens: 1, strips: 2, rowWarps: 1, depthWarps: 4, stages: 2 },
      'f16',
    ),
    oneTokenExample(
      { rows: 64, columns: 896, group: 128 },
      { tokens: 1, strips: 1, rowWarps: 2, depthWarps: 2, stages: 2 },
      'f16',
      { pairs: 'gates', normed: true },
    ),
  ],
});

/** Relative error: f16 output rounds by up to 2^-11, bf16 by 2^-8; the sums themselves are good to 1e-6. */
export const BOUND: Readonly<Record<HalfType, number>> = { f16: 1e-3, bf16: 8e-3 };

export function streamExample(
  coded: CodedOptions,
  tiling: StreamTiling,
  m: number,
  type: HalfType,
  { pairs = 'none' }: Pick<Epilogue, 'pairs'> = {},
): Example {
  const { rows: n, columns: k, group = k, zeroPoints = false } = coded;
  const scheme = schemeOf('w', { group, columns: k, asymmetric: zeroPoints });
  const epilogue = { output: type, bias: true, pairs } as const;
  const channels = outputChannels(epilogue, n);
  return example({
    name: `${m}x${n}x${k}-${type}${pairs === 'none' ? '' : `-${pairs}`}`,
    program: stream({ n, k }, tiling, { type, scheme, epilogue }),
    grid: [streamGrid({ n, k }, tiling)],
    args: (seed) => {
      const random = new Random(seed);
      const packed = pack('w', randomCoded(random, { ...coded, scaleDtype: type === 'f16' ? 'F16' : 'BF16' }), type);
      const x = halves(type, m * k, () => random.normal());
      return {
        x: { data: x, rows: m, columns: k },
        strips: packed.strips,
        factors: packed.factors,
        bias: random.fillNormal(new Float32Array(n)),
        y: halves(type, m * channels, () => Number.NaN),
        m,
      };
    },
    check: ({ x, y, bias, strips, factors }) => {
      const sums = marlinReference(numbers(type, x.data), m, { n, k, scheme, type, strips, factors });
      const reference = epilogueReference(sums, { epilogue, n, bias, before: [] });
      return { error: relativeError(numbers(type, y), reference), bound: BOUND[type] };
    },
  });
}

export function oneTokenExample(
  coded: CodedOptions,
  tiling: StreamTiling,
  type: HalfType,
  { pairs = 'none', normed = false }: Pick<Epilogue, 'pairs'> & { readonly normed?: boolean } = {},
): Example {
  const { rows: n, columns: k, group = k, zeroPoints = false } = coded;
  const scheme = schemeOf('w', { group, columns: k, asymmetric: zeroPoints });
  const epilogue = { output: 'f32', bias: true, pairs } as const;
  return example({
    name: `1x${n}x${k}-${type}${pairs === 'none' ? '' : `-${pairs}`}${normed ? '-normed' : ''}`,
    program: streamOneToken({ n, k }, tiling, { type, scheme, epilogue, normed }),
    grid: [streamGrid({ n, k }, tiling)],
    args: (seed) => {
      const random = new Random(seed);
      const packed = pack('w', randomCoded(random, { ...coded, scaleDtype: type === 'f16' ? 'F16' : 'BF16' }), type);
      const wide = Float32Array.from({ length: k }, () => 3 * random.normal());
      const narrow = halves(type, k, () => random.normal());
      const gain = random.fillNormal(new Float32Array(k));
      const epsilon = 1e-5;
      const taken = rounded(type, normed ? rmsNorm(wide, gain, epsilon) : numbers(type, narrow));
      return {
        x: new Uint8Array((normed ? wide : narrow).buffer),
        gain,
        epsilon,
        strips: packed.strips,
        factors: packed.factors,
        bias: random.fillNormal(new Float32Array(n)),
        y: new Uint8Array(new Float32Array(outputChannels(epilogue, n)).fill(Number.NaN).buffer),
        taken,
      };
    },
    check: ({ taken, y, bias, strips, factors }) => {
      const sums = marlinReference(taken, 1, { n, k, scheme, type, strips, factors });
      const reference = epilogueReference(sums, { epilogue, n, bias, before: [] });
      return { error: relativeError(new Float32Array(y.buffer), reference), bound: BOUND[type] };
    },
  });
}

const rounded = (type: HalfType, values: Float64Array): Float64Array => {
  let at = 0;
  return numbers(
    type,
    halves(type, values.length, () => values[at++]!),
  );
};

/** 16-bit patterns. */
function halves(type: HalfType, length: number, draw: () => number): Uint16Array {
  if (type === 'bf16') return Uint16Array.from({ length }, () => numberToBf16(draw()));
  return new Uint16Array(Float16Array.from({ length }, draw).buffer);
}

function numbers(type: HalfType, bits: Uint16Array): Float64Array {
  if (type === 'bf16') return Float64Array.from(bits, bf16ToNumber);
  return Float64Array.from(new Float16Array(bits.buffer, bits.byteOffset, bits.length));
}
