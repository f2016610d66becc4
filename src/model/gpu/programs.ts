// The programs of a network on one device, each built and loaded when its shape is first asked for.
import type { Device, LoadedKernel } from '../../device/device.ts';
import { type ActivationShape, siluMultiply, type SiluMultiplyParams } from '../../kernels/activation/kernel.ts';
import { decodeAttention, type DecodeParams, type DecodeShape } from '../../kernels/attention/decode.ts';
import { prefillAttention, type PrefillParams } from '../../kernels/attention/prefill.ts';
import {
  type LinearParams,
  type LinearShape,
  streamedLinear,
  type STREAMED_TOKENS,
  tiledLinear,
} from '../../kernels/dense16/linear.ts';
import { embed, type EmbeddingShape, type EmbedParams } from '../../kernels/embedding/kernel.ts';
import { type NormShape, rmsNorm, type RmsNormParams } from '../../kernels/norm/kernel.ts';
import { ropeAndStore, type RopeParams, type RopeShape } from '../../kernels/rope/kernel.ts';
import { sample, type SampleParams, type SamplingShape } from '../../kernels/sampling/kernel.ts';
import type { AttentionShape } from '../../kernels/attention/reference.ts';
import type { Overlap } from '../../kernels/vectors.ts';
import type { ParamSpec, Program } from '../../ptx/program.ts';

type Shaped<A, S extends ParamSpec> = (shape: A) => LoadedKernel<S>;

export interface StreamedShape extends LinearShape {
  readonly most: (typeof STREAMED_TOKENS)[number];
}

export interface Programs {
  readonly embed: Shaped<EmbeddingShape, EmbedParams>;
  readonly rmsNorm: Shaped<NormShape, RmsNormParams>;
  readonly ropeAndStore: Shaped<RopeShape & Overlap, RopeParams>;
  readonly decodeAttention: Shaped<DecodeShape, DecodeParams>;
  readonly prefillAttention: Shaped<AttentionShape & Overlap, PrefillParams>;
  readonly siluMultiply: Shaped<ActivationShape, SiluMultiplyParams>;
  readonly tiledLinear: Shaped<LinearShape, LinearParams>;
  readonly streamedLinear: Shaped<StreamedShape, LinearParams>;
  readonly sample: Shaped<SamplingShape, SampleParams>;
}

/** Shapes are plain data: equal ones give the same kernel. */
export function programsOn(device: Device, owned: DisposableStack): Programs {
  const shaped = <A, S extends ParamSpec>(make: (shape: A) => Program<S>): Shaped<A, S> => {
    const known = new Map<string, LoadedKernel<S>>();
    return (shape) => {
      const key = JSON.stringify(shape);
      const found = known.get(key) ?? owned.use(device.load(make(shape)));
      known.set(key, found);
      return found;
    };
  };
  return {
    embed: shaped(embed),
    rmsNorm: shaped(rmsNorm),
    ropeAndStore: shaped(ropeAndStore),
    decodeAttention: shaped(decodeAttention),
    prefillAttention: shaped(prefillAttention),
    siluMultiply: shaped(siluMultiply),
    tiledLinear: shaped(tiledLinear),
    streamedLinear: shaped(({ most, ...shape }: StreamedShape) => streamedLinear(shape, most)),
    sample: shaped(sample),
  };
}
