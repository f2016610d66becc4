// The GPU as a device, over the fake driver: the conformance bodies, the targets it prints for, and how its launches reach the driver.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openContext } from '../cuda/context.ts';
import { createFake, type Fake } from '../cuda/fake.ts';
import type { FakeOptions } from '../cuda/fake-driver.ts';
import type { FakeLaunch } from '../cuda/fake-launch.ts';
import type { FakeTensorMap } from '../cuda/fake-tensor-map.ts';
import * as cuda from '../cuda/header.ts';
import { kernel, tensor } from '../ptx/kernel.ts';
import type { Target } from '../ptx/program.ts';
import { conformance } from './conformance.fixture.ts';
import { NvidiaDevice, openNvidia } from './nvidia.ts';
import { targetOf } from './parameters.ts';

function scale(launch: FakeLaunch): void {
  const [x, y] = [0, 1].map((i) => launch.memory(i)).map((bytes) => new DataView(bytes.buffer, bytes.byteOffset));
  for (let i = 0; i < launch.u32(3); i++) y!.setFloat32(4 * i, x!.getFloat32(4 * i, true) * launch.f32(2), true);
}

function open(options: FakeOptions = {}): { readonly fake: Fake; readonly device: NvidiaDevice } {
  const fake = createFake({ memoryBytes: 2 ** 31, ...options });
  return { fake, device: new NvidiaDevice(openContext(fake.driver)) };
}

const capability = (major: number, minor: number): NonNullable<FakeOptions['attributes']> => ({
  [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR]: major,
  [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR]: minor,
});

describe('over the fake driver it conforms', () => {
  for (const { name, body } of conformance) {
    test(name, () => {
      const { fake, device } = open({ kernels: { scale } });
      const before = fake.live;
      body(device);
      assert.equal(fake.live, before, 'something was not freed');
      device[Symbol.dispose]();
    });
  }
});

test('each chip has the best target that runs on it', () => {
  const cases: readonly (readonly [number, number, Target | null])[] = [
    [7, 5, null],
    [8, 0, 'sm_80'],
    [8, 6, 'sm_86'],
    [8, 7, 'sm_86'],
    [8, 9, 'sm_89'],
    [9, 0, 'sm_90a'],
    [10, 0, 'sm_90'],
    [12, 0, 'sm_120'],
    [12, 1, 'sm_120'],
  ];
  for (const [major, minor, target] of cases) assert.equal(targetOf({ major, minor }), target, `${major}.${minor}`);
});

test('the facts are those of the GPU', () => {
  assert.deepEqual(open({ attributes: capability(8, 9) }).device.facts, {
    arch: 'sm_89',
    multiprocessors: 132,
    sharedBytesPerBlock: 232_448,
    memoryBytes: 2 ** 31,
    l2Bytes: 62_914_560,
    clockHz: 1.98e9,
  });
});

test('a matrix reaches the kernel as the map of its buffer, by its columns first', () => {
  const seen: FakeTensorMap[] = [];
  const { device } = open({ kernels: { boxes: (launch) => seen.push(launch.tensor(1)) } });
  using buffer = device.allocate(4096, 'matrix');
  using y = device.allocate(4, 'y');
  using loaded = device.load(
    kernel(
      {
        name: 'boxes',
        threads: 32,
        target: 'sm_90',
        params: { n: 'u32', A: tensor('bf16', [16, 64], 128), y: 'f32*' },
      },
      (k, params) => k.stF32(params.y, params.n.toF32()),
    ),
  );
  loaded.launch([1], { n: 1, A: { buffer: buffer.slice(256), rows: 10, columns: 72 }, y });
  const [map] = seen;
  assert.ok(map !== undefined);
  assert.equal(map.address, device.memoryOf(buffer, 'matrix').pointer + 256n);
  assert.deepEqual([map.type, map.sizes, map.strides, map.box, map.modes[1]], [9, [72n, 10n], [144n], [64, 16], 3]);
});

test('a bound launch asks the driver for nothing but the launch', () => {
  const { fake, device } = open();
  using x = device.allocate(64, 'x');
  using loaded = device.load(kernel({ name: 'none', threads: 32, params: { x: 'f32*' } }, () => {}));
  const bound = loaded.bind([1], { x }, { overlap: true });
  const before = fake.calls.length;
  for (let i = 0; i < 3; i++) bound.launch();
  assert.deepEqual(fake.calls.slice(before), Array<string>(3).fill('cuLaunchKernelEx'));
});

test('grid, threads, shared memory, clusters and overlap of a program reach the driver; older GPUs get no attribute', () => {
  const seen: FakeLaunch[] = [];
  const kernels = { none: (launch: FakeLaunch) => void seen.push(launch) };
  const clustered = kernel({ name: 'none', threads: 64, cluster: 2, target: 'sm_90', params: {} }, () => {});
  const plain = kernel({ name: 'none', threads: 32, params: {} }, () => {});
  open({ kernels }).device.load(clustered).launch([4, 3], {}, { overlap: true });
  open({ kernels, attributes: { ...capability(8, 0), [cuda.CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH]: 0 } })
    .device.load(plain)
    .launch([5], {});
  assert.deepEqual(
    seen.map(({ grid, block, cluster, overlap }) => ({ grid, block, cluster, overlap })),
    [
      { grid: [4, 3, 1], block: [64, 1, 1], cluster: [2, 1, 1], overlap: true },
      { grid: [5, 1, 1], block: [32, 1, 1], cluster: null, overlap: false },
    ],
  );
});

test('time is that of the events, in microseconds', () => {
  const { device } = open();
  using loaded = device.load(kernel({ name: 'none', threads: 32, params: {} }, () => {}));
  // The fake's clock moves on by a quarter of a millisecond for each piece of work.
  assert.equal(
    device.time(() => {
      for (let i = 0; i < 3; i++) loaded.launch([1], {});
    }),
    750,
  );
});

test('a GPU that is refused gives its context back, and so does one that is disposed of', async () => {
  const old = createFake({ attributes: capability(7, 5) });
  await assert.rejects(
    openNvidia(0, () => Promise.resolve(old.driver)),
    {
      code: 'gpu-unsupported',
      message: /compute capability 7\.5/,
    },
  );
  assert.ok(old.calls.includes('cuDevicePrimaryCtxRelease'));
  const { fake, device } = open();
  device[Symbol.dispose]();
  assert.equal(fake.live, 0);
  assert.equal(fake.calls.at(-1), 'cuDevicePrimaryCtxRelease');
});
