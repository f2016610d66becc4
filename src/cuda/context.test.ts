// Devices and contexts: facts, the thread's current context, disposal, and what happens after a kernel has failed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openContext } from './context.ts';
import { capabilityText, listDevices } from './device.ts';
import { createFake } from './fake.ts';
import * as cuda from './header.ts';
import { allocate } from './memory.ts';
import { createStream } from './stream.ts';

test('facts of each GPU', () => {
  const devices = listDevices(createFake({ devices: 2, memoryBytes: 1000 }).driver);
  assert.deepEqual(
    devices.map(({ index, name }) => [index, name]),
    [
      [0, 'Fake H200 0'],
      [1, 'Fake H200 1'],
    ],
  );
  const [device] = devices;
  assert.ok(device !== undefined);
  assert.equal(capabilityText(device), '9.0');
  assert.deepEqual(device.gridLimit, [2 ** 31 - 1, 65535, 65535]);
  assert.deepEqual(device.blockLimit, [1024, 1024, 64]);
  const { multiprocessors, sharedBytesPerBlock, memoryBytes, clusters, ecc, memoryPools } = device;
  assert.deepEqual(
    { multiprocessors, sharedBytesPerBlock, memoryBytes, clusters, ecc, memoryPools },
    {
      multiprocessors: 132,
      sharedBytesPerBlock: 232_448,
      memoryBytes: 1000,
      clusters: true,
      ecc: true,
      memoryPools: true,
    },
  );
});

test('no GPU, and a GPU that is not there', () => {
  assert.throws(() => listDevices(createFake({ devices: 0 }).driver), { code: 'gpu-missing' });
  const none = createFake();
  none.fail('cuInit', cuda.CUDA_ERROR_NO_DEVICE);
  assert.throws(() => openContext(none.driver), { code: 'gpu-missing' });
  assert.throws(() => openContext(createFake({ devices: 2 }).driver, 2), {
    code: 'gpu-unknown',
    message: /GPU 2.*counts 2/,
  });
  assert.throws(() => openContext(createFake().driver, -1), { code: 'gpu-unknown' });
});

test('a driver and a library of different versions: the fix says restart', () => {
  const fake = createFake();
  fake.fail('cuInit', cuda.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
  assert.throws(() => openContext(fake.driver), { code: 'cuda-failed', message: /^cuInit failed/, fix: /restart/ });
});

test('a context is made current when it is used, and only when it was not', () => {
  const fake = createFake({ devices: 2 });
  using first = openContext(fake.driver, 0);
  using second = openContext(fake.driver, 1);
  const settings = (): number => fake.calls.filter((call) => call === 'cuCtxSetCurrent').length;
  for (let i = 0; i < 3; i++) first.synchronize();
  assert.equal(settings(), 1);
  for (const context of [second, second, first]) context.synchronize();
  assert.equal(settings(), 3);
});

test('released once; afterwards everything says so, and disposing is quiet', () => {
  const fake = createFake();
  const context = openContext(fake.driver);
  const buffer = allocate(context, 16, 'x');
  const stream = createStream(context);
  context[Symbol.dispose]();
  context[Symbol.dispose]();
  assert.equal(fake.calls.filter((call) => call === 'cuDevicePrimaryCtxRelease').length, 1);
  assert.equal(context.alive, false);
  for (const use of [() => context.synchronize(), () => context.memory(), () => stream.synchronize()]) {
    assert.throws(use, { code: 'disposed', message: /the context of Fake H200/ });
  }
  const before = fake.calls.length;
  buffer[Symbol.dispose]();
  stream[Symbol.dispose]();
  assert.equal(fake.calls.length, before, 'they went with the context');
});

test('the first call after a fault tells it, all later ones say that the GPU is lost and why; disposing is quiet', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  using buffer = allocate(context, 16, 'x');
  using stream = createStream(context);
  fake.die(cuda.CUDA_ERROR_MISALIGNED_ADDRESS);
  assert.throws(() => stream.synchronize(), { code: 'gpu-fault', message: /CUDA_ERROR_MISALIGNED_ADDRESS \(716\)/ });
  assert.equal(context.alive, false);
  for (const use of [() => stream.done(), () => context.memory(), () => allocate(context, 4, 'y')]) {
    assert.throws(use, {
      code: 'gpu-context-dead',
      message: /Earlier work failed on the GPU: CUDA_ERROR_MISALIGNED_ADDRESS/,
    });
  }
  assert.ok(!buffer.disposed);
});

test('a fault that only a disposal finds is not swallowed', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  const buffer = allocate(context, 16, 'x');
  fake.die(cuda.CUDA_ERROR_ILLEGAL_ADDRESS);
  assert.throws(() => buffer[Symbol.dispose](), { code: 'gpu-fault', message: /cuMemFree told/ });
  buffer[Symbol.dispose]();
});

test('another context of the same process lives on', () => {
  const [one, two] = [createFake(), createFake()];
  using dying = openContext(one.driver);
  using living = openContext(two.driver);
  one.die(719);
  assert.throws(() => dying.synchronize(), { code: 'gpu-fault' });
  living.synchronize();
});
