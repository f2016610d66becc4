// Launches: a kernel with its grid, block, parameters and attributes, laid out once as the bytes the driver reads, then enqueued any number of
// times. Everything the driver would refuse with a bare "invalid value" is checked here first, by name.
import { errors, type MarlinError } from '../base/errors.ts';
import { isFault } from './check.ts';
import type { Context, Work } from './context.ts';
import type { CUresult } from './driver.ts';
import {
  CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
  CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
  CUDA_SUCCESS,
  CUlaunchAttribute,
  CUlaunchConfig,
} from './header.ts';
import type { Kernel } from './module.ts';
import { alignedBytes } from './native.ts';
import {
  checkDeclared,
  layoutOf,
  memoryOf,
  type Parameter,
  TENSOR_MAP_ALIGN,
  type Value,
  writeParameter,
} from './parameters.ts';
import { checkContext } from './resource.ts';
import type { Held, Stream } from './stream.ts';

/** x alone, or x, y and z; what is left out is 1. */
export type Dimensions = number | readonly [x: number, y?: number, z?: number];
type Triple = readonly [x: number, y: number, z: number];

export interface LaunchShape {
  /** Blocks in the grid. */
  readonly grid: Dimensions;
  /** Threads in a block. */
  readonly block: Dimensions;
  /** Blocks in a cluster (compute capability 9.0 and later), at most 16 in all; each must divide the grid. */
  readonly cluster?: Dimensions;
  /** Dynamic shared memory of a block, in bytes. */
  readonly sharedBytes?: number;
  /**
   * Programmatic dependent launch (compute capability 9.0 and later): the kernel may start before the one ahead of it in the stream has ended, so
   * it must wait (griddepcontrol.wait) before it touches what that one writes.
   */
  readonly overlap?: boolean;
}

const ATTRIBUTES = CUlaunchConfig.bytes + 8;
const MOST_ATTRIBUTES = 2;
const POINTERS = ATTRIBUTES + MOST_ATTRIBUTES * CUlaunchAttribute.bytes;
const PORTABLE_CLUSTER = 8;
const LARGEST_CLUSTER = 16;
const FIRST_WITH_CLUSTERS = 9;

/**
 * Lays a launch out. `values` has one value for each of `parameters`, which list the .entry's in order. Errors: 'parameters-mismatch',
 * 'parameter-invalid', 'context-foreign', 'launch-invalid', 'disposed', 'gpu-context-dead', 'cuda-failed'.
 */
export function prepare(
  kernel: Kernel,
  parameters: readonly Parameter[],
  values: readonly Value[],
  shape: LaunchShape,
): Launch {
  return new Launch(kernel, parameters, values, shape);
}

export class Launch implements Work {
  readonly kernel: Kernel;
  private readonly context: Context;
  private readonly parameters: readonly Parameter[];
  private readonly values: Value[];
  private readonly cluster: Triple | null;
  private readonly block: Triple;
  private readonly sharedBytes: number;
  private grid: Triple = [1, 1, 1];
  /** CUlaunchConfig, attributes, addresses of the parameters, the parameters: one piece of memory that C reads. */
  private readonly view: DataView;
  private readonly firstValue: number;
  private readonly offsets: readonly number[];
  private readonly stream: BigUint64Array;
  private readonly configAddress: bigint;
  private readonly parametersAddress: bigint;
  /** What must not be disposed of before the launch: the module and the memory of the pointers. */
  private held: readonly Held[] = [];

  constructor(kernel: Kernel, parameters: readonly Parameter[], values: readonly Value[], shape: LaunchShape) {
    const { context } = kernel;
    this.kernel = kernel;
    this.context = context;
    this.parameters = parameters;
    if (kernel.parameterBytes !== null) checkDeclared(kernel.name, parameters, kernel.parameterBytes);
    if (values.length !== parameters.length) {
      throw errors.parametersMismatch(kernel.name, `${parameters.length} are declared, and ${values.length} given`);
    }
    this.block = checkBlock(kernel, shape.block);
    this.cluster = shape.cluster === undefined ? null : checkCluster(kernel, shape.cluster);
    this.sharedBytes = checkShared(kernel, shape.sharedBytes ?? 0);
    const overlap = shape.overlap === true && checkOverlap(kernel);

    const layout = layoutOf(parameters);
    this.offsets = layout.offsets;
    this.firstValue = Math.ceil((POINTERS + 8 * parameters.length) / TENSOR_MAP_ALIGN) * TENSOR_MAP_ALIGN;
    const { view, address } = alignedBytes(context.enter(), this.firstValue + layout.bytes, TENSOR_MAP_ALIGN);
    this.view = new DataView(view.buffer, view.byteOffset, view.length);
    this.stream = new BigUint64Array(view.buffer, view.byteOffset + CUlaunchConfig.hStream, 1);
    this.configAddress = address;
    this.parametersAddress = this.configAddress + BigInt(POINTERS);
    this.writeConfig(overlap);
    this.setGrid(shape.grid);
    this.values = [...values];
    for (const [i, value] of values.entries()) this.write(i, value);
    this.hold();
  }

  /** The kernel and how it was launched last, for errors. */
  get description(): string {
    const { kernel, cluster } = this;
    const parts = [
      `grid ${this.grid.join(' x ')}`,
      `block ${this.block.join(' x ')}`,
      ...(cluster === null ? [] : [`cluster ${cluster.join(' x ')}`]),
      `${kernel.facts.sharedBytes + this.sharedBytes} bytes of shared memory`,
      `${kernel.facts.registers} registers a thread`,
    ];
    return `${kernel.title} (${parts.join(', ')})`;
  }

  /** Changes one parameter, by its index, for later launches. Errors: 'parameter-invalid', 'context-foreign', 'disposed'. */
  set(index: number, value: Value): void {
    this.write(index, value);
    const before = this.values[index];
    this.values[index] = value;
    if (typeof value === 'object' && value !== before) this.hold();
  }

  /** Changes the grid for later launches. Errors: 'launch-invalid'. */
  setGrid(grid: Dimensions): void {
    const sizes = checkGrid(this.kernel, grid, this.cluster);
    for (const [i, size] of sizes.entries()) this.view.setUint32(CUlaunchConfig.gridDimX + 4 * i, size, true);
    this.grid = sizes;
  }

  /**
   * Enqueues the kernel; a fault in it shows when the stream is next waited for. Errors: 'context-foreign', 'disposed' (the stream, the module or
   * memory of a pointer), 'gpu-fault' of earlier work, 'gpu-context-dead', 'cuda-failed'.
   */
  launch(stream: Stream): void {
    checkContext(this.context, stream);
    for (const held of this.held) if (held.disposed) throw errors.disposed(held.title);
    const driver = this.context.enter();
    this.stream[0] = stream.handle;
    const code = driver.cuLaunchKernelEx(this.configAddress, this.kernel.handle, this.parametersAddress, null);
    if (code !== CUDA_SUCCESS) throw this.failure(code, stream);
    stream.enqueued(this, this.held);
  }

  private failure(code: CUresult, stream: Stream): MarlinError {
    if (isFault(code) && process.env['CUDA_LAUNCH_BLOCKING'] === '1') {
      // The driver waits for every launch then: what came before has ended well, and the fault is this kernel's.
      this.context.settled();
      stream.enqueued(this, this.held);
    }
    return this.context.failure(code, 'cuLaunchKernelEx', this.description);
  }

  private write(index: number, value: Value): void {
    const parameter = this.parameters[index];
    if (parameter === undefined) throw errors.parametersMismatch(this.kernel.name, `it has no parameter ${index}`);
    const memory = memoryOf(value);
    if (memory !== null) checkContext(this.context, memory);
    writeParameter(this.view, this.firstValue + this.offsets[index]!, parameter, value, this.kernel.name);
  }

  private hold(): void {
    this.held = [this.kernel.module, ...this.values.map(memoryOf).filter((memory) => memory !== null)];
  }

  private writeConfig(overlap: boolean): void {
    const { view } = this;
    for (const [i, size] of this.block.entries()) view.setUint32(CUlaunchConfig.blockDimX + 4 * i, size, true);
    view.setUint32(CUlaunchConfig.sharedMemBytes, this.sharedBytes, true);
    view.setBigUint64(CUlaunchConfig.attrs, this.configAddress + BigInt(ATTRIBUTES), true);
    let attributes = 0;
    const attribute = (id: number, value: readonly number[]): void => {
      const start = ATTRIBUTES + attributes * CUlaunchAttribute.bytes;
      view.setUint32(start + CUlaunchAttribute.id, id, true);
      for (const [i, word] of value.entries()) view.setUint32(start + CUlaunchAttribute.value + 4 * i, word, true);
      attributes++;
    };
    if (this.cluster !== null) attribute(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, this.cluster);
    if (overlap) attribute(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, [1]);
    view.setUint32(CUlaunchConfig.numAttrs, attributes, true);
    for (const [i, offset] of this.offsets.entries()) {
      view.setBigUint64(POINTERS + 8 * i, this.configAddress + BigInt(this.firstValue + offset), true);
    }
  }
}

/** Three whole numbers from 1 to a limit each. */
function triple(kernel: Kernel, field: string, dimensions: Dimensions, limits: readonly number[]): Triple {
  const [x, y = 1, z = 1] = typeof dimensions === 'number' ? [dimensions] : dimensions;
  const sizes: Triple = [x, y, z];
  for (const [i, size] of sizes.entries()) {
    if (Number.isInteger(size) && size >= 1 && size <= limits[i]!) continue;
    const limit = `each of x, y and z must be a whole number from 1 to ${limits.join(', ')}`;
    throw errors.launchInvalid(kernel.name, field, sizes.join(' x '), limit);
  }
  return sizes;
}

function volume([x, y, z]: Triple): number {
  return x * y * z;
}

function checkBlock(kernel: Kernel, block: Dimensions): Triple {
  const { device } = kernel.context;
  const sizes = triple(kernel, 'block', block, device.blockLimit);
  const { threadsPerBlock, registers } = kernel.facts;
  const most = Math.min(device.threadsPerBlock, threadsPerBlock);
  if (volume(sizes) <= most) return sizes;
  const limit = `with its ${registers} registers a thread and its .maxntid it has room for ${most} threads a block`;
  throw errors.launchInvalid(kernel.name, 'block', sizes.join(' x '), limit);
}

function checkGrid(kernel: Kernel, grid: Dimensions, cluster: Triple | null): Triple {
  const sizes = triple(kernel, 'grid', grid, kernel.context.device.gridLimit);
  if (cluster === null || sizes.every((size, i) => Number.isInteger(size / cluster[i]!))) return sizes;
  const limit = `it must be a multiple of the cluster ${cluster.join(' x ')}`;
  throw errors.launchInvalid(kernel.name, 'grid', sizes.join(' x '), limit);
}

function checkCluster(kernel: Kernel, cluster: Dimensions): Triple {
  const { device } = kernel.context;
  const sizes = triple(kernel, 'cluster', cluster, [LARGEST_CLUSTER, LARGEST_CLUSTER, LARGEST_CLUSTER]);
  const refuse = (limit: string): MarlinError => errors.launchInvalid(kernel.name, 'cluster', sizes.join(' x '), limit);
  if (!device.clusters) throw refuse('this GPU has no clusters (compute capability 9.0 has)');
  if (volume(sizes) > LARGEST_CLUSTER) throw refuse(`a cluster has at most ${LARGEST_CLUSTER} blocks`);
  if (volume(sizes) > PORTABLE_CLUSTER) kernel.allowLargeClusters();
  return sizes;
}

function checkShared(kernel: Kernel, bytes: number): number {
  if (!(Number.isSafeInteger(bytes) && bytes >= 0)) {
    throw errors.launchInvalid(kernel.name, 'dynamic shared memory', `${bytes} bytes`, 'it must be a whole number');
  }
  kernel.allowShared(bytes);
  return bytes;
}

function checkOverlap(kernel: Kernel): true {
  if (kernel.context.device.capability.major >= FIRST_WITH_CLUSTERS) return true;
  throw errors.launchInvalid(kernel.name, 'overlap', 'true', 'this GPU cannot (compute capability 9.0 can)');
}
