// Tensor maps: what the driver is given, what reaches the kernel, and every matrix that must be refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Context, openContext } from './context.ts';
import { createFake, type Fake } from './fake.ts';
import type { FakeOptions } from './fake-driver.ts';
import type { FakeTensorMap } from './fake-tensor-map.ts';
import * as cuda from './header.ts';
import { type Launch, prepare } from './launch.ts';
import { allocate, type DeviceMemory } from './memory.ts';
import { type Kernel, loadModule } from './module.ts';
import type { Parameter } from './parameters.ts';
import { createStream } from './stream.ts';
import { encodeTensorMap, type TensorLayout } from './tensor-map.ts';

const PTX = `
.version 8.0
.target sm_90a
.visible .entry boxes(.param .u32 n, .param .align 64 .b8 a[128], .param .u64 c, .param .align 64 .b8 b[128]) { ret; }
`;
const PARAMETERS: readonly Parameter[] = [
  { name: 'n', type: 'u32' },
  { name: 'a', type: 'tensor-map' },
  { name: 'c', type: 'pointer', align: 16 },
  { name: 'b', type: 'tensor-map' },
];
const A: TensorLayout = { name: 'a', element: 'f16', rows: 100, columns: 40, box: [64, 32], swizzle: 64 };
const B: TensorLayout = { name: 'b', element: 's32', rows: 3, columns: 4, box: [1, 4], swizzle: 0 };
const SHAPE = { grid: 1, block: 32 };

interface Bench {
  readonly fake: Fake;
  readonly context: Context;
  readonly kernel: Kernel;
  readonly seen: [FakeTensorMap, FakeTensorMap, number][];
}

function bench(options: FakeOptions = {}): Bench {
  const seen: Bench['seen'] = [];
  const boxes = {
    boxes: (launch: Parameters<NonNullable<FakeOptions['kernels']>[string]>[0]) =>
      void seen.push([launch.tensor(1), launch.tensor(3), launch.u32(0)]),
  };
  const fake = createFake({ kernels: boxes, ...options });
  const context = openContext(fake.driver);
  return { fake, context, kernel: loadModule(context, PTX, { label: 'm' }).kernel('boxes'), seen };
}

function prepared({ context, kernel }: Bench, a: DeviceMemory, b: DeviceMemory): Launch {
  const maps = [encodeTensorMap(context, a, A), encodeTensorMap(context, b, B)] as const;
  return prepare(kernel, PARAMETERS, [7, maps[0], a, maps[1]], SHAPE);
}

test('the driver is given the matrix by its columns first; the kernel gets what was encoded', () => {
  const it = bench();
  const a = allocate(it.context, 8000 + 32, 'a');
  const b = allocate(it.context, 48, 'b');
  prepared(it, a.slice(32), b).launch(createStream(it.context));
  const modes = (swizzle: number): number[] => [0, swizzle, cuda.CU_TENSOR_MAP_L2_PROMOTION_L2_256B, 0];
  const [[first, second, n] = assert.fail()] = it.seen;
  assert.deepEqual(first, {
    type: cuda.CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
    rank: 2,
    address: a.pointer + 32n,
    sizes: [40n, 100n],
    strides: [80n],
    box: [32, 64],
    elementStrides: [1, 1],
    modes: modes(cuda.CU_TENSOR_MAP_SWIZZLE_64B),
  });
  assert.deepEqual(second, {
    type: cuda.CU_TENSOR_MAP_DATA_TYPE_INT32,
    rank: 2,
    address: b.pointer,
    sizes: [4n, 3n],
    strides: [16n],
    box: [4, 1],
    elementStrides: [1, 1],
    modes: modes(0),
  });
  assert.equal(n, 7);
});

test('a map is encoded when a launch is prepared, not when it is launched', () => {
  const it = bench();
  const launch = prepared(it, allocate(it.context, 8000, 'a'), allocate(it.context, 48, 'b'));
  const stream = createStream(it.context);
  for (let i = 0; i < 3; i++) launch.launch(stream);
  assert.equal(it.fake.calls.filter((call) => call === 'cuTensorMapEncodeTiled').length, 2);
  assert.equal(it.seen.length, 3);
});

test('a launch is refused once the memory of its matrix is gone', () => {
  const it = bench();
  const b = allocate(it.context, 48, 'b');
  const launch = prepared(it, allocate(it.context, 8000, 'a'), b);
  b[Symbol.dispose]();
  assert.throws(() => launch.launch(createStream(it.context)), { code: 'disposed', message: /"b"/ });
  assert.throws(() => encodeTensorMap(it.context, b, B), { code: 'disposed' });
});

test('matrices that the engine cannot copy', () => {
  const { context } = bench();
  const memory = allocate(context, 8000, 'a');
  const refused: readonly (readonly [Partial<TensorLayout>, string, RegExp])[] = [
    [{ rows: 101 }, 'tensor-range', /a of 101 x 40 elements has 8080 bytes, more than the 8000/],
    [{ columns: 41 }, 'tensor-invalid', /rows have 82 bytes, no multiple of 16/],
    [{ rows: 0 }, 'tensor-invalid', /0 x 40/],
    [{ rows: 1.5 }, 'tensor-invalid', /1\.5 x 40/],
    [{ columns: 2 ** 33 }, 'tensor-invalid', /2\^32 columns/],
  ];
  for (const [change, code, message] of refused)
    assert.throws(() => encodeTensorMap(context, memory, { ...A, ...change }), { code, message });
  assert.throws(() => encodeTensorMap(context, memory.slice(8), { ...A, rows: 1 }), {
    code: 'tensor-invalid',
    message: /it starts at 0x7f[0-9a-f]*8, no multiple of 16/,
  });
  assert.throws(() => encodeTensorMap(context, allocate(bench().context, 8000, 'theirs'), A), {
    code: 'context-foreign',
  });
});

test('a driver without the function, a GPU without the engine, a call the driver refuses', () => {
  const old = bench({ tensorMaps: false, version: 12_010 });
  const encode = ({ context }: Bench) => encodeTensorMap(context, allocate(context, 8000, 'a'), A);
  assert.throws(() => encode(old), {
    code: 'tensor-unsupported',
    message: /CUDA 12\.1/,
    fix: /Update the NVIDIA driver/,
  });
  const ampere = bench({ attributes: { [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR]: 8 } });
  assert.throws(() => encode(ampere), { code: 'gpu-unsupported', message: /compute capability 8\.0/ });
  const refusing = bench();
  refusing.fake.fail('cuTensorMapEncodeTiled', cuda.CUDA_ERROR_INVALID_VALUE);
  assert.throws(() => encode(refusing), {
    code: 'cuda-failed',
    message: /the matrix a of 100 x 40 f16 in boxes of 64 x 32, swizzle 64/,
  });
});

test('a map where a pointer belongs, and a pointer where a map belongs', () => {
  const { context, kernel } = bench();
  const memory = allocate(context, 8000, 'a');
  const map = encodeTensorMap(context, memory, A);
  const make = (a: DeviceMemory | typeof map, c: DeviceMemory | typeof map) => () =>
    prepare(kernel, PARAMETERS, [1, a, c, map], SHAPE);
  assert.throws(make(memory, memory), {
    code: 'parameter-invalid',
    message: /parameter a .* must be a matrix in device memory; found/,
  });
  assert.throws(make(map, map), {
    code: 'parameter-invalid',
    message: /parameter c .*found a matrix in the device memory "a"/,
  });
  const declared = PARAMETERS.with(1, { name: 'a', type: 'pointer' });
  assert.throws(() => prepare(kernel, declared, [1, memory, memory, map], SHAPE), { code: 'parameters-mismatch' });
});
