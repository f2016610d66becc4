// Device and pinned memory: round trips, bounds, ownership, disposal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { openContext } from './context.ts';
import { createFake } from './fake.ts';
import * as cuda from './header.ts';
import {
  allocate,
  allocateOn,
  allocatePinned,
  copyOnDevice,
  copyToDevice,
  copyToHost,
  type DeviceMemory,
  fillBytes,
  fillWords,
} from './memory.ts';
import { createStream } from './stream.ts';

function read(memory: DeviceMemory): number[] {
  const bytes = new Uint8Array(memory.bytes);
  copyToHost(bytes, memory);
  return [...bytes];
}

test('what goes up comes down, also at odd offsets, from any kind of view, and from device to device', () => {
  using context = openContext(createFake().driver);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 64 }), fc.nat(16), fc.nat(16), (data, at, to) => {
      using buffer = allocate(context, 128, 'a');
      using other = allocate(context, 128, 'b');
      copyToDevice(buffer.slice(at), data);
      copyOnDevice(other.slice(to), buffer.slice(at, data.length));
      assert.deepEqual(read(other.slice(to).slice(0, data.length)), [...data]);
    }),
  );
  using floats = allocate(context, 12, 'floats');
  copyToDevice(floats, Float32Array.of(9, 1, 2, 3, 9).subarray(1, 4));
  const back = new Float32Array(5);
  copyToHost(back.subarray(1, 4), floats);
  assert.deepEqual([...back], [0, 1, 2, 3, 0]);
  copyToHost(back.subarray(0, 0), floats);
});

test('fills, by bytes and by words', () => {
  using context = openContext(createFake().driver);
  using stream = createStream(context);
  using buffer = allocate(context, 16, 'x');
  fillBytes(buffer, 7);
  fillWords(buffer.slice(4, 4), 0x04030201);
  fillBytes(buffer.slice(9, 2), 255, stream);
  fillWords(buffer.slice(12), 0, stream);
  assert.deepEqual(read(buffer), [7, 7, 7, 7, 1, 2, 3, 4, 7, 255, 255, 7, 0, 0, 0, 0]);
});

test('a fill that does not fit: value, length, alignment', () => {
  using context = openContext(createFake().driver);
  using buffer = allocate(context, 16, 'x');
  const wrong = [
    () => fillBytes(buffer, 256),
    () => fillBytes(buffer, -1),
    () => fillBytes(buffer, 0.5),
    () => fillWords(buffer, 2 ** 32),
    () => fillWords(buffer.slice(0, 6), 0),
    () => fillWords(buffer.slice(2, 8), 0),
  ];
  for (const fill of wrong) assert.throws(fill, { code: 'fill-invalid', message: /device memory "x"/ });
});

test('ranges outside of the allocation are refused before the driver sees them', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  using buffer = allocate(context, 16, 'x');
  const calls = fake.calls.length;
  const outside = [
    () => copyToDevice(buffer, new Uint8Array(17)),
    () => copyToDevice(buffer.slice(8), new Uint8Array(9)),
    () => copyToHost(new Uint8Array(17), buffer),
    () => copyOnDevice(buffer.slice(8), buffer),
    () => buffer.slice(17),
    () => buffer.slice(8, 9),
    () => buffer.slice(-1),
    () => buffer.slice(0.5),
    () => buffer.slice(8).slice(4, 5),
  ];
  for (const use of outside) assert.throws(use, { code: 'range-outside', message: /the device memory "x"/ });
  assert.equal(fake.calls.length, calls);
});

test('sizes that are none', () => {
  using context = openContext(createFake().driver);
  for (const bytes of [0, -1, 1.5, Number.NaN, 2 ** 60]) {
    assert.throws(() => allocate(context, bytes, 'x'), { code: 'allocation-invalid', message: /"x"/ });
    assert.throws(() => allocatePinned(context, bytes, 'x'), { code: 'allocation-invalid' });
  }
});

test('no room: the error says what for, how much was asked, how much is free', () => {
  using context = openContext(createFake({ memoryBytes: 1000 }).driver);
  using stream = createStream(context);
  using first = allocate(context, 600, 'weights');
  assert.throws(() => allocate(context, 500, 'cache'), {
    code: 'gpu-memory-exceeded',
    message: 'There is no room on the GPU for the device memory "cache" of 500 bytes: 400 of 1000 bytes are free.',
  });
  assert.throws(() => allocateOn(stream, 500, 'cache'), { code: 'gpu-memory-exceeded' });
  first[Symbol.dispose]();
  using second = allocateOn(stream, 500, 'cache');
  assert.equal(second.bytes, 500);
});

test('no room for pinned memory is not told as a full GPU', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  fake.fail('cuMemHostAlloc', cuda.CUDA_ERROR_OUT_OF_MEMORY);
  assert.throws(() => allocatePinned(context, 64, 'x'), {
    code: 'cuda-failed',
    message: /the pinned memory "x" of 64 bytes/,
  });
});

test('freed memory and its slices cannot be used; freeing twice does nothing', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  const buffer = allocate(context, 16, 'x');
  const slice = buffer.slice(4);
  buffer[Symbol.dispose]();
  buffer[Symbol.dispose]();
  assert.equal(fake.calls.filter((call) => call === 'cuMemFree').length, 1);
  for (const memory of [buffer, slice]) {
    assert.equal(memory.disposed, true);
    assert.throws(() => memory.pointer, { code: 'disposed', message: /the device memory "x"/ });
    assert.throws(() => read(memory), { code: 'disposed' });
    assert.throws(() => copyToDevice(memory, new Uint8Array(1)), { code: 'disposed' });
    assert.throws(() => fillBytes(memory, 0), { code: 'disposed' });
  }
});

test('memory and streams of another context are refused', () => {
  const fake = createFake({ devices: 2 });
  using here = openContext(fake.driver, 0);
  using there = openContext(fake.driver, 1);
  using mine = allocate(here, 16, 'mine');
  using theirs = allocate(there, 16, 'theirs');
  using stream = createStream(there, 'theirs');
  assert.throws(() => copyOnDevice(mine, theirs), { code: 'context-foreign', message: /"theirs"/ });
  assert.throws(() => fillBytes(mine, 0, stream), { code: 'context-foreign', message: /the stream "theirs"/ });
});

test('pinned memory: a view of native memory that empties when it is freed', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  using stream = createStream(context);
  using buffer = allocate(context, 8, 'x');
  const pinned = allocatePinned(context, 16, 'staging');
  const view = new Uint16Array(pinned.bytes.buffer, 4, 4);
  view.set([1, 2, 3, 4]);
  copyToDevice(buffer, view, stream);
  view.fill(0);
  copyToHost(view, buffer, stream);
  assert.deepEqual([...view], [1, 2, 3, 4]);
  pinned[Symbol.dispose]();
  pinned[Symbol.dispose]();
  assert.equal(view.length, 0, 'nobody can read freed memory');
  assert.throws(() => pinned.bytes, { code: 'disposed', message: /the pinned memory "staging"/ });
  assert.equal(fake.calls.filter((call) => call === 'cuMemFreeHost').length, 1);
});

test('copies on a stream want pinned memory', () => {
  using context = openContext(createFake().driver);
  using stream = createStream(context);
  using buffer = allocate(context, 8, 'x');
  for (const copy of [
    () => copyToDevice(buffer, new Uint8Array(8), stream),
    () => copyToHost(new Uint8Array(8), buffer, stream),
  ]) {
    assert.throws(copy, { code: 'memory-not-pinned', message: /8 bytes/ });
  }
});

test('memory of a stream is freed on the stream, or at once when the stream is gone', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  const stream = createStream(context);
  const [first, second] = [allocateOn(stream, 16, 'a'), allocateOn(stream, 16, 'b')];
  first[Symbol.dispose]();
  stream[Symbol.dispose]();
  second[Symbol.dispose]();
  assert.deepEqual(fake.calls.slice(-3), ['cuMemFreeAsync', 'cuStreamDestroy', 'cuMemFree']);
  assert.equal(fake.live, 0);
});

test('a failed copy names the memory', () => {
  const fake = createFake();
  using context = openContext(fake.driver);
  using buffer = allocate(context, 8, 'x');
  fake.fail('cuMemcpyHtoD', cuda.CUDA_ERROR_INVALID_VALUE);
  assert.throws(() => copyToDevice(buffer, new Uint8Array(8)), {
    code: 'cuda-failed',
    message: /^cuMemcpyHtoD failed for the device memory "x": CUDA_ERROR_INVALID_VALUE/,
  });
});
