// The manners of the fake driver that other tests rely on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openContext } from './context.ts';
import { createFake } from './fake.ts';
import { AddressSpace } from './fake-memory.ts';
import { complaint, entriesOf } from './fake-program.ts';
import * as cuda from './header.ts';
import { prepare } from './launch.ts';
import { allocate } from './memory.ts';
import { loadModule } from './module.ts';
import { createStream } from './stream.ts';

test('without a current context nothing works but looking', () => {
  const { driver } = createFake();
  const out = new BigUint64Array(1);
  assert.equal(driver.cuDeviceGetCount(new Int32Array(1)), cuda.CUDA_SUCCESS);
  assert.equal(driver.cuMemAlloc(out, 16), cuda.CUDA_ERROR_INVALID_CONTEXT);
  assert.equal(driver.cuStreamCreate(out, 0), cuda.CUDA_ERROR_INVALID_CONTEXT);
});

test('the call that was asked for fails, once', () => {
  const fake = createFake();
  fake.fail('cuInit', 999, 2);
  assert.deepEqual([fake.driver.cuInit(0), fake.driver.cuInit(0), fake.driver.cuInit(0)], [0, 999, 0]);
  assert.deepEqual(fake.calls, ['cuInit', 'cuInit', 'cuInit']);
});

test('a kernel that reads where nothing is faults; the launch itself still succeeds', () => {
  const seen: number[] = [];
  const fake = createFake({ kernels: { peek: (launch) => seen.push(launch.memory(0).length) } });
  using context = openContext(fake.driver);
  using stream = createStream(context);
  using module = loadModule(context, '.version 8.0\n.entry peek(.param .u64 p) { ret; }', { label: 'm' });
  using buffer = allocate(context, 100, 'x');
  const peek = prepare(module.kernel('peek'), [{ name: 'p', type: 'u64' }], [buffer.pointer + 40n], {
    grid: 1,
    block: 1,
  });
  peek.launch(stream);
  assert.deepEqual(seen, [60], 'from the pointer to the end of its allocation');
  peek.set(0, 16n);
  peek.launch(stream);
  assert.throws(() => stream.synchronize(), { code: 'gpu-fault', message: /CUDA_ERROR_ILLEGAL_ADDRESS/ });
});

test('addresses: stable, apart, and only inside of buffers', () => {
  const space = new AddressSpace(4096n);
  const [one, two] = [new ArrayBuffer(100), new ArrayBuffer(100)];
  const [a, b] = [space.place(one), space.place(two)];
  assert.equal(space.place(one), a);
  assert.ok(b - a > 100n);
  space.at(a + 10n, 4)!.fill(7);
  assert.deepEqual([...new Uint8Array(one, 9, 6)], [0, 7, 7, 7, 7, 0]);
  for (const [address, bytes] of [
    [a - 1n, 1],
    [a + 100n, 1],
    [a + 99n, 2],
    [a, 101],
    [b - 1n, 2],
  ] as const) {
    assert.equal(space.at(address, bytes), null);
  }
  assert.equal(space.remove(a), true);
  assert.equal(space.remove(a), false);
  assert.equal(space.at(a, 1), null);
  assert.equal(space.size, 1);
});

test('kernels of a PTX text', () => {
  const entries = entriesOf(`
    .visible .entry first(
      .param .u64 .ptr .global .align 16 p,
      .param .align 64 .b8 map[128],
      .param .b16 h
    ) .maxntid 384, 1, 1
    { .shared .align 128 .b8 tile[4096]; .shared .f32 sum; ret; }
    .entry second() { .shared .b64 bars[3]; ret; }`);
  const [first, second] = ['first', 'second'].map((name) => entries.get(name));
  assert.deepEqual(first, { name: 'first', parameterBytes: [8, 128, 2], sharedBytes: 4100, threadsPerBlock: 384 });
  assert.deepEqual(second, { name: 'second', parameterBytes: [], sharedBytes: 24, threadsPerBlock: 1024 });
});

test('mistakes in a PTX text', () => {
  assert.equal(complaint('.version 8.0\nret;', 9), null);
  assert.match(complaint('', 9)?.log ?? '', /line 1; fatal .*Missing \.version/);
  assert.equal(complaint('// x\n.version 9.1', 9)?.tooNew, true);
  assert.match(complaint('.version 8.0\n\n bogus.u32;', 9)?.log ?? '', /line 3; error .*'bogus'/);
});
