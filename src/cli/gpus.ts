// What `marlin doctor` says about GPUs: by the project's own binding of the driver, so that what it sees is what kernels will meet.
import { errors, MarlinError } from '../base/errors.ts';
import { capabilityText, type DeviceFacts, listDevices } from '../cuda/device.ts';
import { type CudaVersion, type Driver, newestPtx, versionText } from '../cuda/driver.ts';
import { check } from '../cuda/check.ts';
import { openDriver } from '../cuda/library.ts';
import { targetOf } from '../device/parameters.ts';
import { dense16 } from '../kernels/dense16/kernel.ts';
import { versionOf } from '../ptx/print.ts';
import type { Program } from '../ptx/program.ts';
import { megabytes } from './table.ts';

export interface Gpu {
  readonly name: string;
  /** '9.0'. */
  readonly computeCapability: string;
  readonly memoryBytes: number;
  readonly multiprocessors: number;
  /** The newest CUDA that the driver supports: '13.0'. */
  readonly cuda: string;
  /** The lowest PTX version in which the kernels can be written for this GPU; null where none of them runs on it. */
  readonly ptxNeeded: string | null;
  /** Whether the driver understands that version. */
  readonly ptxLoadable: boolean;
}

export interface GpuReport {
  readonly gpus: readonly Gpu[];
  readonly detail: string;
  /** What to do about it; null where nothing is wrong, no GPU included. */
  readonly fix: string | null;
}

/** Never fails: without a GPU, or with one that cannot be used, models run on the CPU. */
export async function reportGpus(open: () => Promise<Driver> = openDriver): Promise<GpuReport> {
  try {
    return describe(listGpus(await open()));
  } catch (error) {
    const problem = error instanceof MarlinError ? error : errors.internal(String(error));
    const absence = ABSENCES[problem.code];
    if (absence !== undefined) return { gpus: [], detail: absence, fix: null };
    return { gpus: [], detail: `cannot be used: ${problem.message}`, fix: problem.fix };
  }
}

/** Errors that say that there is none, which is nothing to mend. */
const ABSENCES: Readonly<Record<string, string>> = {
  'driver-missing': 'none found (no NVIDIA driver)',
  'driver-binding-missing': 'not looked for (koffi has no binary for this platform)',
  'gpu-missing': 'none found (the driver is there, but sees no GPU)',
};

function listGpus(driver: Driver): readonly Gpu[] {
  const devices = listDevices(driver);
  const version = new Int32Array(1);
  check(driver, driver.cuDriverGetVersion(version), 'cuDriverGetVersion');
  return devices.map((device) => gpuOf(device, version[0]!));
}

/** Of each kernel folder the program that needs most. */
const kernels = (): readonly Program[] => [dense16({ m: 128, n: 128, k: 64 })];

function gpuOf(device: DeviceFacts, version: CudaVersion): Gpu {
  const { name, memoryBytes, multiprocessors, capability } = device;
  const target = targetOf(capability);
  const needed = target === null ? null : Math.max(...kernels().map((program) => versionOf(program, target)));
  return {
    name,
    computeCapability: capabilityText(device),
    memoryBytes,
    multiprocessors,
    cuda: versionText(version),
    ptxNeeded: needed === null ? null : needed.toFixed(1),
    ptxLoadable: needed !== null && needed <= newestPtx(version),
  };
}

function describe(gpus: readonly Gpu[]): GpuReport {
  const outdated = gpus.some(({ ptxNeeded, ptxLoadable }) => ptxNeeded !== null && !ptxLoadable);
  return { gpus, detail: gpus.map(sentence).join('; '), fix: outdated ? 'Update the NVIDIA driver.' : null };
}

function sentence({
  name,
  computeCapability,
  multiprocessors,
  memoryBytes,
  cuda,
  ptxNeeded,
  ptxLoadable,
}: Gpu): string {
  const facts = `compute capability ${computeCapability}, ${multiprocessors} multiprocessors, ${megabytes(memoryBytes)}`;
  const kernels =
    ptxNeeded === null
      ? 'too old for the kernels, which need compute capability 8.0'
      : `kernels need PTX ${ptxNeeded}, which the driver ${ptxLoadable ? 'understands' : 'does not understand'}`;
  return `${name} (${facts}; driver for CUDA ${cuda}; ${kernels})`;
}
