// The products of a network's matrices, one interface for every kind of weights: 16-bit ones by rows, 4-bit ones packed. To bring another kind in,
// implement DeviceLinear and choose it in `loadLinear`; nothing else knows how a matrix lies on the device.
import { bf16ToNumber, numberToF16 } from '../../base/f16.ts';
import { errors } from '../../base/errors.ts';
import type { BoundLaunch, Device, DeviceBuffer } from '../../device/device.ts';
import { type QuantizedMatrix, stack } from '../../formats/quantized.ts';
import { STREAMED_TOKENS, streamedGrid, tiledGrid } from '../../kernels/dense16/linear.ts';
import type { Epilogue } from '../../kernels/marlin/epilogue.ts';
import type { Norm, WeightShape } from '../../kernels/marlin/family.ts';
import type { MarlinKernels, ProductBuffers } from '../../kernels/marlin/op.ts';
import { pack, packedGroup } from '../../kernels/marlin/pack.ts';
import { interleavePairs, PAIR_ROWS } from '../../kernels/marlin/pairs.ts';
import { asHalves, type MatrixSource } from '../weights.ts';
import type { Programs } from './programs.ts';

export interface LinearCall {
  /** [tokens, columns] f16, or f32 with a norm. */
  readonly x: DeviceBuffer;
  /** What x goes through first, of weights that take so many tokens with one. */
  readonly norm?: Norm;
  /** [tokens, rows] of the output's type. */
  readonly y: DeviceBuffer;
  readonly tokens: number;
  readonly output: Epilogue['output'];
  /** [rows padded to BIAS_MULTIPLE] f32 */
  readonly bias: DeviceBuffer | null;
}

/** A matrix on the device, ready to be multiplied. */
export interface DeviceLinear {
  /** Rows, padded to a multiple of ROWS_MULTIPLE: those behind the matrix's own give 0. */
  readonly rows: number;
  /** Its rows are gates and what they gate, and what comes out is silu(gate) * up: half as many channels. */
  readonly gates: boolean;
  readonly columns: number;
  /** Whether x of so many tokens may be normed on the way. */
  norms(tokens: number): boolean;
  /** y = W x, with the ends that `call` asks for. */
  bind(call: LinearCall): BoundLaunch;
  /** [rows, columns] f16, for a matrix whose rows can be looked up. */
  readonly table: DeviceBuffer | null;
}

/** Rows of activations are as long, so that they are loaded 16 bytes at a time. */
export const ROWS_MULTIPLE = 8;

/** Vectors are as long, so that 4-bit kernels can read a bias in whole strips of rows. */
export const BIAS_MULTIPLE = 16;

export const paddedRows = (rows: number): number => ROWS_MULTIPLE * Math.ceil(rows / ROWS_MULTIPLE);

/** What a matrix needs of the device. */
export interface LinearHost {
  readonly device: Device;
  readonly programs: Programs;
  readonly marlin: MarlinKernels;
  /** Whether launches overlap. */
  readonly overlap: boolean;
  allocate(bytes: number, label: string): DeviceBuffer;
}

/**
 * One matrix of all the sources' rows. 16-bit weights are kept as f16, 4-bit ones as they are; but where sources differ in their quantization, or have
 * groups that cannot be packed or are in activation order, they become f16 on the way.
 * Errors: 'columns-unsupported', 'weight-not-finite', 'weight-overflow', 'scale-not-finite', and those of the device.
 */
export function loadLinear(
  host: LinearHost,
  sources: readonly MatrixSource[],
  { gates = false }: { readonly gates?: boolean } = {},
): DeviceLinear {
  const { columns, name } = sources[0]!;
  if (columns % ROWS_MULTIPLE !== 0) throw errors.columnsUnsupported(name, columns);
  return loadPacked(host, sources, gates) ?? loadDense(host, sources);
}

/** Null where it cannot be. */
function loadPacked(host: LinearHost, sources: readonly MatrixSource[], gates: boolean): DeviceLinear | null {
  if (!sources.every((source) => source.kind === 'w4')) return null;
  const name = sources.map((source) => source.name).join(', ');
  const rows = sources.reduce((sum, source) => sum + source.rows, 0);
  const matrices = sources.map((source) => source.read());
  const interleaved = gates ? interleavedGates(matrices) : null;
  const matrix = interleaved ?? stack(matrices, paddedRows(rows) - rows);
  if (matrix === null || packedGroup(matrix.group, matrix.columns) === null) return null;
  const { strips, factors, ...weights } = pack(name, matrix, 'f16');
  const upload = (what: string, data: ArrayBufferView): DeviceBuffer => {
    const buffer = host.allocate(data.byteLength, `${what} of ${name}`);
    buffer.write(data);
    return buffer;
  };
  return new Packed4(
    host,
    name,
    weights,
    {
      strips: upload('weights', strips),
      factors: upload('scale factors', factors),
    },
    interleaved !== null,
  );
}

/** Null where they cannot share strips. */
function interleavedGates(matrices: readonly QuantizedMatrix[]): QuantizedMatrix | null {
  const [gate, up] = matrices;
  if (gate === undefined || up === undefined || gate.rows !== up.rows || gate.rows % PAIR_ROWS !== 0) return null;
  return stack(matrices) === null ? null : interleavePairs(gate, up);
}

function loadDense(host: LinearHost, sources: readonly MatrixSource[]): DeviceLinear {
  const { columns, name } = sources[0]!;
  const own = sources.reduce((sum, source) => sum + source.rows, 0);
  const rows = paddedRows(own);
  const weights = host.allocate(2 * rows * columns, name);
  let at = 0;
  for (const source of sources) {
    weights.slice(2 * at * columns).write(halvesOf(source));
    at += source.rows;
  }
  if (rows > own) weights.slice(2 * own * columns).write(new Uint16Array((rows - own) * columns));
  return new Dense16(host, weights, rows, columns);
}

/** 4-bit weights in strips. */
export class Packed4 implements DeviceLinear {
  readonly rows: number;
  readonly columns: number;
  readonly gates: boolean;
  readonly table = null;
  private readonly host: LinearHost;
  private readonly name: string;
  private readonly weights: WeightShape;
  private readonly buffers: Omit<ProductBuffers, 'bias'>;

  /** `gates`: rows are interleaved (pack.ts). */
  constructor(
    host: LinearHost,
    name: string,
    weights: WeightShape,
    buffers: Omit<ProductBuffers, 'bias'>,
    gates: boolean,
  ) {
    this.gates = gates;
    this.host = host;
    this.name = name;
    this.weights = weights;
    this.buffers = buffers;
    this.rows = weights.n;
    this.columns = weights.k;
  }

  norms(tokens: number): boolean {
    return this.host.marlin.norms(this.weights, tokens);
  }

  bind({ output, bias, ...call }: LinearCall): BoundLaunch {
    const product = this.host.marlin.over(this.name, this.weights, { ...this.buffers, bias });
    return product.bind({ ...call, epilogue: { output, bias: bias !== null, pairs: this.gates ? 'gates' : 'none' } });
  }
}

/** 16-bit weights, by rows. */
export class Dense16 implements DeviceLinear {
  readonly rows: number;
  readonly columns: number;
  readonly gates = false;
  readonly table: DeviceBuffer;
  private readonly host: LinearHost;

  /** `weights`: [rows, columns] f16. */
  constructor(host: LinearHost, weights: DeviceBuffer, rows: number, columns: number) {
    this.host = host;
    this.table = weights;
    this.rows = rows;
    this.columns = columns;
  }

  norms(): boolean {
    return false;
  }

  bind({ x, norm, y, tokens, output, bias }: LinearCall): BoundLaunch {
    if (norm !== undefined) throw errors.internal('16-bit products norm nothing');
    const { programs, overlap } = this.host;
    const epilogue: Epilogue = { output, bias: bias !== null };
    const shape = { n: this.rows, k: this.columns, epilogue, overlap };
    // Where nothing is added, the parameter still has to point somewhere.
    const args = { x, w: this.table, bias: bias ?? this.table, y, tokens };
    const most = STREAMED_TOKENS.find((count) => count >= tokens);
    if (most !== undefined)
      return programs.streamedLinear({ ...shape, most }).bind(streamedGrid(shape), args, { overlap });
    return programs.tiledLinear(shape).bind(tiledGrid(tokens, shape), args, { overlap });
  }
}

/** The weights of a source as f16 bits, [rows, columns]. Errors: 'weight-not-finite', 'weight-overflow'. */
function halvesOf(source: MatrixSource): Uint16Array {
  const bits = new Uint16Array(source.rows * source.columns);
  (source.kind === 'w4' ? asHalves(source.name, source.read()) : source).read(bits);
  const narrow = source.kind === 'w16' && source.dtype === 'BF16';
  if (narrow) for (let i = 0; i < bits.length; i++) bits[i] = halfOfBf16[bits[i]!]!;
  // An exponent of all ones is no number.
  const bad = bits.findIndex((pattern) => (pattern & 0x7c00) === 0x7c00);
  if (bad === -1) return bits;
  throw errors.weightOverflow(source.name, Math.floor(bad / source.columns), bad % source.columns);
}

/** f16 patterns of all bf16 patterns: half the digits of f16 are spare, and its range is smaller. */
const halfOfBf16: Uint16Array = Uint16Array.from({ length: 65_536 }, (_, pattern) =>
  numberToF16(bf16ToNumber(pattern)),
);
