// One GPU in use: its primary context, which thread it is current on, and whether a kernel has killed it. Everything else in this folder
// belongs to a context and calls the driver through `enter` and `check`. Knows no memory, module or stream.
import { errors, type MarlinError } from '../base/errors.ts';
import { check, failure, fault, isFault, wordsFor } from './check.ts';
import { type DeviceFacts, deviceHandle, listDevices } from './device.ts';
import { type CUcontext, type CudaVersion, type CUdevice, type CUresult, type Driver, handle } from './driver.ts';
import { CUDA_SUCCESS } from './header.ts';

/** Something enqueued, as it is named when it fails: 'the kernel "add" (grid 4 x 1 x 1, ...)'. */
export interface Work {
  readonly description: string;
}

/** The context that is current on this thread, as far as this module has made it so; a worker thread has a module of its own. */
let current: symbol | null = null;

/**
 * Initialises the driver and takes the primary context of a GPU, the one that other CUDA code in the process shares.
 * Errors: 'gpu-missing', 'gpu-unknown', 'cuda-failed'.
 */
export function openContext(driver: Driver, index = 0): Context {
  const devices = listDevices(driver);
  const facts = devices[index];
  if (facts === undefined) throw errors.gpuUnknown(index, devices.length);
  const version = new Int32Array(1);
  check(driver, driver.cuDriverGetVersion(version), 'cuDriverGetVersion');
  const device = deviceHandle(driver, index);
  const out = new BigUint64Array(1);
  check(driver, driver.cuDevicePrimaryCtxRetain(out, device), 'cuDevicePrimaryCtxRetain');
  return new Context(driver, facts, version[0]!, device, handle(out[0]));
}

export class Context implements Disposable {
  readonly device: DeviceFacts;
  readonly driverVersion: CudaVersion;
  private readonly id: symbol = Symbol('context');
  private readonly driver: Driver;
  private readonly handle: CUcontext;
  private readonly deviceHandle: CUdevice;
  private released = false;
  /** The failure that killed the context. */
  private death: MarlinError | null = null;
  /** What each stream has been given since it was last known to be idle. */
  private readonly running: Set<Set<Work>>;
  /** The same of streams that were disposed of: their work may still be running. */
  private readonly orphaned = new Set<Work>();

  constructor(
    driver: Driver,
    device: DeviceFacts,
    driverVersion: CudaVersion,
    deviceHandle: CUdevice,
    contextHandle: CUcontext,
  ) {
    this.driver = driver;
    this.device = device;
    this.driverVersion = driverVersion;
    this.deviceHandle = deviceHandle;
    this.handle = contextHandle;
    this.running = new Set([this.orphaned]);
  }

  /** The driver, with this context current on the calling thread. Errors: 'disposed', 'gpu-context-dead', 'cuda-failed'. */
  enter(): Driver {
    if (current === this.id) return this.driver;
    if (this.death !== null) throw errors.gpuContextDead(this.death);
    if (this.released) throw errors.disposed(`the context of ${this.device.name}`);
    this.check(this.driver.cuCtxSetCurrent(this.handle), 'cuCtxSetCurrent');
    current = this.id;
    return this.driver;
  }

  /** Throws unless the call succeeded. A failure on the GPU kills the context. Errors: 'gpu-fault', 'gpu-missing', 'cuda-failed'. */
  check(code: CUresult, call: string, subject: string | null = null): void {
    if (code !== CUDA_SUCCESS) throw this.failure(code, call, subject);
  }

  /** The error for a failed call; remembers one that kills the context. */
  failure(code: CUresult, call: string, subject: string | null = null): MarlinError {
    if (!isFault(code)) return failure(this.driver, code, call, subject);
    const works = [...this.running].flatMap((stream) => [...stream]);
    const running = new Set(works.map((work) => work.description));
    this.death = fault(this.driver, code, call, [...running]);
    if (current === this.id) current = null;
    return this.death;
  }

  /** The driver's name and words for a code. */
  words(code: CUresult): string {
    return wordsFor(this.driver, code);
  }

  /** Whether calls make sense: false once released or killed by a kernel. */
  get alive(): boolean {
    return !this.released && this.death === null;
  }

  /** For Symbol.dispose: frees something, or does nothing where it went with the context. Errors: 'gpu-fault', 'cuda-failed'. */
  free(call: string, run: (driver: Driver) => CUresult, subject: string): void {
    if (this.alive) this.check(run(this.enter()), call, subject);
  }

  /** Waits for all streams. Errors: 'gpu-fault' if a kernel has failed, 'gpu-context-dead'. */
  synchronize(): void {
    this.check(this.enter().cuCtxSynchronize(), 'cuCtxSynchronize');
    this.settled();
  }

  /** Bytes of the GPU's memory. */
  memory(): { readonly free: number; readonly total: number } {
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
    this.check(this.enter().cuMemGetInfo(free, total), 'cuMemGetInfo');
    return { free: Number(free[0]), total: Number(total[0]) };
  }

  /** From now on `works` is what one stream may be running. */
  watch(works: Set<Work>): void {
    this.running.add(works);
  }

  /** The stream of these works is disposed of. */
  unwatch(works: Set<Work>): void {
    this.running.delete(works);
    for (const work of works) this.orphaned.add(work);
  }

  /** To be told when everything enqueued so far is known to have run well. */
  settled(): void {
    for (const stream of this.running) stream.clear();
  }

  /** Gives the primary context back. Make it the last: what was made in it goes with it. */
  [Symbol.dispose](): void {
    if (this.released) return;
    const dead = this.death !== null;
    this.released = true;
    if (current === this.id) current = null;
    const code = this.driver.cuDevicePrimaryCtxRelease(this.deviceHandle);
    if (!dead) this.check(code, 'cuDevicePrimaryCtxRelease');
  }
}
