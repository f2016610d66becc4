// Tensor maps: 128 bytes that tell the bulk-copy engine (TMA) where a matrix lies and which boxes of it are copied. Encoded once, when a launch
// is prepared; knows no launch.
import { errors } from '../base/errors.ts';
import type { Context } from './context.ts';
import { versionText } from './driver.ts';
import * as cuda from './header.ts';
import type { DeviceMemory } from './memory.ts';
import { alignedBytes } from './native.ts';
import { TENSOR_MAP_ALIGN, type TensorMap } from './parameters.ts';
import { checkContext } from './resource.ts';

export type TensorElement = 'f16' | 'bf16' | 'f32' | 'b32' | 'u32' | 's32' | 'u64' | 'b16' | 'u8';

/** A matrix by rows without gaps, and the boxes that copies take of it, both [rows, columns]. */
export interface TensorLayout {
  /** Names the matrix in errors: the parameter. */
  readonly name: string;
  readonly element: TensorElement;
  readonly rows: number;
  readonly columns: number;
  readonly box: readonly [rows: number, columns: number];
  /** How 16-byte chunks are exchanged in shared memory: the bytes that the pattern spans, 0 for not at all. */
  readonly swizzle: 0 | 32 | 64 | 128;
}

const TYPES: Readonly<Record<TensorElement, readonly [type: number, bytes: number]>> = {
  f16: [cuda.CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2],
  bf16: [cuda.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2],
  f32: [cuda.CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4],
  b32: [cuda.CU_TENSOR_MAP_DATA_TYPE_UINT32, 4],
  u32: [cuda.CU_TENSOR_MAP_DATA_TYPE_UINT32, 4],
  s32: [cuda.CU_TENSOR_MAP_DATA_TYPE_INT32, 4],
  u64: [cuda.CU_TENSOR_MAP_DATA_TYPE_UINT64, 8],
  b16: [cuda.CU_TENSOR_MAP_DATA_TYPE_UINT16, 2],
  u8: [cuda.CU_TENSOR_MAP_DATA_TYPE_UINT8, 1],
};

const SWIZZLES: Readonly<Record<TensorLayout['swizzle'], number>> = {
  0: cuda.CU_TENSOR_MAP_SWIZZLE_NONE,
  32: cuda.CU_TENSOR_MAP_SWIZZLE_32B,
  64: cuda.CU_TENSOR_MAP_SWIZZLE_64B,
  128: cuda.CU_TENSOR_MAP_SWIZZLE_128B,
};

const FIRST_WITH_TENSOR_MAPS = 9;
const MOST_ELEMENTS = 2 ** 32;
const CHUNK = 16;

/**
 * Holds a matrix at `address`, in memory of which `bytes` are left from there, against what the engine can copy.
 * Errors: 'tensor-invalid', 'tensor-range'.
 */
export function checkTensor({ name, element, rows, columns }: TensorLayout, address: bigint, bytes: number): void {
  const rowBytes = columns * TYPES[element][1];
  const invalid = (why: string): Error => errors.tensorInvalid(name, why);
  if (![rows, columns].every((size) => Number.isInteger(size) && size >= 1 && size <= MOST_ELEMENTS))
    throw invalid(`${rows} x ${columns} is not 1 to 2^32 rows by 1 to 2^32 columns`);
  if (rowBytes % CHUNK !== 0) throw invalid(`its rows have ${rowBytes} bytes, no multiple of ${CHUNK}`);
  if (address % BigInt(CHUNK) !== 0n) throw invalid(`it starts at 0x${address.toString(16)}, no multiple of ${CHUNK}`);
  if (rows * rowBytes > bytes) throw errors.tensorRange(name, rows, columns, rows * rowBytes, bytes);
}

/**
 * The map of a matrix that starts where `memory` does; what lies outside of it is copied as zeros. Takes a few microseconds: not for each launch.
 * Errors: 'tensor-invalid', 'tensor-range', 'tensor-unsupported', 'gpu-unsupported', 'context-foreign', 'disposed', 'gpu-context-dead', 'cuda-failed'.
 */
export function encodeTensorMap(context: Context, memory: DeviceMemory, layout: TensorLayout): TensorMap {
  const { name, element, rows, columns, box, swizzle } = layout;
  const { device } = context;
  checkContext(context, memory);
  checkTensor(layout, memory.pointer, memory.bytes);
  if (device.capability.major < FIRST_WITH_TENSOR_MAPS) {
    const capability = `${device.capability.major}.${device.capability.minor}`;
    throw errors.gpuUnsupported(`a kernel with the tensor ${name}`, 'sm_90', device.name, capability);
  }
  const driver = context.enter();
  const { view, address } = alignedBytes(driver, cuda.CUtensorMap.bytes, TENSOR_MAP_ALIGN);
  const [type, bytes] = TYPES[element];
  const code = driver.cuTensorMapEncodeTiled(
    address,
    type,
    2,
    memory.pointer,
    BigUint64Array.of(BigInt(columns), BigInt(rows)),
    BigUint64Array.of(BigInt(columns * bytes)),
    Uint32Array.of(box[1], box[0]),
    Uint32Array.of(1, 1),
    cuda.CU_TENSOR_MAP_INTERLEAVE_NONE,
    SWIZZLES[swizzle],
    cuda.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
    cuda.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
  );
  if (code === cuda.CUDA_ERROR_NOT_SUPPORTED) {
    throw errors.tensorUnsupported(name, versionText(context.driverVersion));
  }
  const words = `the matrix ${name} of ${rows} x ${columns} ${element} in boxes of ${box.join(' x ')}, swizzle ${swizzle}`;
  context.check(code, 'cuTensorMapEncodeTiled', words);
  return { memory, map: view };
}
