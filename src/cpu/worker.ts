// The entry of a helper thread: instantiates the kernels over the shared memory and serves jobs until it is ended.
import { workerData } from 'node:worker_threads';
import { jobAt, mailboxAt, serve } from './job.ts';
import { instantiateKernels } from './kernels.ts';
import type { WorkerStart } from './pool.ts';

const start: WorkerStart = workerData;
const { memory, module } = start;
if (!(memory.buffer instanceof SharedArrayBuffer)) throw new TypeError('the memory of a helper thread must be shared');
serve(
  jobAt(memory.buffer, start.job),
  mailboxAt(memory.buffer, start.mailbox),
  instantiateKernels(module, memory),
  start.scratch,
);
