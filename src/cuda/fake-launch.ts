// A launch as the fake driver reads it back from the bytes of CUlaunchConfig, its attributes and the parameters.
import type { CUresult } from './driver.ts';
import type { AddressSpace } from './fake-memory.ts';
import type { Entry } from './fake-program.ts';
import { type FakeTensorMap, readFakeTensorMap } from './fake-tensor-map.ts';
import * as cuda from './header.ts';

export interface FakeLaunch {
  readonly kernel: string;
  readonly grid: readonly number[];
  readonly block: readonly number[];
  /** Null without a cluster. */
  readonly cluster: readonly number[] | null;
  readonly sharedBytes: number;
  readonly overlap: boolean;
  u32(index: number): number;
  s32(index: number): number;
  u64(index: number): bigint;
  f32(index: number): number;
  /** Device memory from the pointer in that parameter to the end of its allocation; an illegal address kills the context, as a kernel's would. */
  memory(index: number): Uint8Array;
  /** What cuTensorMapEncodeTiled was given for the map in that parameter. */
  tensor(index: number): FakeTensorMap;
}

/** Thrown by a kernel function to end with that code. */
export class FakeFault extends Error {
  readonly code: CUresult;
  constructor(code: CUresult) {
    super(`fault ${code}`);
    this.code = code;
  }
}

/** Reads a launch; its parameters are copied, as the driver has read them, too, when the call returns. */
export function readLaunch(
  host: AddressSpace,
  device: AddressSpace,
  entry: Entry,
  config: bigint,
  parameters: bigint,
): { readonly stream: bigint; readonly faked: FakeLaunch } {
  const read = (address: bigint, bytes: number): DataView => {
    const memory = host.at(address, bytes);
    if (memory === null) throw new RangeError(`the launch points to ${address}, where nothing is`);
    return new DataView(memory.slice().buffer);
  };
  const triple = (view: DataView, at: number): number[] => [0, 4, 8].map((i) => view.getUint32(at + i, true));
  const fields = read(config, cuda.CUlaunchConfig.bytes);
  const addressed = (address: bigint, bytes: number): bigint => {
    if (address % BigInt(bytes) === 0n) return address;
    throw new RangeError(`${bytes} bytes of parameters lie at ${address}, which is misaligned`);
  };
  const values = entry.parameterBytes.map((bytes, i) =>
    read(addressed(read(parameters + BigInt(8 * i), 8).getBigUint64(0, true), bytes), bytes),
  );
  const attributes = new Map<number, DataView>();
  for (let i = 0; i < fields.getUint32(cuda.CUlaunchConfig.numAttrs, true); i++) {
    const start = fields.getBigUint64(cuda.CUlaunchConfig.attrs, true) + BigInt(i * cuda.CUlaunchAttribute.bytes);
    const attribute = read(start, cuda.CUlaunchAttribute.bytes);
    attributes.set(attribute.getUint32(cuda.CUlaunchAttribute.id, true), attribute);
  }
  const cluster = attributes.get(cuda.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
  const overlap = attributes.get(cuda.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
  return {
    stream: fields.getBigUint64(cuda.CUlaunchConfig.hStream, true),
    faked: {
      kernel: entry.name,
      grid: triple(fields, cuda.CUlaunchConfig.gridDimX),
      block: triple(fields, cuda.CUlaunchConfig.blockDimX),
      cluster: cluster === undefined ? null : triple(cluster, cuda.CUlaunchAttribute.value),
      sharedBytes: fields.getUint32(cuda.CUlaunchConfig.sharedMemBytes, true),
      overlap: overlap?.getInt32(cuda.CUlaunchAttribute.value, true) === 1,
      u32: (i) => values[i]!.getUint32(0, true),
      s32: (i) => values[i]!.getInt32(0, true),
      u64: (i) => values[i]!.getBigUint64(0, true),
      f32: (i) => values[i]!.getFloat32(0, true),
      memory: (i) => {
        const memory = device.at(values[i]!.getBigUint64(0, true));
        if (memory === null) throw new FakeFault(cuda.CUDA_ERROR_ILLEGAL_ADDRESS);
        return memory;
      },
      tensor: (i) => readFakeTensorMap(values[i]!),
    },
  };
}
