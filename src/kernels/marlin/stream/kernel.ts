// The 4-bit product for few tokens on Hopper: its programs. Sums do not depend on the batch.
import { kernel, tensor } from '../../../ptx/kernel.ts';
import type { Program, TensorType } from '../../../ptx/program.ts';
import { u32 } from '../../../ptx/values.ts';
import { type RawHalves, rawHalves } from '../codec.ts';
import { type Epilogue, epilogueName, pairsRefusal } from '../epilogue.ts';
import type { MatrixSize, Scheme } from '../layout.ts';
import type { HalfType } from '../pack.ts';
import { BOX_K, boxes, oneToken } from './activations.ts';
import { type StreamFormat, streamProduct } from './product.ts';
import { type StreamTiling, warpsOf } from './tiling.ts';

type Common = {
  readonly strips: 'b32*';
  /** [n padded to 16] */
  readonly factors: 'f32*';
  /** [n]; not read without a bias. */
  readonly bias: 'f32*';
  /** [m, channels of the epilogue] of its type. */
  readonly y: 'u8*';
};

export type StreamParams = Common & {
  /** [m, k] */
  readonly x: TensorType<HalfType>;
  readonly m: 'u32';
};

export type OneTokenParams = Common & {
  /** [k]: f32 where it is normed, else 16 bits. */
  readonly x: 'u8*';
  /** [k], and what is added to the mean of squares; not read where nothing is normed. */
  readonly gain: 'f32*';
  readonly epsilon: 'f32';
};

export interface StreamOptions {
  readonly type: HalfType;
  readonly scheme: Scheme;
  readonly epilogue: Epilogue;
  /** Weights are read before the kernel ahead in the stream has ended, activations after (programmatic dependent launch). */
  readonly overlap?: boolean;
}

const common: Common = { strips: 'b32*', factors: 'f32*', bias: 'f32*', y: 'u8*' };

/** The program for one matrix and a tiling of 8 or 16 tokens; m is at most as many. Grid: `streamGrid`. Errors: RangeError for tilings beyond 1024 threads, and pairs in parts of strips. */
export function stream(size: MatrixSize, tiling: StreamTiling, options: StreamOptions): Program<StreamParams> {
  const build = <T extends HalfType>(type: T, halves: RawHalves<T>): Program<StreamParams> => {
    const format = formatOf(size, tiling, options, type, halves);
    const { tokens } = tiling;
    const params: StreamParams = { ...common, x: tensor<HalfType>(type, [tokens, BOX_K], 128), m: 'u32' };
    return kernel(headOf(format, params, ''), (k, { x, ...operands }) =>
      streamProduct(k, format, operands, boxes(k, x, { type, tokens, halves })),
    );
  };
  return options.type === 'f16' ? build('f16', rawHalves.f16) : build('bf16', rawHalves.bf16);
}

/** The program for one matrix and a tiling of one token, which may be normed first. Grid and errors: as `stream`. */
export function streamOneToken(
  size: MatrixSize,
  tiling: StreamTiling,
  { normed = false, ...options }: StreamOptions & { readonly normed?: boolean },
): Program<OneTokenParams> {
  const build = <T extends HalfType>(type: T, halves: RawHalves<T>): Program<OneTokenParams> => {
    const format = formatOf(size, tiling, options, type, halves);
    const params: OneTokenParams = { ...common, x: 'u8*', gain: 'f32*', epsilon: 'f32' };
    const threads = 32 * warpsOf(tiling);
    return kernel(headOf(format, params, normed ? '_normed' : ''), (k, { x, gain, epsilon, ...operands }) =>
      streamProduct(
        k,
        format,
        { ...operands, m: u32(1) },
        oneToken(k, x, normed ? { gain, epsilon } : null, { type, size, threads, halves }),
      ),
    );
  };
  return options.type === 'f16' ? build('f16', rawHalves.f16) : build('bf16', rawHalves.bf16);
}

function formatOf<T extends HalfType>(
  size: MatrixSize,
  tiling: StreamTiling,
  { scheme, epilogue, overlap = false }: StreamOptions,
  type: T,
  halves: RawHalves<T>,
): StreamFormat<T> {
  const refusal = pairsRefusal(epilogue, size.n);
  if (refusal !== null) throw new RangeError(refusal);
  return { type, halves, size, scheme, tiling, epilogue, overlap };
}

function headOf<S>({ size: { n, k }, tiling, epilogue }: StreamFormat<HalfType>, params: S, suffix: string) {
  const name = `marlin_stream_${n}_${k}_${tiling.tokens}_${epilogueName(epilogue)}${suffix}`;
  return { name, threads: 32 * warpsOf(tiling), target: 'sm_90', params } as const;
}
