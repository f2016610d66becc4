// The NVIDIA driver itself: opens libcuda by koffi and binds the functions of `Driver`. The only file that knows which FFI it is; koffi is
// loaded with the first call, so that nobody without a GPU ever loads it.
import { errors } from '../base/errors.ts';
import { type CudaVersion, type Driver, type NativeMemory, versionText } from './driver.ts';
import { CUDA_ERROR_NOT_SUPPORTED, CUDA_SUCCESS } from './header.ts';

type Koffi = (typeof import('koffi'))['default'];

/**
 * CUDA 12.0: the first driver with PTX ISA 8.0 (wgmma, bulk copies, setmaxnreg, target sm_90a) and with cuGraphExecUpdate_v2. All that is bound
 * below is there from 12.0 on, but for cuFuncGetParamInfo (12.4); who passes no tensor does not need cuTensorMapEncodeTiled either.
 */
export const OLDEST_DRIVER: CudaVersion = 12_000;

/** The driver's library under its usual name; `path` stands in for it in tests. */
export function libraryName(platform: NodeJS.Platform = process.platform): string {
  return platform === 'win32' ? 'nvcuda.dll' : 'libcuda.so.1';
}

/**
 * Opens the driver. Nothing is initialised yet: `listDevices` does that.
 * Errors: 'driver-binding-missing', 'driver-missing', 'driver-too-old'.
 */
export async function openDriver(path: string = libraryName()): Promise<Driver> {
  const koffi = await loadKoffi();
  let library: ReturnType<Koffi['load']>;
  try {
    library = koffi.load(path);
  } catch (cause) {
    throw errors.driverMissing(path, cause);
  }
  const bind: Bind = (prototype) => {
    const { name, parameters } = signature(prototype);
    return library.func(name, 'int', parameters);
  };
  // Asked before all is bound: an old driver lacks functions, and its age is the better message.
  const version = driverVersion(bind);
  if (version < OLDEST_DRIVER) throw errors.driverTooOld(versionText(version), versionText(OLDEST_DRIVER));
  try {
    return { native: nativeMemory(koffi), ...bindAll(bind) };
  } catch (cause) {
    throw errors.driverIncomplete(path, cause);
  }
}

async function loadKoffi(): Promise<Koffi> {
  try {
    return (await import('koffi')).default;
  } catch (cause) {
    throw errors.driverBindingMissing(cause);
  }
}

function driverVersion(bind: Bind): CudaVersion {
  const version = new Int32Array(1);
  let get: Driver['cuDriverGetVersion'];
  try {
    get = bind('CUresult cuDriverGetVersion(int *version)');
  } catch {
    return 0;
  }
  return get(version) === CUDA_SUCCESS ? version[0]! : 0;
}

function nativeMemory(koffi: Koffi): NativeMemory {
  return {
    address: (view) => koffi.address(view),
    view: (address, bytes) => koffi.view(address, bytes),
    string: (address) => koffi.decode.string(address),
  };
}

/** A function of the library by its C prototype. The result fits any face: `Driver` says which, and library.test.ts holds both against cuda.h. */
// oxlint-disable-next-line typescript/no-explicit-any -- only a function of any type can be bound to a field of each
export type Bind = (prototype: string) => (...parameters: any[]) => number;

/** C types as koffi knows them. Handles are pointers, which koffi takes as bigint; where C writes, it takes the typed array to write to. */
const KOFFI_TYPES: Readonly<Record<string, string>> = {
  int: 'int',
  'unsigned int': 'uint',
  'unsigned char': 'uint8',
  'unsigned long long': 'uint64',
  size_t: 'size_t',
  CUresult: 'int',
  CUdevice: 'int',
  CUdevice_attribute: 'int',
  CUfunction_attribute: 'int',
  CUjitInputType: 'int',
  CUstreamCaptureMode: 'int',
  CUdeviceptr: 'uint64',
  CUcontext: 'void *',
  CUmodule: 'void *',
  CUfunction: 'void *',
  CUlinkState: 'void *',
  CUstream: 'void *',
  CUevent: 'void *',
  CUgraph: 'void *',
  CUgraphExec: 'void *',
  cuuint32_t: 'uint',
  CUtensorMapDataType: 'int',
  CUtensorMapInterleave: 'int',
  CUtensorMapSwizzle: 'int',
  CUtensorMapL2promotion: 'int',
  CUtensorMapFloatOOBfill: 'int',
};

/** The name and the koffi types of a prototype in C. */
export function signature(prototype: string): { readonly name: string; readonly parameters: string[] } {
  const match = /^CUresult (\w+)\((.*)\)$/.exec(prototype);
  if (match === null) throw errors.internal(`${prototype} is no prototype of the driver`);
  const [, name = '', list = ''] = match;
  const parameters = list === 'void' ? [] : list.split(', ').map(koffiType);
  return { name, parameters };
}

function koffiType(parameter: string): string {
  if (/^const char \*\w+$/.test(parameter)) return 'str';
  if (parameter.includes('*')) return 'void *';
  const type = KOFFI_TYPES[parameter.replace(/ \w+$/, '')];
  if (type === undefined) throw errors.internal(`there is no FFI type for "${parameter}"`);
  return type;
}

/** Every function of `Driver`, by the version of its symbol that cuda.h maps the plain name to (but cuEventElapsedTime: its _v2 is of 12.8). */
export function bindAll(bind: Bind): Omit<Driver, 'native'> {
  return {
    cuInit: bind('CUresult cuInit(unsigned int flags)'),
    cuDriverGetVersion: bind('CUresult cuDriverGetVersion(int *version)'),
    cuGetErrorName: bind('CUresult cuGetErrorName(CUresult error, const char **text)'),
    cuGetErrorString: bind('CUresult cuGetErrorString(CUresult error, const char **text)'),

    cuDeviceGetCount: bind('CUresult cuDeviceGetCount(int *count)'),
    cuDeviceGet: bind('CUresult cuDeviceGet(CUdevice *device, int ordinal)'),
    cuDeviceGetName: bind('CUresult cuDeviceGetName(char *name, int length, CUdevice device)'),
    cuDeviceTotalMem: bind('CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)'),
    cuDeviceGetAttribute: bind(
      'CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)',
    ),
    cuDevicePrimaryCtxRetain: bind('CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)'),
    cuDevicePrimaryCtxRelease: bind('CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)'),
    cuCtxSetCurrent: bind('CUresult cuCtxSetCurrent(CUcontext context)'),
    cuCtxSynchronize: bind('CUresult cuCtxSynchronize(void)'),

    cuMemGetInfo: bind('CUresult cuMemGetInfo_v2(size_t *free, size_t *total)'),
    cuMemAlloc: bind('CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes)'),
    cuMemAllocAsync: bind('CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t bytes, CUstream stream)'),
    cuMemFree: bind('CUresult cuMemFree_v2(CUdeviceptr pointer)'),
    cuMemFreeAsync: bind('CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream)'),
    cuMemHostAlloc: bind('CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned int flags)'),
    cuMemFreeHost: bind('CUresult cuMemFreeHost(void *pointer)'),
    cuMemcpyHtoD: bind('CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)'),
    cuMemcpyDtoH: bind('CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)'),
    cuMemcpyDtoD: bind('CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes)'),
    cuMemcpyHtoDAsync: bind(
      'CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)',
    ),
    cuMemcpyDtoHAsync: bind('CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)'),
    cuMemcpyDtoDAsync: bind(
      'CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)',
    ),
    cuMemsetD8: bind('CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count)'),
    cuMemsetD32: bind('CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned int value, size_t count)'),
    cuMemsetD8Async: bind(
      'CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)',
    ),
    cuMemsetD32Async: bind(
      'CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream)',
    ),

    cuModuleLoadData: bind('CUresult cuModuleLoadData(CUmodule *module, const void *image)'),
    cuModuleLoadDataEx: bind(
      'CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int count, CUjit_option *options, void **values)',
    ),
    cuModuleUnload: bind('CUresult cuModuleUnload(CUmodule module)'),
    cuModuleGetFunction: bind('CUresult cuModuleGetFunction(CUfunction *kernel, CUmodule module, const char *name)'),
    cuLinkCreate: bind(
      'CUresult cuLinkCreate_v2(unsigned int count, CUjit_option *options, void **values, CUlinkState *state)',
    ),
    cuLinkAddData: bind(
      'CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t bytes, const char *name, unsigned int count, CUjit_option *options, void **values)',
    ),
    cuLinkComplete: bind('CUresult cuLinkComplete(CUlinkState state, void **cubin, size_t *bytes)'),
    cuLinkDestroy: bind('CUresult cuLinkDestroy(CUlinkState state)'),
    cuFuncGetAttribute: bind(
      'CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction kernel)',
    ),
    cuFuncSetAttribute: bind(
      'CUresult cuFuncSetAttribute(CUfunction kernel, CUfunction_attribute attribute, int value)',
    ),
    cuFuncGetParamInfo: orUnsupported(() =>
      bind('CUresult cuFuncGetParamInfo(CUfunction kernel, size_t index, size_t *offset, size_t *bytes)'),
    ),
    cuLaunchKernelEx: bind(
      'CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction kernel, void **parameters, void **extra)',
    ),

    cuTensorMapEncodeTiled: orUnsupported(() =>
      bind(
        'CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address, const cuuint64_t *sizes, const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *elementStrides, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill)',
      ),
    ),

    cuStreamCreate: bind('CUresult cuStreamCreate(CUstream *stream, unsigned int flags)'),
    cuStreamDestroy: bind('CUresult cuStreamDestroy_v2(CUstream stream)'),
    cuStreamSynchronize: bind('CUresult cuStreamSynchronize(CUstream stream)'),
    cuStreamQuery: bind('CUresult cuStreamQuery(CUstream stream)'),
    cuStreamWaitEvent: bind('CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)'),
    cuStreamBeginCapture: bind('CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)'),
    cuStreamEndCapture: bind('CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)'),

    cuEventCreate: bind('CUresult cuEventCreate(CUevent *event, unsigned int flags)'),
    cuEventRecord: bind('CUresult cuEventRecord(CUevent event, CUstream stream)'),
    cuEventQuery: bind('CUresult cuEventQuery(CUevent event)'),
    cuEventSynchronize: bind('CUresult cuEventSynchronize(CUevent event)'),
    cuEventElapsedTime: bind('CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)'),
    cuEventDestroy: bind('CUresult cuEventDestroy_v2(CUevent event)'),

    cuGraphInstantiateWithFlags: bind(
      'CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)',
    ),
    cuGraphExecUpdate: bind(
      'CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *result)',
    ),
    cuGraphLaunch: bind('CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)'),
    cuGraphExecDestroy: bind('CUresult cuGraphExecDestroy(CUgraphExec exec)'),
    cuGraphDestroy: bind('CUresult cuGraphDestroy(CUgraph graph)'),
  };
}

/** A function newer than OLDEST_DRIVER: where it is missing, every call answers CUDA_ERROR_NOT_SUPPORTED. */
function orUnsupported(bind: () => ReturnType<Bind>): ReturnType<Bind> {
  try {
    return bind();
  } catch {
    return () => CUDA_ERROR_NOT_SUPPORTED;
  }
}
