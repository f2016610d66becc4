// Networks of real models' shapes with random weights that are made on the device: their speed is that of the real ones, and nothing is downloaded.
import { Random } from '../../src/base/random.ts';
import { fillRepeated, stripBlock } from '../../src/bench/data.ts';
import type { Device } from '../../src/device/device.ts';
import type { ModelConfig } from '../../src/formats/config.ts';
import type { WeightShape } from '../../src/kernels/marlin/family.ts';
import { packedBytes, rowTiles, type Scheme, STRIP_ROWS } from '../../src/kernels/marlin/layout.ts';
import { Dense16, type DeviceLinear, type LinearHost, Packed4, paddedRows } from '../../src/model/gpu/linear.ts';
import { type GpuKinds, GpuOps } from '../../src/model/gpu/ops.ts';
import { Llama } from '../../src/model/llama.ts';
import type { MatrixSource, WeightSource } from '../../src/model/weights.ts';

export const shapes = {
  'llama-3-8b': {
    hiddenSize: 4096,
    intermediateSize: 14_336,
    layers: 32,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    vocabSize: 128_256,
  },
  'llama-3-1b': {
    hiddenSize: 2048,
    intermediateSize: 8192,
    layers: 16,
    heads: 32,
    kvHeads: 8,
    headDim: 64,
    vocabSize: 128_256,
  },
} as const;

export type SyntheticShape = Pick<
  ModelConfig,
  'hiddenSize' | 'intermediateSize' | 'layers' | 'heads' | 'kvHeads' | 'headDim' | 'vocabSize'
>;

/** How a matrix of a kind is made on the device, and the bytes that a product with it reads. To measure another kernel, add a line. */
export interface SyntheticKind {
  readonly name: string;
  load(host: LinearHost, rows: number, columns: number, gates: boolean): DeviceLinear;
  bytes(rows: number, columns: number): number;
}

/** A prime: rows that repeat so many numbers are not alike. */
const NUMBERS = 65_521;

/** f16 of a deviation that keeps activations in range. */
function normalHalves(columns: number): Uint16Array {
  const random = new Random(columns);
  return new Uint16Array(Float16Array.from({ length: NUMBERS }, () => random.normal() / Math.sqrt(columns)).buffer);
}

export const w16: SyntheticKind = {
  name: '16-bit',
  load: (host, rows, columns) => {
    const padded = paddedRows(rows);
    const weights = host.allocate(2 * padded * columns, 'random weights');
    fillRepeated(host.device, weights, normalHalves(columns));
    return new Dense16(host, weights, padded, columns);
  },
  bytes: (rows, columns) => 2 * rows * columns,
};

const scheme: Scheme = { group: 128, zeroPoints: false };

export const w4: SyntheticKind = {
  name: '4-bit',
  load: (host, rows, columns, gates) => {
    const weights: WeightShape = { n: paddedRows(rows), k: columns, scheme, type: 'f16' };
    const strips = host.allocate(packedBytes(weights, scheme), 'random weights');
    fillRepeated(host.device, strips, stripBlock(new Random(columns), weights));
    const factors = new Float32Array(STRIP_ROWS * rowTiles(weights));
    // Scales lie around 1.5 * 2^14, codes 5 from their zero: weights of a deviation of about 1 / sqrt(columns).
    factors.fill(1 / (7 * 2 ** 14 * Math.sqrt(columns)));
    const onDevice = host.allocate(factors.byteLength, 'scale factors');
    onDevice.write(factors);
    return new Packed4(host, 'random weights', weights, { strips, factors: onDevice }, gates);
  },
  bytes: (rows, columns) => packedBytes({ n: rows, k: columns }, scheme),
};

export const kinds: readonly SyntheticKind[] = [w16, w4];

class SyntheticOps extends GpuOps {
  private readonly kind: SyntheticKind;

  constructor(device: Device, kind: SyntheticKind, maxTokens?: number) {
    super(device, maxTokens === undefined ? {} : { maxTokens });
    this.kind = kind;
  }

  override matrix(
    sources: readonly MatrixSource[],
    { gates = false }: { readonly gates?: boolean } = {},
  ): DeviceLinear {
    const { columns, kind } = sources[0]!;
    const rows = sources.reduce((sum, source) => sum + source.rows, 0);
    // The embedding and the head are 16-bit in every checkpoint.
    return (kind === 'w16' ? w16 : this.kind).load(this.host, rows, columns, gates);
  }
}

export interface Synthetic extends Disposable {
  readonly ops: GpuOps;
  readonly network: Llama<GpuKinds>;
  /** That a step of one token reads: all matrices but the embedding. */
  readonly weightBytes: number;
}

export function synthetic(
  device: Device,
  shape: SyntheticShape,
  kind: SyntheticKind,
  context: number,
  maxTokens?: number,
): Synthetic {
  const ops = new SyntheticOps(device, kind, maxTokens);
  const config: ModelConfig = {
    ...shape,
    modelType: 'llama',
    contextLength: context,
    rmsNormEps: 1e-5,
    ropeTheta: 500_000,
    ropeScaling: null,
    tiedEmbeddings: false,
    attentionBias: false,
    outputBias: false,
    mlpBias: false,
    bosTokenId: null,
    eosTokenIds: [],
    torchDtype: 'float16',
    quantization: null,
    raw: {},
  };
  let weightBytes = 0;
  const weights: WeightSource = {
    matrix: (name, rows, columns) => {
      const is16 = name === 'lm_head' || name.endsWith('embed_tokens');
      if (!name.endsWith('embed_tokens')) weightBytes += (is16 ? w16 : kind).bytes(rows, columns);
      const size = { name, rows, columns };
      const nothing = (): never => {
        throw new Error('weights are made on the device');
      };
      return is16 ? { ...size, kind: 'w16', dtype: 'F16', read: nothing } : { ...size, kind: 'w4', read: nothing };
    },
    vector: (_name, length) => new Float32Array(length).fill(1),
  };
  const network = new Llama<GpuKinds>(ops, config, weights, context);
  return { ops, network, weightBytes, [Symbol.dispose]: () => ops[Symbol.dispose]() };
}
