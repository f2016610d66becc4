// The face of the NVIDIA driver: the cu* functions the project calls, as thin as in C (codes come back as numbers, results through typed
// arrays). library.ts is the real one, fake.ts one without a GPU. Knows no library and no rule of use.

/** 0 is success; everything else is an error, and 600 ("not ready") an answer. */
export type CUresult = number;

/** As cuDriverGetVersion counts: 1000 * major + 10 * minor. */
export type CudaVersion = number;

/** '12.4' for 12040. */
export function versionText(version: CudaVersion): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}

/** From which CUDA on drivers know a version of PTX (PTX ISA, release notes). */
const PTX_VERSIONS: readonly (readonly [cuda: CudaVersion, ptx: number])[] = [
  [13_000, 9.0],
  [12_090, 8.8],
  [12_080, 8.7],
  [12_070, 8.6],
  [12_050, 8.5],
  [12_040, 8.4],
  [12_030, 8.3],
  [12_020, 8.2],
  [12_010, 8.1],
  [12_000, 8.0],
];

/** A version of PTX that a driver of CUDA 12.0 or later understands for sure: the newest, as far as this table goes. */
export function newestPtx(version: CudaVersion): number {
  return PTX_VERSIONS.find(([cuda]) => version >= cuda)?.[1] ?? 0;
}

declare const kind: unique symbol;
/** A handle of the driver: a pointer that JavaScript only carries. */
export type Handle<Kind extends string> = bigint & { readonly [kind]: Kind };
export type CUdeviceptr = Handle<'device memory'>;
export type CUcontext = Handle<'context'>;
export type CUmodule = Handle<'module'>;
export type CUfunction = Handle<'function'>;
export type CUlinkState = Handle<'link'>;
export type CUstream = Handle<'stream'>;
export type CUevent = Handle<'event'>;
export type CUgraph = Handle<'graph'>;
export type CUgraphExec = Handle<'graph exec'>;
/** Page-locked host memory, by its address. */
export type HostPointer = Handle<'host memory'>;
/** Devices are counted from 0. */
export type CUdevice = number;

/** A bigint that came out of a driver call as the handle it is. Errors: a null handle is a TypeError (the driver never gives one with success). */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- which handle it is, the caller knows from the call
export function handle<H extends Handle<string>>(value: bigint | undefined): H {
  if (value === undefined || value === 0n) throw new TypeError('the driver gave a null handle');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where a number becomes a handle
  return value as H;
}

/** Memory that C reads or writes during the call: a view of JavaScript's, or an address. */
export type Memory = ArrayBufferView | bigint;
/** Where C writes a pointer, a handle or a size_t. */
export type Out64 = BigUint64Array;
export type Out32 = Int32Array;

/** What C does with a cast. */
export interface NativeMemory {
  /** The address of a view's first byte. It holds as long as the view's ArrayBuffer lives: keep a reference. */
  address(view: ArrayBufferView): bigint;
  /** `bytes` bytes of native memory as an ArrayBuffer of its own; touching it after the memory was freed is fatal, so `transfer()` it away first. */
  view(address: bigint, bytes: number): ArrayBuffer;
  /** A C string. */
  string(address: bigint): string;
}

/** Functions have their plain names of cuda.h; which version is called says library.ts. Sizes are bytes. */
export interface Driver {
  readonly native: NativeMemory;

  cuInit(flags: number): CUresult;
  /** The newest CUDA the driver supports, as a CudaVersion. */
  cuDriverGetVersion(version: Out32): CUresult;
  cuGetErrorName(error: CUresult, text: Out64): CUresult;
  cuGetErrorString(error: CUresult, text: Out64): CUresult;

  cuDeviceGetCount(count: Out32): CUresult;
  cuDeviceGet(device: Out32, ordinal: number): CUresult;
  cuDeviceGetName(name: Uint8Array, length: number, device: CUdevice): CUresult;
  cuDeviceTotalMem(bytes: Out64, device: CUdevice): CUresult;
  cuDeviceGetAttribute(value: Out32, attribute: number, device: CUdevice): CUresult;
  cuDevicePrimaryCtxRetain(context: Out64, device: CUdevice): CUresult;
  cuDevicePrimaryCtxRelease(device: CUdevice): CUresult;
  cuCtxSetCurrent(context: CUcontext): CUresult;
  cuCtxSynchronize(): CUresult;

  cuMemGetInfo(free: Out64, total: Out64): CUresult;
  cuMemAlloc(pointer: Out64, bytes: number): CUresult;
  cuMemAllocAsync(pointer: Out64, bytes: number, stream: CUstream): CUresult;
  cuMemFree(pointer: CUdeviceptr): CUresult;
  cuMemFreeAsync(pointer: CUdeviceptr, stream: CUstream): CUresult;
  cuMemHostAlloc(pointer: Out64, bytes: number, flags: number): CUresult;
  cuMemFreeHost(pointer: HostPointer): CUresult;
  cuMemcpyHtoD(to: CUdeviceptr, from: Memory, bytes: number): CUresult;
  cuMemcpyDtoH(to: Memory, from: CUdeviceptr, bytes: number): CUresult;
  cuMemcpyDtoD(to: CUdeviceptr, from: CUdeviceptr, bytes: number): CUresult;
  cuMemcpyHtoDAsync(to: CUdeviceptr, from: Memory, bytes: number, stream: CUstream): CUresult;
  cuMemcpyDtoHAsync(to: Memory, from: CUdeviceptr, bytes: number, stream: CUstream): CUresult;
  cuMemcpyDtoDAsync(to: CUdeviceptr, from: CUdeviceptr, bytes: number, stream: CUstream): CUresult;
  cuMemsetD8(to: CUdeviceptr, value: number, count: number): CUresult;
  cuMemsetD32(to: CUdeviceptr, value: number, count: number): CUresult;
  cuMemsetD8Async(to: CUdeviceptr, value: number, count: number, stream: CUstream): CUresult;
  cuMemsetD32Async(to: CUdeviceptr, value: number, count: number, stream: CUstream): CUresult;

  cuModuleLoadData(module: Out64, image: Memory): CUresult;
  cuModuleLoadDataEx(module: Out64, image: Memory, count: number, options: Int32Array, values: Out64): CUresult;
  cuModuleUnload(module: CUmodule): CUresult;
  cuModuleGetFunction(kernel: Out64, module: CUmodule, name: string): CUresult;
  cuLinkCreate(count: number, options: Int32Array, values: Out64, state: Out64): CUresult;
  cuLinkAddData(
    state: CUlinkState,
    type: number,
    data: Memory,
    bytes: number,
    name: string,
    count: number,
    options: null,
    values: null,
  ): CUresult;
  cuLinkComplete(state: CUlinkState, cubin: Out64, bytes: Out64): CUresult;
  cuLinkDestroy(state: CUlinkState): CUresult;
  cuFuncGetAttribute(value: Out32, attribute: number, kernel: CUfunction): CUresult;
  cuFuncSetAttribute(kernel: CUfunction, attribute: number, value: number): CUresult;
  /** Drivers before 12.4 lack it: the answer is then CUDA_ERROR_NOT_SUPPORTED. */
  cuFuncGetParamInfo(kernel: CUfunction, index: number, offset: Out64, bytes: Out64): CUresult;
  /** `config` is the address of a CUlaunchConfig, `parameters` of an array of addresses, one for each parameter. */
  cuLaunchKernelEx(config: bigint, kernel: CUfunction, parameters: bigint, extra: null): CUresult;

  /**
   * `map` is the address of a CUtensorMap, a multiple of 64 (CUDA 13: 128). The strides are those of all dimensions but the first. Where the driver
   * lacks it, the answer is CUDA_ERROR_NOT_SUPPORTED.
   */
  cuTensorMapEncodeTiled(
    map: bigint,
    type: number,
    rank: number,
    address: CUdeviceptr,
    sizes: BigUint64Array,
    strides: BigUint64Array,
    box: Uint32Array,
    elementStrides: Uint32Array,
    interleave: number,
    swizzle: number,
    promotion: number,
    fill: number,
  ): CUresult;

  cuStreamCreate(stream: Out64, flags: number): CUresult;
  cuStreamDestroy(stream: CUstream): CUresult;
  cuStreamSynchronize(stream: CUstream): CUresult;
  cuStreamQuery(stream: CUstream): CUresult;
  cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: number): CUresult;
  cuStreamBeginCapture(stream: CUstream, mode: number): CUresult;
  cuStreamEndCapture(stream: CUstream, graph: Out64): CUresult;

  cuEventCreate(event: Out64, flags: number): CUresult;
  cuEventRecord(event: CUevent, stream: CUstream): CUresult;
  cuEventQuery(event: CUevent): CUresult;
  cuEventSynchronize(event: CUevent): CUresult;
  cuEventElapsedTime(milliseconds: Float32Array, start: CUevent, end: CUevent): CUresult;
  cuEventDestroy(event: CUevent): CUresult;

  cuGraphInstantiateWithFlags(exec: Out64, graph: CUgraph, flags: number): CUresult;
  /** `result` takes a CUgraphExecUpdateResultInfo. */
  cuGraphExecUpdate(exec: CUgraphExec, graph: CUgraph, result: ArrayBufferView): CUresult;
  cuGraphLaunch(exec: CUgraphExec, stream: CUstream): CUresult;
  cuGraphExecDestroy(exec: CUgraphExec): CUresult;
  cuGraphDestroy(graph: CUgraph): CUresult;
}
