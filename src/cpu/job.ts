// How the calling thread hands a kernel to its helpers: one job block in shared memory, one mailbox a worker.
// Both sides of the protocol live here, so that they can be read together.
import { kernelNames, kernelTable, type Kernels } from './kernels.ts';

/** Word offsets in the job block (Int32Array). Parameters follow as f64, which holds addresses, sizes and f32 exactly. */
const NEXT = 0;
const PENDING = 1;
const FAILED = 2;
const KERNEL = 3;
const ITEMS = 4;
const GRAIN = 5;
const COUNT = 6;
const CALLER_SLEEPS = 7;
const PARAMETERS_BYTE = 32;
const MAX_PARAMETERS = 24;
export const JOB_BYTES: number = PARAMETERS_BYTE + 8 * MAX_PARAMETERS;

/** Word offsets in a worker's mailbox. */
const TICKET = 0;
const SLEEPS = 1;
const READY = 2;
export const MAILBOX_BYTES = 64;

/**
 * Turns of a busy wait before a thread sleeps: about 100 us. Waking a sleeper costs about 50 us, the gaps between the products of one
 * token are 3-10 us, and a thread that spins for long steals a core from whoever else runs.
 */
const SPINS = 4000;

export interface Job {
  readonly block: Int32Array;
  readonly parameters: Float64Array;
}

export function jobAt(buffer: SharedArrayBuffer, address: number): Job {
  return {
    block: new Int32Array(buffer, address, PARAMETERS_BYTE / 4),
    parameters: new Float64Array(buffer, address + PARAMETERS_BYTE, MAX_PARAMETERS),
  };
}

export function mailboxAt(buffer: SharedArrayBuffer, address: number): Int32Array {
  return new Int32Array(buffer, address, MAILBOX_BYTES / 4);
}

/** Takes `grain` items at a time until none is left. */
function work({ block, parameters }: Job, kernels: Kernels, scratch: number): void {
  const name = kernelNames[block[KERNEL]!]!;
  const kernel = kernels[name];
  const items = block[ITEMS]!;
  const grain = block[GRAIN]!;
  const own = Array.from(parameters.subarray(0, block[COUNT]));
  if (kernelTable[name].scratch) own.push(scratch);
  for (;;) {
    const begin = Atomics.add(block, NEXT, grain);
    if (begin >= items) return;
    kernel(...own, begin, Math.min(begin + grain, items));
  }
}

/** The caller's side: posts the job to the workers that are up, works along, returns when all items are done. False if the kernel failed anywhere. */
export function post(
  job: Job,
  mailboxes: readonly Int32Array[],
  kernels: Kernels,
  scratch: number,
  kernel: number,
  parameters: readonly number[],
  items: number,
  grain: number,
): boolean {
  const { block } = job;
  job.parameters.set(parameters);
  block[KERNEL] = kernel;
  block[ITEMS] = items;
  block[GRAIN] = grain;
  block[COUNT] = parameters.length;
  const helpers = mailboxes.filter((mailbox) => Atomics.load(mailbox, READY) === 1);
  Atomics.store(block, NEXT, 0);
  Atomics.store(block, PENDING, helpers.length);
  for (const mailbox of helpers) {
    Atomics.add(mailbox, TICKET, 1);
    if (Atomics.load(mailbox, SLEEPS) === 1) Atomics.notify(mailbox, TICKET);
  }
  let ok = true;
  try {
    work(job, kernels, scratch);
  } catch {
    ok = false; // helpers may still be at it: nothing goes on before they are done
  }
  for (let spin = 0; Atomics.load(block, PENDING) !== 0; spin++) {
    if (spin < SPINS) Atomics.pause();
    else {
      Atomics.store(block, CALLER_SLEEPS, 1);
      const pending = Atomics.load(block, PENDING);
      if (pending !== 0) Atomics.wait(block, PENDING, pending);
      Atomics.store(block, CALLER_SLEEPS, 0);
    }
  }
  return Atomics.exchange(block, FAILED, 0) === 0 && ok;
}

/** The worker's side: serves jobs until the thread is ended from outside. */
export function serve(job: Job, mailbox: Int32Array, kernels: Kernels, scratch: number): never {
  const { block } = job;
  let ticket = Atomics.load(mailbox, TICKET);
  Atomics.store(mailbox, READY, 1);
  for (;;) {
    for (let spin = 0; Atomics.load(mailbox, TICKET) === ticket; spin++) {
      if (spin < SPINS) Atomics.pause();
      else {
        Atomics.store(mailbox, SLEEPS, 1);
        Atomics.wait(mailbox, TICKET, ticket);
        Atomics.store(mailbox, SLEEPS, 0);
      }
    }
    ticket = Atomics.load(mailbox, TICKET);
    try {
      work(job, kernels, scratch);
    } catch {
      Atomics.store(block, FAILED, 1);
    }
    Atomics.sub(block, PENDING, 1);
    if (Atomics.load(block, CALLER_SLEEPS) === 1) Atomics.notify(block, PENDING);
  }
}
