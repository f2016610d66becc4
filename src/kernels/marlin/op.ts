// The 4-bit product as a host calls it: a packed matrix on a device, bound to buffers; programs are built and loaded once for each choice of the
// planner. Everything a caller can get wrong is refused before a launch. Knows no kernel.
import { errors } from '../../base/errors.ts';
import type { BoundLaunch, Device, DeviceBuffer } from '../../device/device.ts';
import { type Epilogue, outputBytes, outputChannels } from './epilogue.ts';
import { type Candidate, type Loaded, type Norm, type Problem, tilingText, type WeightShape } from './family.ts';
import { packedBytes, rowTiles, STRIP_ROWS } from './layout.ts';
import type { PackedMatrix } from './pack.ts';
import { canPlan, type Plan, planMarlin, type PlanOptions } from './plan.ts';
import { measuredBy, tunedTables } from './tuned.ts';

/** Bytes of a 16-bit activation. */
const HALF_BYTES = 2;
const FLOAT_BYTES = 4;
const LEAST_WORKSPACE = 16;

export interface Call {
  /** [tokens, k] of the weights' type, or f32 with a norm. */
  readonly x: DeviceBuffer;
  readonly norm?: Norm;
  /** [tokens, n]. */
  readonly y: DeviceBuffer;
  readonly tokens: number;
  readonly epilogue: Epilogue;
  /** Zeroed memory of the caller's, for launches that may run at the same time; default: the one that all products of these kernels share. */
  readonly workspace?: DeviceBuffer;
  /** Something else than the plan's choice, for who measures. */
  readonly candidate?: Candidate;
}

/** A matrix in device memory. */
export interface ProductBuffers {
  readonly strips: DeviceBuffer;
  /** f32, [n padded to 16]; so is the bias. */
  readonly factors: DeviceBuffer;
  readonly bias: DeviceBuffer | null;
}

/** The programs and the workspace that all 4-bit products of a device share. Dispose of it after its products. */
export class MarlinKernels implements Disposable {
  readonly device: Device;
  private readonly options: PlanOptions;
  private readonly loaded = new Map<string, Loaded>();
  /** A plan takes a millisecond: hundreds of candidates are weighed. */
  private readonly plans = new Map<string, Plan>();
  /** Launches and graphs may hold any of them; the last is the largest. */
  private readonly workspaces: DeviceBuffer[] = [];

  /** Plans by what was measured on this model of GPU, unless `options` say otherwise. */
  constructor(device: Device, options: PlanOptions = {}) {
    this.device = device;
    this.options = { measured: measuredBy(tunedTables(device.name)), ...options };
  }

  plan(problem: Problem): Plan {
    const { m, n, k, scheme, type, pairs = 'none', normed = false } = problem;
    const key = JSON.stringify([m, n, k, scheme, type, pairs, normed]);
    const plan = this.plans.get(key) ?? planMarlin(problem, this.device.facts, this.options);
    this.plans.set(key, plan);
    return plan;
  }

  /** Uploads a matrix. `bias`: [n], added where a call's epilogue says so. Errors: 'packed-matrix-invalid', 'bias-invalid', those of `allocate`. */
  load(name: string, matrix: PackedMatrix, bias: Float32Array | null = null): MarlinProduct {
    const { n, strips, factors } = checked(name, matrix);
    if (bias !== null && bias.length !== n) throw errors.biasInvalid(name, n, bias.length);
    using building = new DisposableStack();
    const upload = (what: string, data: ArrayBufferView): DeviceBuffer => {
      const buffer = building.use(this.device.allocate(data.byteLength, `${what} of ${name}`));
      buffer.write(data);
      return buffer;
    };
    const buffers = {
      strips: upload('weights', strips),
      factors: upload('scale factors', factors),
      bias: bias === null ? null : upload('bias', padded(bias, factors.length)),
    };
    return new MarlinProduct(this, name, matrix, buffers, building.move());
  }

  /** A product of what is on the device already, and stays the caller's. Errors: 'buffer-too-small'. */
  over(name: string, weights: WeightShape, buffers: ProductBuffers): MarlinProduct {
    need(`the weights of ${name}`, buffers.strips, packedBytes(weights, weights.scheme));
    const rowBytes = 4 * rowTiles(weights) * STRIP_ROWS;
    need(`the scale factors of ${name}`, buffers.factors, rowBytes);
    if (buffers.bias !== null) need(`the bias of ${name}`, buffers.bias, rowBytes);
    return new MarlinProduct(this, name, weights, buffers, new DisposableStack());
  }

  /** How many programs have been loaded. */
  get programs(): number {
    return this.loaded.size;
  }

  /** Whether a product of so many tokens can norm its activations. */
  norms(weights: WeightShape, tokens: number): boolean {
    return canPlan({ ...weights, m: tokens, normed: true }, this.device.facts, this.options);
  }

  /** The program of a candidate for a problem, loaded at its first use. Errors: those of `Device.load`. */
  kernelOf(candidate: Candidate, { n, k, scheme, type, normed = false }: Problem, epilogue: Epilogue): Loaded {
    const key = JSON.stringify([candidate.kernel, tilingText(candidate.tiling), n, k, scheme, type, normed, epilogue]);
    const known = this.loaded.get(key);
    if (known !== undefined) return known;
    const loaded = candidate.build(epilogue).load(this.device);
    this.loaded.set(key, loaded);
    return loaded;
  }

  /** Zeroed memory of at least `bytes` bytes. */
  workspace(bytes: number): DeviceBuffer {
    const last = this.workspaces.at(-1);
    if (last !== undefined && last.bytes >= bytes) return last;
    const buffer = this.device.allocate(Math.max(bytes, LEAST_WORKSPACE), 'workspace of 4-bit products');
    buffer.write(new Uint8Array(buffer.bytes));
    this.workspaces.push(buffer);
    return buffer;
  }

  [Symbol.dispose](): void {
    for (const loaded of this.loaded.values()) loaded[Symbol.dispose]();
    for (const buffer of this.workspaces) buffer[Symbol.dispose]();
    this.loaded.clear();
    this.workspaces.length = 0;
  }
}

/** One matrix on the device. */
export class MarlinProduct implements Disposable {
  readonly name: string;
  readonly weights: WeightShape;
  private readonly kernels: MarlinKernels;
  private readonly buffers: ProductBuffers;
  private readonly owned: Disposable;

  /** Made by `MarlinKernels`. `owned` is disposed of with it. */
  constructor(
    kernels: MarlinKernels,
    name: string,
    { n, k, scheme, type }: WeightShape,
    buffers: ProductBuffers,
    owned: Disposable,
  ) {
    this.kernels = kernels;
    this.name = name;
    this.weights = { n, k, scheme, type };
    this.buffers = buffers;
    this.owned = owned;
  }

  /** The problem of so many tokens. */
  problem(tokens: number): Problem {
    return { ...this.weights, m: tokens };
  }

  /**
   * Makes a launch of y = x W^T ready. Errors: 'product-shape-invalid', 'product-unsupported', 'epilogue-invalid', 'buffer-too-small', those of
   * `Device.load` and `LoadedKernel.bind` ('buffer-foreign', 'disposed').
   */
  bind({ x, norm, y, tokens, epilogue, workspace, candidate }: Call): BoundLaunch {
    const { kernels, weights, name, buffers } = this;
    const normed = norm !== undefined;
    const problem = { ...this.problem(tokens), pairs: epilogue.pairs ?? 'none', normed };
    const chosen = candidate ?? kernels.plan(problem).chosen;
    this.checkEpilogue(epilogue);
    need(`x of ${name}`, x, tokens * weights.k * (normed ? FLOAT_BYTES : HALF_BYTES));
    if (normed) need(`the gain before ${name}`, norm.gain, weights.k * FLOAT_BYTES);
    need(`y of ${name}`, y, tokens * outputChannels(epilogue, weights.n) * outputBytes(epilogue));
    if (workspace !== undefined) need(`the workspace of ${name}`, workspace, chosen.workspaceBytes);
    return kernels.kernelOf(chosen, problem, epilogue).bind(chosen.grid, {
      weights,
      strips: buffers.strips,
      factors: buffers.factors,
      bias: buffers.bias ?? buffers.factors,
      x,
      norm: norm ?? null,
      y,
      tokens,
      workspace: workspace ?? kernels.workspace(chosen.workspaceBytes),
    });
  }

  private checkEpilogue({ output, bias }: Epilogue): void {
    const { type } = this.weights;
    if (bias && this.buffers.bias === null)
      throw errors.epilogueInvalid(this.name, 'no bias was loaded with the matrix');
    if ((output === 'f16' || output === 'bf16') && output !== type)
      throw errors.epilogueInvalid(this.name, `its activations are ${type}, the output would be ${output}`);
  }

  [Symbol.dispose](): void {
    this.owned[Symbol.dispose]();
  }
}

/** Errors: 'packed-matrix-invalid'. */
function checked(name: string, matrix: PackedMatrix): PackedMatrix {
  const { n, k, strips, factors, scheme } = matrix;
  if (!(Number.isSafeInteger(n) && Number.isSafeInteger(k) && n > 0 && k > 0))
    throw errors.matrixInvalid(name, `it has ${n} x ${k} weights`);
  const [bytes, rows] = [packedBytes(matrix, scheme), rowTiles(matrix) * STRIP_ROWS];
  if (strips.byteLength !== bytes) throw errors.matrixInvalid(name, `${strips.byteLength} bytes instead of ${bytes}`);
  if (factors.length !== rows) throw errors.matrixInvalid(name, `${factors.length} row factors instead of ${rows}`);
  if (!factors.every(Number.isFinite)) throw errors.matrixInvalid(name, 'a row factor is no finite number');
  return matrix;
}

function need(what: string, { bytes }: DeviceBuffer, needed: number): void {
  if (bytes < needed) throw errors.bufferTooSmall(what, needed, bytes);
}

function padded(values: Float32Array, length: number): Float32Array {
  const longer = new Float32Array(length);
  longer.set(values);
  return longer;
}
