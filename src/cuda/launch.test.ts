// Launches: what reaches the kernel, everything that is refused before the driver sees it, and how faults are told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Context, openContext } from './context.ts';
import { createFake, type Fake } from './fake.ts';
import type { FakeOptions } from './fake-driver.ts';
import { FakeFault, type FakeLaunch } from './fake-launch.ts';
import * as cuda from './header.ts';
import { type LaunchShape, prepare } from './launch.ts';
import { allocate, copyToDevice, copyToHost } from './memory.ts';
import { type Kernel, loadModule, type Module } from './module.ts';
import type { Parameter, Value } from './parameters.ts';
import { createStream, type Stream } from './stream.ts';

const PTX = `
.version 8.0
.target sm_90a
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n, .param .f32 scale) { ret; }
.visible .entry bad(.param .u64 p) .maxntid 128 { ret; }
.visible .entry none() { ret; }
`;
const ADD: readonly Parameter[] = [
  { name: 'a', type: 'pointer', align: 16 },
  { name: 'b', type: 'pointer', align: 16 },
  { name: 'c', type: 'pointer', align: 16 },
  { name: 'n', type: 'u32' },
  { name: 'scale', type: 'f32' },
];

function add(launch: FakeLaunch): void {
  const [a, b, c] = [0, 1, 2].map((i) => new DataView(launch.memory(i).buffer, launch.memory(i).byteOffset));
  for (let i = 0; i < launch.u32(3); i++) {
    c!.setFloat32(4 * i, launch.f32(4) * (a!.getFloat32(4 * i, true) + b!.getFloat32(4 * i, true)), true);
  }
}

interface Bench {
  readonly fake: Fake;
  readonly context: Context;
  readonly module: Module;
  readonly stream: Stream;
  readonly kernel: (name: string) => Kernel;
}

function bench(options: FakeOptions = {}): Bench {
  const fake = createFake(options);
  const context = openContext(fake.driver);
  const module = loadModule(context, PTX, { label: 'm' });
  return { fake, context, module, stream: createStream(context), kernel: (name) => module.kernel(name) };
}

test('prepared once, launched many times with changed values and grid', () => {
  const { context, stream, kernel } = bench({ kernels: { add } });
  const [a, b, c] = ['a', 'b', 'c'].map((label) => allocate(context, 64, label));
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  copyToDevice(a, Float32Array.of(1, 2, 3, 4));
  copyToDevice(b, Float32Array.of(10, 20, 30, 40));
  const launch = prepare(kernel('add'), ADD, [a, b, c, 3, 1], { grid: 1, block: 32 });
  const result = (): number[] => {
    launch.launch(stream);
    const floats = new Float32Array(4);
    copyToHost(floats, c);
    return [...floats];
  };
  assert.deepEqual(result(), [11, 22, 33, 0]);
  launch.set(3, 4);
  launch.set(4, 0.5);
  assert.deepEqual(result(), [5.5, 11, 16.5, 22]);
  launch.set(1, a);
  assert.deepEqual(result(), [1, 2, 3, 4]);
});

test('grid, block, cluster, shared memory and overlap reach the driver', () => {
  const seen: FakeLaunch[] = [];
  const { stream, kernel } = bench({ kernels: { none: (launch) => seen.push(launch) } });
  prepare(kernel('none'), [], [], { grid: 7, block: [8, 4] }).launch(stream);
  const shape: LaunchShape = {
    grid: [4, 2, 6],
    block: [64, 2, 2],
    cluster: [2, 1, 3],
    sharedBytes: 99_999,
    overlap: true,
  };
  const launch = prepare(kernel('none'), [], [], shape);
  launch.launch(stream);
  launch.setGrid([8, 1, 3]);
  launch.launch(stream);
  const fields = seen.map(({ grid, block, cluster, sharedBytes, overlap }) => ({
    grid,
    block,
    cluster,
    sharedBytes,
    overlap,
  }));
  const large = { block: [64, 2, 2], cluster: [2, 1, 3], sharedBytes: 99_999, overlap: true };
  assert.deepEqual(fields, [
    { grid: [7, 1, 1], block: [8, 4, 1], cluster: null, sharedBytes: 0, overlap: false },
    { grid: [4, 2, 6], ...large },
    { grid: [8, 1, 3], ...large },
  ]);
  prepare(kernel('none'), [], [], { grid: 1, block: 1, overlap: true }).launch(stream);
  assert.deepEqual([seen[3]!.cluster, seen[3]!.overlap], [null, true]);
});

test('shapes beyond the limits of GPU and kernel', () => {
  const { kernel } = bench();
  const refused: readonly (readonly [LaunchShape, RegExp, string?])[] = [
    [{ grid: 0, block: 32 }, /grid 0 x 1 x 1/],
    [{ grid: 1.5, block: 32 }, /grid 1\.5/],
    [{ grid: [1, 65536], block: 32 }, /grid 1 x 65536 x 1: .*65535/],
    [{ grid: 2 ** 31, block: 32 }, /grid/],
    [{ grid: 1, block: 0 }, /block 0/],
    [{ grid: 1, block: 1025 }, /block 1025/],
    [{ grid: 1, block: [1, 1, 65] }, /block 1 x 1 x 65/],
    [{ grid: 1, block: [64, 32] }, /room for 1024 threads/],
    [{ grid: 1, block: 129 }, /32 registers a thread.*room for 128 threads/, 'bad'],
    [{ grid: 1, block: 32, sharedBytes: 232_449 }, /dynamic shared memory 232449 bytes and 0 static ones.*232448/],
    [{ grid: 1, block: 32, sharedBytes: -1 }, /shared memory -1/],
    [{ grid: 1, block: 32, sharedBytes: 0.5 }, /shared memory 0\.5/],
    [{ grid: 6, block: 32, cluster: 4 }, /grid 6 x 1 x 1: it must be a multiple of the cluster 4 x 1 x 1/],
    [{ grid: 64, block: 32, cluster: [4, 8] }, /cluster 4 x 8 x 1: a cluster has at most 16 blocks/],
    [{ grid: 64, block: 32, cluster: 17 }, /cluster 17/],
    [{ grid: 64, block: 32, cluster: 0 }, /cluster 0/],
  ];
  for (const [shape, message, name = 'none'] of refused) {
    const [parameters, values] =
      name === 'none' ? [[], []] : [ADD.slice(0, 1), [allocate(kernel(name).context, 16, 'x')]];
    assert.throws(() => prepare(kernel(name), parameters, values, shape), { code: 'launch-invalid', message });
  }
  const launch = prepare(kernel('none'), [], [], { grid: 4, block: 32, cluster: 4 });
  assert.throws(() => launch.setGrid(6), { code: 'launch-invalid' });
});

test('clusters of more than 8 blocks ask for it; older GPUs have neither clusters nor overlap', () => {
  const { fake, kernel } = bench();
  prepare(kernel('none'), [], [], { grid: 16, block: 32, cluster: 8 });
  assert.ok(!fake.calls.includes('cuFuncSetAttribute'));
  prepare(kernel('none'), [], [], { grid: 16, block: 32, cluster: 16 });
  prepare(kernel('none'), [], [], { grid: 16, block: 32, cluster: 16 });
  assert.equal(fake.calls.filter((call) => call === 'cuFuncSetAttribute').length, 1);

  const ampere = bench({
    attributes: {
      [cuda.CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH]: 0,
      [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR]: 8,
    },
  });
  for (const shape of [{ cluster: 2 }, { overlap: true }]) {
    assert.throws(() => prepare(ampere.kernel('none'), [], [], { grid: 2, block: 32, ...shape }), {
      code: 'launch-invalid',
      message: /this GPU/,
    });
  }
});

test('parameters that are too few, too many, of another size, type, context or alignment', () => {
  const { context, kernel } = bench();
  const other = bench();
  const [mine, theirs] = [allocate(context, 64, 'mine'), allocate(other.context, 64, 'theirs')];
  const make = (parameters: readonly Parameter[], values: readonly Value[]) => () =>
    prepare(kernel('add'), parameters, values, { grid: 1, block: 32 });
  const good: readonly Value[] = [mine, mine, mine, 1, 1];
  make(ADD, good)();
  assert.throws(make(ADD.slice(1), good.slice(1)), {
    code: 'parameters-mismatch',
    message: /4 are declared, and it has 5/,
  });
  assert.throws(make(ADD, good.slice(1)), { code: 'parameters-mismatch', message: /5 are declared, and 4 given/ });
  assert.throws(make(ADD.with(3, { name: 'n', type: 'u64' }), good), {
    code: 'parameters-mismatch',
    message: /n is declared as u64/,
  });
  assert.throws(make(ADD, good.with(3, mine)), { code: 'parameter-invalid', message: /parameter n of the kernel add/ });
  assert.throws(make(ADD, good.with(1, theirs)), { code: 'context-foreign', message: /"theirs"/ });
  assert.throws(make(ADD, good.with(2, mine.slice(4))), { code: 'parameter-invalid', message: /multiple of 16/ });
  const launch = make(ADD, good)();
  assert.throws(() => launch.set(5, 1), { code: 'parameters-mismatch', message: /no parameter 5/ });
  assert.throws(() => launch.set(0, theirs), { code: 'context-foreign' });
  assert.throws(() => launch.set(3, -1), { code: 'parameter-invalid' });
});

test('a driver that cannot tell the parameters takes the declaration on trust', () => {
  const { kernel, stream } = bench({ parameterInfo: false });
  prepare(kernel('none'), [], [], { grid: 1, block: 1 }).launch(stream);
});

test('memory, module or stream that are gone, and a stream of another context', () => {
  const { fake, context, module, stream, kernel } = bench();
  const buffer = allocate(context, 64, 'weights');
  const launch = prepare(kernel('bad'), ADD.slice(0, 1), [buffer.slice(16)], { grid: 1, block: 32 });
  const launched = (): number => fake.calls.filter((call) => call === 'cuLaunchKernelEx').length;
  assert.throws(() => launch.launch(bench().stream), { code: 'context-foreign' });
  buffer[Symbol.dispose]();
  assert.throws(() => launch.launch(stream), { code: 'disposed', message: /"weights" from byte 16/ });
  launch.set(0, allocate(context, 64, 'new'));
  launch.launch(stream);
  assert.equal(launched(), 1);
  const gone = createStream(context, 'gone');
  gone[Symbol.dispose]();
  assert.throws(() => launch.launch(gone), { code: 'disposed', message: /the stream "gone"/ });
  module[Symbol.dispose]();
  assert.throws(() => launch.launch(stream), { code: 'disposed', message: /the module "m"/ });
  assert.equal(launched(), 1);
});

test('a launch the driver refuses names kernel, shape and registers', () => {
  const { fake, stream, kernel, context } = bench();
  const launch = prepare(kernel('none'), [], [], { grid: [2, 3], block: 64, cluster: 2, sharedBytes: 1000 });
  fake.fail('cuLaunchKernelEx', cuda.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  assert.throws(() => launch.launch(stream), {
    code: 'cuda-failed',
    message:
      'cuLaunchKernelEx failed for the kernel "none" (grid 2 x 3 x 1, block 64 x 1 x 1, cluster 2 x 1 x 1, 1000 bytes of shared memory, ' +
      '32 registers a thread): CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701), the words for 701.',
    fix: /fewer registers/,
  });
  assert.equal(context.alive, true);
  launch.launch(stream);
});

const bad = (): void => {
  throw new FakeFault(cuda.CUDA_ERROR_ILLEGAL_ADDRESS);
};

test('a kernel that fails is named when the stream is waited for, and ever after', () => {
  const { context, stream, kernel } = bench({ kernels: { bad } });
  const shape = { grid: 4, block: 32 };
  const good = prepare(kernel('none'), [], [], shape);
  good.launch(stream);
  stream.synchronize();
  prepare(kernel('bad'), ADD.slice(0, 1), [allocate(context, 16, 'x')], shape).launch(stream);
  assert.throws(() => stream.synchronize(), {
    code: 'gpu-fault',
    message:
      /^The kernel "bad" \(grid 4 x 1 x 1, block 32 .*\) failed on the GPU: CUDA_ERROR_ILLEGAL_ADDRESS \(700\), .*; cuStreamSynchronize told\.$/,
    fix: /CUDA_LAUNCH_BLOCKING=1/,
  });
  assert.throws(() => good.launch(stream), { code: 'gpu-context-dead', message: /It was: The kernel "bad"/ });
});

test('among several kernels all that were not waited for are named, each once', () => {
  const { context, stream, kernel } = bench({ kernels: { bad } });
  const shape = { grid: 1, block: 32 };
  const good = prepare(kernel('none'), [], [], shape);
  for (let i = 0; i < 3; i++) good.launch(stream);
  prepare(kernel('bad'), ADD.slice(0, 1), [allocate(context, 16, 'x')], shape).launch(stream);
  assert.throws(() => good.launch(stream), {
    code: 'gpu-fault',
    message:
      /^One of what was running \(the kernel "none" [^;]*; the kernel "bad" [^;]*\) failed on the GPU: .*cuLaunchKernelEx told/,
  });
});

test('with CUDA_LAUNCH_BLOCKING=1 the launch that fails is the one', () => {
  const { fake, context, stream, kernel } = bench();
  const shape = { grid: 1, block: 32 };
  prepare(kernel('none'), [], [], shape).launch(stream);
  const launch = prepare(kernel('bad'), ADD.slice(0, 1), [allocate(context, 16, 'x')], shape);
  fake.fail('cuLaunchKernelEx', cuda.CUDA_ERROR_ILLEGAL_ADDRESS);
  process.env['CUDA_LAUNCH_BLOCKING'] = '1';
  try {
    assert.throws(() => launch.launch(stream), { code: 'gpu-fault', message: /^The kernel "bad"/ });
  } finally {
    delete process.env['CUDA_LAUNCH_BLOCKING'];
  }
});

test('a stream that is gone may still have been running what failed, until the context is known to be idle', () => {
  for (const idle of [false, true]) {
    const { context, kernel } = bench();
    const short = createStream(context);
    prepare(kernel('none'), [], [], { grid: 1, block: 32 }).launch(short);
    short[Symbol.dispose]();
    if (idle) context.synchronize();
    const { message } = context.failure(cuda.CUDA_ERROR_LAUNCH_FAILED, 'cuCtxSynchronize');
    assert.match(message, idle ? /^Earlier work failed/ : /^The kernel "none"/);
  }
});

test('a stream that is never waited for remembers no more than it must', () => {
  const { context, stream, kernel } = bench();
  for (let i = 0; i < 300; i++) prepare(kernel('none'), [], [], { grid: i + 1, block: 32 }).launch(stream);
  const error = context.failure(cuda.CUDA_ERROR_LAUNCH_FAILED, 'cuCtxSynchronize');
  assert.match(error.message, /\(grid 45 x .*; 248 more\)/);
});
