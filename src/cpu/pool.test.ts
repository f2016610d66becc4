// The pool: helpers do share the work, a failing kernel is told, threads end with the pool.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { JOB_BYTES, jobAt, MAILBOX_BYTES, mailboxAt, post } from './job.ts';
import { Heap } from './heap.ts';
import { compileKernels, instantiateKernels, kernelNames } from './kernels.ts';
import { Pool } from './pool.ts';

const HELPERS_START_MS = 400;

test('every exported kernel is in the table, and the table has no other', () => {
  const exported = WebAssembly.Module.exports(compileKernels())
    .filter(({ kind }) => kind === 'function')
    .map(({ name }) => name);
  assert.deepEqual(exported.toSorted(), [...kernelNames].toSorted());
});

test('items are done once with a helper beside', async () => {
  using pool = new Pool({ threads: 2, scratchBytes: 64 });
  await setTimeout(HELPERS_START_MS);
  const rows = 1000;
  const [y, bias] = [pool.heap.allocate(rows * 16), pool.heap.allocate(16)];
  pool.heap.floats(bias, 4).fill(1);
  pool.run('addRows', [y, 16, bias, 16], rows, 1);
  assert.ok(
    pool.heap.floats(y, rows * 4).every((value) => value === 1),
    'each row once, by whichever thread',
  );
});

test('random items and grains: each item exactly once, on one to three threads', async () => {
  using one = new Pool({ threads: 1, scratchBytes: 64 });
  using three = new Pool({ threads: 3, scratchBytes: 64 });
  await setTimeout(HELPERS_START_MS);
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 500 }),
      fc.integer({ min: 1, max: 70 }),
      fc.constantFrom(one, three),
      (rows, grain, pool) => {
        const [y, bias] = [pool.heap.allocate(rows * 16 + 16), pool.heap.allocate(16)];
        pool.heap.floats(bias, 4).fill(1);
        pool.run('addRows', [y, 16, bias, 16], rows, grain);
        assert.deepEqual(
          [...pool.heap.floats(y, rows * 4 + 4)],
          Array.from({ length: rows * 4 + 4 }, (_, i) => (i < rows * 4 ? 1 : 0)),
        );
      },
    ),
    { numRuns: 200 },
  );
});

test('helpers really work: with a caller that does nothing they do it all', async () => {
  const heap = new Heap();
  const { memory } = heap;
  assert.ok(memory.buffer instanceof SharedArrayBuffer);
  const [job, mailbox, scratch] = [heap.allocate(JOB_BYTES), heap.allocate(MAILBOX_BYTES), heap.allocate(64)];
  const module = compileKernels();
  const worker = new Worker(new URL('worker.ts', import.meta.url), {
    workerData: { memory, module, job, mailbox, scratch },
  });
  try {
    const box = mailboxAt(memory.buffer, mailbox);
    for (let i = 0; i < 100 && Atomics.load(box, 2) === 0; i++) await setTimeout(20);
    const idle = { ...instantiateKernels(module, memory), addRows: () => {} };
    const [y, bias] = [heap.allocate(16_000), heap.allocate(16)];
    heap.floats(bias, 4).fill(1);
    let helped = 0;
    for (let attempt = 0; attempt < 200 && helped === 0; attempt++) {
      assert.ok(
        post(
          jobAt(memory.buffer, job),
          [box],
          idle,
          scratch,
          kernelNames.indexOf('addRows'),
          [y, 16, bias, 16],
          1000,
          1,
        ),
      );
      helped = heap.floats(y, 4000).filter((value) => value > 0).length;
    }
    assert.ok(helped > 0, 'the helper never took an item');
  } finally {
    await worker.terminate();
  }
});

test('a kernel that traps becomes an error, and the pool goes on', async () => {
  using pool = new Pool({ threads: 2, scratchBytes: 64 });
  await setTimeout(HELPERS_START_MS);
  const beyond = 0xffff_0000;
  for (let i = 0; i < 50; i++)
    assert.throws(() => pool.run('addRows', [beyond, 16, beyond, 16], 10, 1), { code: 'internal' });
  const [y, bias] = [pool.heap.allocate(160), pool.heap.allocate(16)];
  pool.heap.floats(bias, 4).fill(1);
  pool.run('addRows', [y, 16, bias, 16], 10, 1);
  assert.ok(pool.heap.floats(y, 40).every((value) => value === 1));
});
