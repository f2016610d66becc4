// What cuda.h fixes: enum values under their C names, and the layout of the structures we write byte by byte.
// header.test.ts compiles all of it against the real header where there is one.

// ---- CUresult: those that are told apart; all others go by the driver's own name and text
export const CUDA_SUCCESS = 0;
export const CUDA_ERROR_INVALID_VALUE = 1;
export const CUDA_ERROR_OUT_OF_MEMORY = 2;
export const CUDA_ERROR_NOT_INITIALIZED = 3;
export const CUDA_ERROR_DEINITIALIZED = 4;
export const CUDA_ERROR_STUB_LIBRARY = 34;
export const CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER = 36;
export const CUDA_ERROR_DEVICE_UNAVAILABLE = 46;
export const CUDA_ERROR_NO_DEVICE = 100;
export const CUDA_ERROR_INVALID_DEVICE = 101;
export const CUDA_ERROR_INVALID_IMAGE = 200;
export const CUDA_ERROR_INVALID_CONTEXT = 201;
export const CUDA_ERROR_NO_BINARY_FOR_GPU = 209;
export const CUDA_ERROR_ECC_UNCORRECTABLE = 214;
export const CUDA_ERROR_INVALID_PTX = 218;
export const CUDA_ERROR_NVLINK_UNCORRECTABLE = 220;
export const CUDA_ERROR_JIT_COMPILER_NOT_FOUND = 221;
export const CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222;
export const CUDA_ERROR_JIT_COMPILATION_DISABLED = 223;
export const CUDA_ERROR_CONTAINED = 226;
export const CUDA_ERROR_INVALID_HANDLE = 400;
export const CUDA_ERROR_NOT_FOUND = 500;
export const CUDA_ERROR_NOT_READY = 600;
export const CUDA_ERROR_ILLEGAL_ADDRESS = 700;
export const CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701;
export const CUDA_ERROR_LAUNCH_TIMEOUT = 702;
export const CUDA_ERROR_ASSERT = 710;
export const CUDA_ERROR_HARDWARE_STACK_ERROR = 714;
export const CUDA_ERROR_ILLEGAL_INSTRUCTION = 715;
export const CUDA_ERROR_MISALIGNED_ADDRESS = 716;
export const CUDA_ERROR_INVALID_ADDRESS_SPACE = 717;
export const CUDA_ERROR_INVALID_PC = 718;
export const CUDA_ERROR_LAUNCH_FAILED = 719;
export const CUDA_ERROR_TENSOR_MEMORY_LEAK = 721;
export const CUDA_ERROR_NOT_SUPPORTED = 801;
export const CUDA_ERROR_SYSTEM_NOT_READY = 802;
export const CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803;
export const CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE = 804;
export const CUDA_ERROR_MPS_CLIENT_TERMINATED = 810;
export const CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900;
export const CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901;
export const CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903;
export const CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904;
export const CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905;
export const CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906;
export const CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910;
export const CUDA_ERROR_EXTERNAL_DEVICE = 911;
export const CUDA_ERROR_INVALID_CLUSTER_SIZE = 912;
export const CUDA_ERROR_UNKNOWN = 999;

// ---- CUdevice_attribute
export const CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1;
export const CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X = 2;
export const CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y = 3;
export const CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z = 4;
export const CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X = 5;
export const CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y = 6;
export const CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z = 7;
export const CU_DEVICE_ATTRIBUTE_WARP_SIZE = 10;
export const CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13;
export const CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16;
export const CU_DEVICE_ATTRIBUTE_ECC_ENABLED = 32;
export const CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36;
export const CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH = 37;
export const CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38;
export const CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR = 39;
export const CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75;
export const CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76;
export const CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR = 81;
export const CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR = 82;
export const CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97;
export const CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED = 115;
export const CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH = 120;

// ---- CUfunction_attribute
export const CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0;
export const CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1;
export const CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3;
export const CU_FUNC_ATTRIBUTE_NUM_REGS = 4;
export const CU_FUNC_ATTRIBUTE_BINARY_VERSION = 6;
export const CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;
export const CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14;

// ---- CUjit_option, CUjitInputType
export const CU_JIT_MAX_REGISTERS = 0;
export const CU_JIT_INFO_LOG_BUFFER = 3;
export const CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES = 4;
export const CU_JIT_ERROR_LOG_BUFFER = 5;
export const CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6;
export const CU_JIT_LOG_VERBOSE = 12;
export const CU_JIT_GENERATE_LINE_INFO = 13;
export const CU_JIT_INPUT_PTX = 1;

// ---- flags, and attributes of a launch
export const CU_STREAM_DEFAULT = 0;
export const CU_EVENT_DEFAULT = 0;
export const CU_EVENT_DISABLE_TIMING = 2;
export const CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1;
export const CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION = 4;
export const CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6;

// ---- CUgraphExecUpdateResult
export const CU_GRAPH_EXEC_UPDATE_SUCCESS = 0;
export const CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED = 2;
export const CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED = 3;
export const CU_GRAPH_EXEC_UPDATE_ERROR_FUNCTION_CHANGED = 4;
export const CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED = 5;
export const CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED = 6;
export const CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE = 7;
export const CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED = 8;

// ---- tensor maps
export const CU_TENSOR_MAP_DATA_TYPE_UINT8 = 0;
export const CU_TENSOR_MAP_DATA_TYPE_UINT16 = 1;
export const CU_TENSOR_MAP_DATA_TYPE_UINT32 = 2;
export const CU_TENSOR_MAP_DATA_TYPE_INT32 = 3;
export const CU_TENSOR_MAP_DATA_TYPE_UINT64 = 4;
export const CU_TENSOR_MAP_DATA_TYPE_FLOAT16 = 6;
export const CU_TENSOR_MAP_DATA_TYPE_FLOAT32 = 7;
export const CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9;
export const CU_TENSOR_MAP_INTERLEAVE_NONE = 0;
export const CU_TENSOR_MAP_SWIZZLE_NONE = 0;
export const CU_TENSOR_MAP_SWIZZLE_32B = 1;
export const CU_TENSOR_MAP_SWIZZLE_64B = 2;
export const CU_TENSOR_MAP_SWIZZLE_128B = 3;
export const CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3;
export const CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0;

// ---- structures: bytes, and the byte where each field starts
export const CUlaunchConfig = {
  bytes: 56,
  gridDimX: 0,
  gridDimY: 4,
  gridDimZ: 8,
  blockDimX: 12,
  blockDimY: 16,
  blockDimZ: 20,
  sharedMemBytes: 24,
  hStream: 32,
  attrs: 40,
  numAttrs: 48,
} as const;

export const CUlaunchAttribute = {
  bytes: 72,
  id: 0,
  value: 8,
} as const;

export const CUtensorMap = {
  bytes: 128,
  opaque: 0,
} as const;

export const CUgraphExecUpdateResultInfo = {
  bytes: 24,
  result: 0,
  errorNode: 8,
  errorFromNode: 16,
} as const;
