// The parameters of a kernel as bytes: where each lies and what may be written there. Knows no launch.
import { errors } from '../base/errors.ts';
import { CUtensorMap } from './header.ts';
import type { DeviceMemory } from './memory.ts';

export type ParameterType = 'u32' | 's32' | 'u64' | 'f32' | 'pointer' | 'tensor-map';

/** One parameter of a kernel, in the order of its .entry. */
export interface Parameter {
  readonly name: string;
  readonly type: ParameterType;
  /** For pointers: what the address must be a multiple of, in bytes (16 for 128-bit accesses); 1 by default. */
  readonly align?: number;
}

/** The bytes of a CUtensorMap, and the matrix it describes (tensor-map.ts encodes it). */
export interface TensorMap {
  readonly memory: DeviceMemory;
  readonly map: Uint8Array;
}

/** A pointer's value is the memory itself, or a slice of it. */
export type Value = number | bigint | DeviceMemory | TensorMap;

/** The memory that a value points to; null for a number. */
export function memoryOf(value: Value): DeviceMemory | null {
  if (typeof value !== 'object') return null;
  return 'map' in value ? value.memory : value;
}

/** What a tensor map is aligned to on the host: cuda.h of CUDA 12 asks for 64 bytes, that of CUDA 13 for 128. */
export const TENSOR_MAP_ALIGN = 128;

const BYTES: Readonly<Record<ParameterType, number>> = {
  u32: 4,
  s32: 4,
  f32: 4,
  u64: 8,
  pointer: 8,
  'tensor-map': CUtensorMap.bytes,
};

function alignOf(type: ParameterType): number {
  return type === 'tensor-map' ? TENSOR_MAP_ALIGN : BYTES[type];
}

/** Where each parameter starts, and the bytes of all: a number aligned to its size, a tensor map to 128. */
export function layoutOf(parameters: readonly Parameter[]): {
  readonly offsets: readonly number[];
  readonly bytes: number;
} {
  let end = 0;
  const offsets = parameters.map(({ type }) => {
    const offset = Math.ceil(end / alignOf(type)) * alignOf(type);
    end = offset + BYTES[type];
    return offset;
  });
  return { offsets, bytes: end };
}

/** Holds a declaration against the sizes the compiled kernel has. Errors: 'parameters-mismatch'. */
export function checkDeclared(kernel: string, declared: readonly Parameter[], compiled: readonly number[]): void {
  if (declared.length !== compiled.length) {
    throw errors.parametersMismatch(kernel, `${declared.length} are declared, and it has ${compiled.length}`);
  }
  for (const [i, { name, type }] of declared.entries()) {
    if (BYTES[type] === compiled[i]) continue;
    throw errors.parametersMismatch(kernel, `${name} is declared as ${type}, and it has ${compiled[i]} bytes there`);
  }
}

/** Writes a value as the bytes of its parameter. Errors: 'parameter-invalid' for another type, a value out of range, a misaligned pointer; 'disposed'. */
export function writeParameter(
  view: DataView,
  offset: number,
  parameter: Parameter,
  value: Value,
  kernel: string,
): void {
  switch (parameter.type) {
    case 'u32':
      if (isWhole(value, 0, 2 ** 32 - 1)) return view.setUint32(offset, value, true);
      break;
    case 's32':
      if (isWhole(value, -(2 ** 31), 2 ** 31 - 1)) return view.setInt32(offset, value, true);
      break;
    case 'f32':
      if (typeof value === 'number') return view.setFloat32(offset, value, true);
      break;
    case 'u64':
      if (isWhole(value, 0, Number.MAX_SAFE_INTEGER)) return view.setBigUint64(offset, BigInt(value), true);
      if (typeof value === 'bigint' && value >= 0n && value < 2n ** 64n) {
        return view.setBigUint64(offset, value, true);
      }
      break;
    case 'pointer':
      if (typeof value !== 'object' || 'map' in value) break;
      if (value.pointer % BigInt(parameter.align ?? 1) !== 0n) break;
      return view.setBigUint64(offset, value.pointer, true);
    case 'tensor-map':
      if (typeof value !== 'object' || !('map' in value)) break;
      return new Uint8Array(view.buffer, view.byteOffset).set(value.map, offset);
  }
  throw errors.parameterInvalid(kernel, parameter.name, expected(parameter), found(value));
}

function isWhole(value: Value, least: number, most: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;
}

const EXPECTED: Readonly<Record<ParameterType, string>> = {
  u32: 'a whole number of 0 to 2^32 - 1 (u32)',
  s32: 'a whole number of -2^31 to 2^31 - 1 (s32)',
  u64: 'a whole number of 0 to 2^64 - 1 (u64)',
  f32: 'a number (f32)',
  pointer: 'device memory',
  'tensor-map': 'a matrix in device memory',
};

function expected({ type, align = 1 }: Parameter): string {
  return align === 1 ? EXPECTED[type] : `${EXPECTED[type]} at a multiple of ${align} bytes`;
}

function found(value: Value): string {
  if (typeof value !== 'object') return `${typeof value} ${value}`;
  return 'map' in value ? `a matrix in ${value.memory.title}` : `${value.title} at 0x${value.pointer.toString(16)}`;
}
