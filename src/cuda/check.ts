// What a failed driver call means: which codes kill the context, the driver's own words for a code, what to do about it. Knows no context.
import { errors, type MarlinError } from '../base/errors.ts';
import type { CUresult, Driver } from './driver.ts';
import * as cuda from './header.ts';

/** Codes after which the driver answers every call of this process with the same code: cuda.h says so of each, or that the context is lost. */
const FAULTS: ReadonlySet<CUresult> = new Set([
  cuda.CUDA_ERROR_ECC_UNCORRECTABLE,
  cuda.CUDA_ERROR_NVLINK_UNCORRECTABLE,
  cuda.CUDA_ERROR_CONTAINED,
  cuda.CUDA_ERROR_ILLEGAL_ADDRESS,
  cuda.CUDA_ERROR_LAUNCH_TIMEOUT,
  cuda.CUDA_ERROR_ASSERT,
  cuda.CUDA_ERROR_HARDWARE_STACK_ERROR,
  cuda.CUDA_ERROR_ILLEGAL_INSTRUCTION,
  cuda.CUDA_ERROR_MISALIGNED_ADDRESS,
  cuda.CUDA_ERROR_INVALID_ADDRESS_SPACE,
  cuda.CUDA_ERROR_INVALID_PC,
  cuda.CUDA_ERROR_LAUNCH_FAILED,
  cuda.CUDA_ERROR_TENSOR_MEMORY_LEAK,
  cuda.CUDA_ERROR_MPS_CLIENT_TERMINATED,
  cuda.CUDA_ERROR_EXTERNAL_DEVICE,
]);

/** Whether the code tells of a failure on the GPU itself, after which the context is dead. */
export function isFault(code: CUresult): boolean {
  return FAULTS.has(code);
}

const REPORT = 'This is a bug in the program: please report it with the command that led here';
const HARDWARE = 'Restart the process; if it stays so, look at "nvidia-smi -q" and "dmesg" (Xid) for a failing GPU';
const FIND_KERNEL =
  'Run it with CUDA_LAUNCH_BLOCKING=1 to be told at the launch that fails, or under compute-sanitizer to see the line. The process has to be started again';
const NOT_IN_CAPTURE =
  'Between the beginning and the end of a capture only enqueue kernels, copies and fills on the captured stream; synchronize, allocate and load modules before';

const FIXES: Readonly<Record<CUresult, string>> = {
  [cuda.CUDA_ERROR_INVALID_VALUE]: 'Check sizes, pointers and dimensions of this call against the limits of the GPU',
  [cuda.CUDA_ERROR_OUT_OF_MEMORY]:
    'End other programs that hold memory of the GPU ("nvidia-smi") or of this machine; pinned memory counts against "ulimit -l" and the container',
  [cuda.CUDA_ERROR_NOT_INITIALIZED]: REPORT,
  [cuda.CUDA_ERROR_DEINITIALIZED]: 'The process is ending: use the GPU before that',
  [cuda.CUDA_ERROR_STUB_LIBRARY]:
    'The library found is a stub of the CUDA toolkit: take it off LD_LIBRARY_PATH, or install the NVIDIA driver',
  [cuda.CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER]: 'Update the NVIDIA driver',
  [cuda.CUDA_ERROR_DEVICE_UNAVAILABLE]:
    'Another process holds the GPU exclusively ("nvidia-smi" shows it): end it, or set the compute mode to default',
  [cuda.CUDA_ERROR_INVALID_DEVICE]: 'Choose a GPU that "nvidia-smi -L" lists',
  [cuda.CUDA_ERROR_INVALID_IMAGE]: REPORT,
  [cuda.CUDA_ERROR_INVALID_CONTEXT]: REPORT,
  [cuda.CUDA_ERROR_JIT_COMPILER_NOT_FOUND]:
    'Install the whole NVIDIA driver: libnvidia-ptxjitcompiler is missing (in a container, mount it too: driver capability "compute")',
  [cuda.CUDA_ERROR_JIT_COMPILATION_DISABLED]: 'Unset CUDA_DISABLE_PTX_JIT',
  [cuda.CUDA_ERROR_INVALID_HANDLE]: REPORT,
  [cuda.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES]:
    'Use fewer threads a block, fewer registers (the maxRegisters option, .maxntid in the PTX) or less shared memory',
  [cuda.CUDA_ERROR_INVALID_CLUSTER_SIZE]: 'Use a smaller cluster, or less shared memory a block',
  [cuda.CUDA_ERROR_SYSTEM_NOT_READY]:
    'Wait until the machine is up; on machines with NVSwitch start the service nvidia-fabricmanager',
  [cuda.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH]:
    "The driver's library and its kernel module are of different versions: restart the machine",
  [cuda.CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE]:
    'The CUDA compatibility package does not work on this GPU: take it off LD_LIBRARY_PATH, or update the NVIDIA driver',
  [cuda.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED]: NOT_IN_CAPTURE,
  [cuda.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED]: NOT_IN_CAPTURE,
  [cuda.CUDA_ERROR_STREAM_CAPTURE_UNMATCHED]: NOT_IN_CAPTURE,
  [cuda.CUDA_ERROR_STREAM_CAPTURE_UNJOINED]:
    'Let the captured stream wait for an event of every stream that the capture forked to',
  [cuda.CUDA_ERROR_STREAM_CAPTURE_ISOLATION]: NOT_IN_CAPTURE,
  [cuda.CUDA_ERROR_STREAM_CAPTURE_IMPLICIT]: NOT_IN_CAPTURE,
  [cuda.CUDA_ERROR_UNKNOWN]: HARDWARE,
  // Faults.
  [cuda.CUDA_ERROR_ECC_UNCORRECTABLE]: HARDWARE,
  [cuda.CUDA_ERROR_NVLINK_UNCORRECTABLE]: HARDWARE,
  [cuda.CUDA_ERROR_ILLEGAL_ADDRESS]: `The kernel read or wrote memory that is not its own: check its pointers, offsets and sizes. ${FIND_KERNEL}`,
  [cuda.CUDA_ERROR_MISALIGNED_ADDRESS]: `The kernel used an address that is not a multiple of the access size: check pointers and offsets of vector accesses. ${FIND_KERNEL}`,
  [cuda.CUDA_ERROR_ILLEGAL_INSTRUCTION]: `The kernel met an instruction this GPU does not have, or one with operands it does not take. ${FIND_KERNEL}`,
  [cuda.CUDA_ERROR_LAUNCH_TIMEOUT]:
    'The kernel ran too long on a GPU that also drives a display: make it shorter, or use a GPU without a display. The process has to be started again',
};

/** What to do about a code: sentences, the last without its full stop. */
export function fixFor(code: CUresult): string {
  return FIXES[code] ?? (isFault(code) ? FIND_KERNEL : 'Look the code up in the documentation of the CUDA driver API');
}

const text = new BigUint64Array(1);

/** The driver's own name and words for a code: 'CUDA_ERROR_INVALID_VALUE (1), invalid argument'. */
export function wordsFor(driver: Driver, code: CUresult): string {
  const read = (get: (error: CUresult, to: BigUint64Array) => CUresult): string | null => {
    text[0] = 0n;
    return get(code, text) === cuda.CUDA_SUCCESS && text[0] !== 0n ? driver.native.string(text[0]) : null;
  };
  const name = read((error, to) => driver.cuGetErrorName(error, to)) ?? 'a code without a name';
  const words = read((error, to) => driver.cuGetErrorString(error, to)) ?? 'unknown to the driver';
  return `${name} (${code}), ${words}`;
}

/** The error for a failed call that leaves the context alive. `subject` is what the call was about: 'the kernel "add" (grid 1 x 1 x 1, ...)'. */
export function failure(driver: Driver, code: CUresult, call: string, subject: string | null): MarlinError {
  if (code === cuda.CUDA_ERROR_NO_DEVICE) return errors.gpuMissing();
  return errors.cudaFailed(call, subject, wordsFor(driver, code), fixFor(code));
}

/** The error for a failure on the GPU. `running` is what had been enqueued and not yet waited for: any of it may be what failed. */
export function fault(driver: Driver, code: CUresult, call: string, running: readonly string[]): MarlinError {
  return errors.gpuFault(call, suspects(running), wordsFor(driver, code), fixFor(code));
}

const MOST_NAMED = 8;

function suspects(running: readonly string[]): string {
  const [only] = running;
  if (only === undefined) return 'Earlier work';
  if (running.length === 1) return only.charAt(0).toUpperCase() + only.slice(1);
  const more = running.length - MOST_NAMED;
  return `One of what was running (${running.slice(0, MOST_NAMED).join('; ')}${more > 0 ? `; ${more} more` : ''})`;
}

/** Throws unless the call succeeded; for calls made before there is a context. */
export function check(driver: Driver, code: CUresult, call: string): void {
  if (code !== cuda.CUDA_SUCCESS) throw failure(driver, code, call, null);
}
