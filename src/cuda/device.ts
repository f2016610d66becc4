// The GPUs of this machine and what a planner has to know of each. Makes no context: looking costs no GPU memory.
import { errors } from '../base/errors.ts';
import { check } from './check.ts';
import type { CUdevice, Driver } from './driver.ts';
import * as cuda from './header.ts';

/** Facts of one GPU. Sizes are bytes, clocks kHz; three numbers are x, y, z. */
export interface DeviceFacts {
  /** Counted from 0 among the GPUs that CUDA_VISIBLE_DEVICES leaves. */
  readonly index: number;
  readonly name: string;
  readonly capability: { readonly major: number; readonly minor: number };
  readonly multiprocessors: number;
  readonly memoryBytes: number;
  readonly l2Bytes: number;
  /** With opt-in (227 KiB on an H200), static and dynamic together. */
  readonly sharedBytesPerBlock: number;
  readonly sharedBytesPerMultiprocessor: number;
  readonly registersPerMultiprocessor: number;
  readonly threadsPerBlock: number;
  readonly threadsPerMultiprocessor: number;
  readonly warpSize: number;
  readonly blockLimit: readonly [number, number, number];
  readonly gridLimit: readonly [number, number, number];
  /** Whether blocks can be launched in clusters (compute capability 9.0 and later). */
  readonly clusters: boolean;
  /** Whether stream-ordered allocation works. */
  readonly memoryPools: boolean;
  readonly ecc: boolean;
  readonly clockKHz: number;
  readonly memoryClockKHz: number;
  readonly memoryBusBits: number;
}

/** '9.0'. */
export function capabilityText(device: DeviceFacts): string {
  return `${device.capability.major}.${device.capability.minor}`;
}

const int = new Int32Array(1);
const size = new BigUint64Array(1);
const NAME_BYTES = 256;

/** Initialises the driver and describes every GPU. Errors: 'gpu-missing', 'cuda-failed'. */
export function listDevices(driver: Driver): readonly DeviceFacts[] {
  check(driver, driver.cuInit(0), 'cuInit');
  check(driver, driver.cuDeviceGetCount(int), 'cuDeviceGetCount');
  const count = int[0]!;
  if (count === 0) throw errors.gpuMissing();
  return Array.from({ length: count }, (_, index) => describe(driver, index));
}

/** The driver's own number of a GPU. Errors: 'cuda-failed'. */
export function deviceHandle(driver: Driver, index: number): CUdevice {
  check(driver, driver.cuDeviceGet(int, index), 'cuDeviceGet');
  return int[0]!;
}

function describe(driver: Driver, index: number): DeviceFacts {
  const device = deviceHandle(driver, index);
  const attribute = (which: number): number => {
    check(driver, driver.cuDeviceGetAttribute(int, which, device), 'cuDeviceGetAttribute');
    return int[0]!;
  };
  const name = new Uint8Array(NAME_BYTES);
  check(driver, driver.cuDeviceGetName(name, NAME_BYTES, device), 'cuDeviceGetName');
  check(driver, driver.cuDeviceTotalMem(size, device), 'cuDeviceTotalMem');
  return {
    index,
    name: untilZero(name),
    capability: {
      major: attribute(cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
      minor: attribute(cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
    },
    multiprocessors: attribute(cuda.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
    memoryBytes: Number(size[0]),
    l2Bytes: attribute(cuda.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
    sharedBytesPerBlock: attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
    sharedBytesPerMultiprocessor: attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR),
    registersPerMultiprocessor: attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR),
    threadsPerBlock: attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
    threadsPerMultiprocessor: attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR),
    warpSize: attribute(cuda.CU_DEVICE_ATTRIBUTE_WARP_SIZE),
    blockLimit: [
      attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X),
      attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y),
      attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z),
    ],
    gridLimit: [
      attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X),
      attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y),
      attribute(cuda.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z),
    ],
    clusters: attribute(cuda.CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH) !== 0,
    memoryPools: attribute(cuda.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED) !== 0,
    ecc: attribute(cuda.CU_DEVICE_ATTRIBUTE_ECC_ENABLED) !== 0,
    clockKHz: attribute(cuda.CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
    memoryClockKHz: attribute(cuda.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
    memoryBusBits: attribute(cuda.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
  };
}

/** The text of a C string inside a buffer. */
export function untilZero(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
