// Everything that can go wrong between a program and a GPU, as its user meets it: a code, and what to do. The driver is the fake one, or a stub in C.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MarlinError } from '../base/errors.ts';
import { openContext } from '../cuda/context.ts';
import { createFake, type Fake } from '../cuda/fake.ts';
import type { FakeOptions } from '../cuda/fake-driver.ts';
import { FakeFault } from '../cuda/fake-launch.ts';
import * as cuda from '../cuda/header.ts';
import { openDriver } from '../cuda/library.ts';
import { compileC, toolkit } from '../cuda/toolkit.fixture.ts';
import { kernel, tensor } from '../ptx/kernel.ts';
import { rows } from '../ptx/layout.ts';
import type { Device, DeviceBuffer } from './device.ts';
import { NvidiaDevice, openNvidia } from './nvidia.ts';
import { SimulatedDevice } from './simulated.ts';

const store = kernel({ name: 'store', threads: 32, params: { y: 'f32*', n: 'u32' } }, (k, { y, n }) =>
  k.stF32(y.at(k.thread), n.toF32()),
);
/** 64 KiB of shared memory. */
const roomy = kernel({ name: 'roomy', threads: 32, params: {} }, (k) => void k.shared(rows('f32', [128, 128])));
const hopper = kernel({ name: 'hopper', threads: 32, target: 'sm_90a', params: {} }, () => {});
const boxes = kernel({ name: 'boxes', threads: 32, target: 'sm_90', params: { A: tensor('f16', [8, 8]) } }, () => {});

function open(options: FakeOptions = {}): { readonly fake: Fake; readonly device: NvidiaDevice } {
  const fake = createFake(options);
  return { fake, device: new NvidiaDevice(openContext(fake.driver)) };
}

const ampere: FakeOptions = {
  attributes: {
    [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR]: 8,
    [cuda.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN]: 49_152,
  },
};
const small = { arch: 'sm_80', sharedBytesPerBlock: 49_152 } as const;

interface Mistake {
  readonly name: string;
  readonly code: string;
  readonly message: RegExp;
  readonly make: (device: Device, other: DeviceBuffer) => void;
}

/** What both devices refuse, in the same words where it is the user's mistake. */
const mistakes: readonly Mistake[] = [
  {
    name: 'a grid of nothing',
    code: 'launch-invalid',
    message: /store cannot be launched with grid 0 x 1 x 1/,
    make: (device) => device.load(store).launch([0], { y: device.allocate(128, 'y'), n: 1 }),
  },
  {
    name: 'a grid beyond the limits',
    code: 'launch-invalid',
    message: /grid 1 x 65536 x 1/,
    make: (device) => device.load(store).launch([1, 65_536], { y: device.allocate(128, 'y'), n: 1 }),
  },
  {
    name: 'more shared memory than a block has',
    code: 'launch-invalid',
    message: /roomy .* 65536 bytes.* has 49152 bytes/,
    make: (device) => device.load(roomy).launch([1], {}),
  },
  {
    name: 'overlap on a GPU that cannot',
    code: 'launch-invalid',
    message: /overlap true/,
    make: (device) => device.load(store).launch([1], { y: device.allocate(128, 'y'), n: 1 }, { overlap: true }),
  },
  {
    name: 'a program for another chip',
    code: 'gpu-unsupported',
    message: /compute capability 8\.0 and cannot run the kernel hopper, which is for sm_90a/,
    make: (device) => void device.load(hopper),
  },
  {
    name: 'a buffer of another device',
    code: 'buffer-foreign',
    message: /argument y is no buffer of the device/,
    make: (device, other) => device.load(store).launch([1], { y: other, n: 1 }),
  },
  {
    name: 'a freed buffer',
    code: 'disposed',
    message: /"gone"/,
    make: (device) => {
      const gone = device.allocate(128, 'gone');
      gone[Symbol.dispose]();
      device.load(store).launch([1], { y: gone, n: 1 });
    },
  },
  {
    name: 'a misaligned pointer',
    code: 'parameter-invalid',
    message: /parameter y .*multiple of 4 bytes.*"y" from byte 2/,
    make: (device) => device.load(store).launch([1], { y: device.allocate(256, 'y').slice(2), n: 1 }),
  },
  {
    name: 'a number that its parameter cannot hold',
    code: 'parameter-invalid',
    message: /parameter n .*; found number -1/,
    make: (device) => device.load(store).launch([1], { y: device.allocate(128, 'y'), n: -1 }),
  },
  {
    name: 'a write beyond the end',
    code: 'range-outside',
    message: /20 bytes from byte 0 .*"y".* 16 bytes/,
    make: (device) => device.allocate(16, 'y').write(new Float32Array(5)),
  },
  {
    name: 'a slice beyond the end',
    code: 'range-outside',
    message: /8 bytes from byte 12 .*"y"/,
    make: (device) => void device.allocate(16, 'y').slice(12, 8),
  },
  {
    name: 'a copy beyond the end',
    code: 'range-outside',
    message: /"y"/,
    make: (device) => device.copy(device.allocate(16, 'y'), device.allocate(17, 'x')),
  },
  {
    name: 'an allocation of nothing',
    code: 'allocation-invalid',
    message: /0 bytes .*"nothing"/,
    make: (device) => void device.allocate(0, 'nothing'),
  },
  {
    name: 'waiting inside a graph',
    code: 'capture-invalid',
    message: /it waits for the/,
    make: (device) => void device.graph(() => device.synchronize()),
  },
];

/** What `make` throws: a MarlinError with a code and something to do. */
function thrown(make: () => unknown): MarlinError {
  try {
    make();
  } catch (error) {
    assert.ok(error instanceof MarlinError, String(error));
    assert.match(error.fix, /\w.*\.$/s);
    return error;
  }
  return assert.fail('nothing was thrown');
}

function expect(make: () => unknown, code: string, message: RegExp): void {
  const error = thrown(make);
  assert.equal(error.code, code);
  assert.match(error.message, message);
}

describe('mistakes are refused by the simulator and by the GPU, before anything runs', () => {
  for (const { name, code, message, make } of mistakes) {
    test(name, () => {
      expect(() => make(new SimulatedDevice({ facts: small }), open().device.allocate(128, 'y')), code, message);
      const { fake, device } = open(ampere);
      expect(() => make(device, new SimulatedDevice().allocate(128, 'y')), code, message);
      assert.ok(!fake.calls.includes('cuLaunchKernelEx'));
      device.synchronize();
    });
  }
});

describe('matrices', () => {
  const bind = (device: Device, rows: number, columns: number): void =>
    void device.load(boxes).bind([1], { A: { buffer: device.allocate(256, 'A'), rows, columns } });
  test('larger than the buffer, or with rows that bulk copies cannot take', () => {
    for (const device of [new SimulatedDevice(), open().device]) {
      expect(() => bind(device, 17, 8), 'tensor-range', /matrix A of 17 x 8 .* 272 bytes.* 256 bytes/);
      expect(() => bind(device, 2, 9), 'tensor-invalid', /rows have 18 bytes/);
    }
  });
  test('a driver that cannot describe them', () => {
    const { device } = open({ tensorMaps: false });
    expect(() => bind(device, 16, 8), 'tensor-unsupported', /CUDA 13\.0.* lacks cuTensorMapEncodeTiled/);
    device.load(store).launch([1], { y: device.allocate(128, 'y'), n: 1 });
  });
});

describe('what a GPU and its driver refuse', () => {
  test('more memory than there is', () => {
    const { device } = open({ memoryBytes: 1000 });
    expect(() => device.allocate(1001, 'weights'), 'gpu-memory-exceeded', /"weights" of 1001 bytes: 1000 of 1000/);
  });
  test('PTX that the compiler rejects, or does not know yet', () => {
    const { fake, device } = open();
    fake.fail('cuModuleLoadDataEx', cuda.CUDA_ERROR_INVALID_PTX);
    expect(() => device.load(store), 'ptx-rejected', /module "store"/);
    fake.fail('cuModuleLoadDataEx', cuda.CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    expect(() => device.load(store), 'ptx-too-new', /does not understand PTX 8\.0/);
    device.load(store);
  });
  test('a kernel that fails: told when it is waited for, and ever after', () => {
    const fail = (): void => {
      throw new FakeFault(cuda.CUDA_ERROR_ILLEGAL_ADDRESS);
    };
    const { device } = open({ kernels: { store: fail } });
    const y = device.allocate(128, 'y');
    device.load(store).launch([1], { y, n: 1 });
    expect(() => y.read(new Uint8Array(4)), 'gpu-fault', /The kernel "store" .*CUDA_ERROR_ILLEGAL_ADDRESS/);
    expect(() => device.allocate(4, 'z'), 'gpu-context-dead', /kernel "store"/);
  });
});

describe('opening', () => {
  const rejection = async (opened: Promise<unknown>): Promise<MarlinError> => {
    const outcome = await opened.then(
      () => null,
      (error: unknown) => error,
    );
    return thrown(() => {
      throw outcome;
    });
  };
  const fake = (options: FakeOptions) => () => Promise.resolve(createFake(options).driver);

  test('no driver', async () => {
    const error = await rejection(openNvidia(0, () => openDriver('libcuda-is-not-here.so.1')));
    assert.equal(error.code, 'driver-missing');
  });
  test('no GPU, or none of that number, or one that is too old', async () => {
    assert.equal((await rejection(openNvidia(0, fake({ devices: 0 })))).code, 'gpu-missing');
    assert.equal((await rejection(openNvidia(2, fake({ devices: 2 })))).code, 'gpu-unknown');
    const turing = { [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR]: 7 };
    assert.equal((await rejection(openNvidia(0, fake({ attributes: turing })))).code, 'gpu-unsupported');
  });
  test('a driver that is too old', { skip: toolkit.missing ?? false }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'marlin-old-driver-'));
    try {
      const library = join(folder, 'driver.so');
      const source = 'int cuDriverGetVersion(int *version) { *version = 11080; return 0; }';
      assert.equal(compileC(source, ['-shared', '-fPIC', '-o', library]), '');
      const error = await rejection(openNvidia(0, () => openDriver(library)));
      assert.equal(error.code, 'driver-too-old');
      assert.match(error.message, /CUDA 11\.8; at least CUDA 12\.0/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
