// Runs kernels over a range of items on several threads that share one heap. Knows no kernel's meaning.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { errors } from '../base/errors.ts';
import { type Address, Heap } from './heap.ts';
import { JOB_BYTES, type Job, jobAt, MAILBOX_BYTES, mailboxAt, post } from './job.ts';
import {
  compileKernels,
  instantiateKernels,
  type KernelName,
  kernelNames,
  type Kernels,
  kernelTable,
  type SimdLevel,
  simdLevel,
} from './kernels.ts';

/** What a helper thread is started with. */
export interface WorkerStart {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  readonly job: Address;
  readonly mailbox: Address;
  readonly scratch: Address;
}

export interface PoolOptions {
  /** Threads in all, the caller's included. Default: one a core, at most 16 (decode is bound by memory long before). */
  readonly threads?: number;
  /** Scratch bytes for each thread; kernels that need it say how much in their host call. */
  readonly scratchBytes: number;
  /** Forces a level of SIMD, for tests. */
  readonly simd?: SimdLevel;
}

const MAX_DEFAULT_THREADS = 16;

/** Job blocks are read through typed arrays made once: they must lie in the first page, whose buffer never goes away. */
export class Pool implements Disposable {
  readonly heap: Heap = new Heap();
  readonly threads: number;
  readonly simd: SimdLevel;
  private readonly kernels: Kernels;
  private readonly workers: readonly Worker[];
  private readonly mailboxes: readonly Int32Array[];
  private readonly job: Job;
  private readonly scratch: Address;

  constructor(options: PoolOptions) {
    const level = options.simd ?? simdLevel();
    if (level === null) throw errors.cpuUnsupported();
    this.simd = level;
    this.threads = options.threads ?? Math.min(availableParallelism(), MAX_DEFAULT_THREADS);
    const module = compileKernels(level);
    const { memory } = this.heap;
    const job = this.heap.allocate(JOB_BYTES);
    const mailboxes = Array.from({ length: this.threads - 1 }, () => this.heap.allocate(MAILBOX_BYTES));
    this.scratch = this.heap.allocate(options.scratchBytes);
    const scratches = mailboxes.map(() => this.heap.allocate(options.scratchBytes));
    const buffer = sharedBuffer(memory);
    this.kernels = instantiateKernels(module, memory);
    this.job = jobAt(buffer, job);
    this.mailboxes = mailboxes.map((mailbox) => mailboxAt(buffer, mailbox));
    // The extension of this very file: '.ts' in a checkout, '.js' in the package.
    const entry = new URL(`worker${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
    this.workers = mailboxes.map((mailbox, i) => {
      const workerData: WorkerStart = { memory, module, job, mailbox, scratch: scratches[i]! };
      const worker = new Worker(entry, { workerData, execArgv: [] });
      worker.unref();
      return worker;
    });
  }

  /**
   * Calls `kernel(...parameters, [scratch,] begin, end)` over all of [0, items), `grain` items at a time, on this thread and the helpers that
   * are up; returns when everything is done. Errors: 'internal' when a kernel traps.
   */
  run(kernel: KernelName, parameters: readonly number[], items: number, grain: number): void {
    if (items === 0) return;
    if (this.threads === 1 || items <= grain) {
      if (kernelTable[kernel].scratch) this.kernels[kernel](...parameters, this.scratch, 0, items);
      else this.kernels[kernel](...parameters, 0, items);
      return;
    }
    if (
      !post(this.job, this.mailboxes, this.kernels, this.scratch, kernelNames.indexOf(kernel), parameters, items, grain)
    ) {
      throw errors.internal(`the kernel ${kernel} failed`);
    }
  }

  [Symbol.dispose](): void {
    for (const worker of this.workers) void worker.terminate();
  }
}

function sharedBuffer(memory: WebAssembly.Memory): SharedArrayBuffer {
  const { buffer } = memory;
  if (!(buffer instanceof SharedArrayBuffer)) throw errors.internal('the heap is not shared memory');
  return buffer;
}
