// Smoke test of the driver binding on a real GPU: `node src/cuda/cuda.gpu.ts` prints a report in JSON. Exit code 0: all is as it should be; 1: a
// check failed (the report says which); 2: there is no driver or no GPU. Faults are provoked in child processes, since they end a context.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MarlinError } from '../base/errors.ts';
import { type Context, openContext } from './context.ts';
import { versionText } from './driver.ts';
import { createEvent, elapsed } from './event.ts';
import { capture } from './graph.ts';
import { prepare } from './launch.ts';
import { openDriver } from './library.ts';
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
import { loadModule, type Module } from './module.ts';
import type { Parameter } from './parameters.ts';
import { BASIC, HOPPER } from './smoke-ptx.fixture.ts';
import { createStream, type Stream } from './stream.ts';
import { tensorBoxes } from './tensor-map.gpu.ts';

const ADD: readonly Parameter[] = [
  { name: 'a', type: 'pointer', align: 4 },
  { name: 'b', type: 'pointer', align: 4 },
  { name: 'c', type: 'pointer', align: 4 },
  { name: 'n', type: 'u32' },
];
const STORE: readonly Parameter[] = [{ name: 'address', type: 'u64' }];
const FAULTS = ['illegal-address', 'misaligned-address'] as const;

const report: Record<string, unknown> = {};
const failed: string[] = [];

/** Runs one part; what it returns is reported under its name, what it throws fails the run but not the other parts. */
function part(name: string, run: () => unknown): void {
  try {
    report[name] = run();
  } catch (error) {
    failed.push(name);
    report[name] = error instanceof MarlinError ? told(error) : { failed: String(error) };
  }
}

function told(error: MarlinError): unknown {
  return { code: error.code, message: error.message, fix: error.fix };
}

function expect(truth: boolean, what: string): void {
  if (!truth) throw new Error(what);
}

/** The error that `run` must throw. */
function refusal(code: string, run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    if (error instanceof MarlinError && error.code === code) return told(error);
    throw error;
  }
  throw new Error(`${code} was not thrown`);
}

function floats(memory: DeviceMemory): Float32Array {
  const values = new Float32Array(memory.bytes / 4);
  copyToHost(values, memory);
  return values;
}

function vectorAdd(context: Context, module: Module, stream: Stream): unknown {
  const n = 1_000_003;
  using a = allocate(context, 4 * n, 'a');
  using b = allocate(context, 4 * n, 'b');
  using c = allocate(context, 4 * n, 'c');
  copyToDevice(
    a,
    Float32Array.from({ length: n }, (_, i) => i % 1000),
  );
  copyToDevice(
    b,
    Float32Array.from({ length: n }, (_, i) => i % 77),
  );
  fillBytes(c, 0xff);
  const launch = prepare(module.kernel('add'), ADD, [a, b, c, n], { grid: Math.ceil(n / 256), block: 256 });
  using start = createEvent(context);
  using end = createEvent(context);
  launch.launch(stream);
  start.record(stream);
  for (let i = 0; i < 20; i++) launch.launch(stream);
  end.record(stream);
  stream.synchronize();
  expect(
    floats(c).every((value, i) => value === (i % 1000) + (i % 77)),
    'a sum is wrong',
  );
  return { microseconds: (1000 * elapsed(start, end)) / 20, facts: module.kernel('add').facts };
}

function graphOfTen(context: Context, module: Module, stream: Stream): unknown {
  const n = 256;
  using one = allocate(context, 4 * n, 'one');
  using two = allocate(context, 4 * n, 'two');
  using sum = allocate(context, 4 * n, 'sum');
  copyToDevice(one, new Float32Array(n).fill(1));
  copyToDevice(two, new Float32Array(n).fill(2));
  fillWords(sum, 0);
  const make = (term: DeviceMemory): (() => void) => {
    const launch = prepare(module.kernel('add'), ADD, [sum, term, sum, n], { grid: 1, block: 256 });
    return () => {
      for (let i = 0; i < 10; i++) launch.launch(stream);
    };
  };
  using graph = capture(stream, make(one));
  using exec = graph.instantiate();
  expect(floats(sum)[0] === 0, 'the capture ran');
  for (let i = 0; i < 3; i++) exec.launch(stream);
  stream.synchronize();
  expect(floats(sum)[n - 1] === 30, 'the graph did not run three times');
  using other = capture(stream, make(two));
  exec.update(other);
  exec.launch(stream);
  expect(floats(sum)[n - 1] === 50, 'the update was not taken over');
  using empty = capture(stream, () => {});
  return { changed: refusal('graph-changed', () => exec.update(empty)) };
}

function hopperLaunch(context: Context, stream: Stream): unknown {
  using module = loadModule(context, HOPPER, { label: 'hopper' });
  using to = allocate(context, 16, 'to');
  const parameters: readonly Parameter[] = [{ name: 'to', type: 'pointer', align: 16 }];
  const kernel = module.kernel('shape');
  const seen: number[][] = [];
  for (const [cluster, overlap] of [
    [1, false],
    [2, true],
    [16, true],
  ] as const) {
    const shape = { grid: 32, block: 256, cluster, overlap, sharedBytes: 200_000 };
    const launch = prepare(kernel, parameters, [to], shape);
    for (let i = 0; i < 3; i++) launch.launch(stream);
    const words = new Uint32Array(4);
    copyToHost(words, to);
    expect(words.join() === [32, 256, cluster, 200_000].join(), `the kernel saw ${words.join()}`);
    seen.push([...words]);
  }
  return { seen, facts: kernel.facts, report: module.report };
}

/** Both ways to compile, each twice: time, registers, and what our cache says. */
function compilations(context: Context, ptx: string, name: string): unknown {
  const cache = mkdtempSync(join(tmpdir(), 'marlin-gpu-'));
  try {
    return [false, false, true, true].map((relocatable) => {
      try {
        using module = loadModule(context, ptx, { label: name, relocatable, cache, lineInfo: true });
        return { relocatable, ...module.report, facts: module.kernel(name).facts };
      } catch (error) {
        // Relocatable code is an extra: that a driver cannot make it here is a finding, not a failure.
        if (relocatable && error instanceof MarlinError) return { relocatable, refused: told(error) };
        throw error;
      }
    });
  } finally {
    rmSync(cache, { recursive: true });
  }
}

function memories(context: Context, stream: Stream): unknown {
  const bytes = 2 ** 28;
  using pinned = allocatePinned(context, bytes, 'pinned');
  using device = allocate(context, bytes, 'device');
  using ordered = allocateOn(stream, bytes, 'ordered');
  new Uint32Array(pinned.bytes.buffer).fill(0x12345678);
  using start = createEvent(context);
  using end = createEvent(context);
  const gigabytesPerSecond = (run: () => void): number => {
    run();
    start.record(stream);
    run();
    end.record(stream);
    end.synchronize();
    return bytes / elapsed(start, end) / 1e6;
  };
  const up = gigabytesPerSecond(() => copyToDevice(device, pinned.bytes, stream));
  const across = gigabytesPerSecond(() => copyOnDevice(ordered, device, stream));
  pinned.bytes.fill(0);
  const down = gigabytesPerSecond(() => copyToHost(pinned.bytes, ordered, stream));
  expect(
    new Uint32Array(pinned.bytes.buffer).every((word) => word === 0x12345678),
    'a copy is wrong',
  );
  const view = pinned.bytes;
  pinned[Symbol.dispose]();
  expect(view.length === 0, 'a view of freed pinned memory is still there');
  const { total } = context.memory();
  return { up, across, down, full: refusal('gpu-memory-exceeded', () => allocate(context, total, 'everything')) };
}

/** Nanoseconds of this thread for each launch of an empty kernel, in bursts the queue can hold; and of the GPU, in a graph. */
function launchCost(context: Context, module: Module, stream: Stream): unknown {
  const burst = 500;
  const launch = prepare(module.kernel('empty'), [], [], { grid: 1, block: 32 });
  const times = Array.from({ length: 40 }, () => {
    stream.synchronize();
    const start = process.hrtime.bigint();
    for (let i = 0; i < burst; i++) launch.launch(stream);
    return Number(process.hrtime.bigint() - start) / burst;
  }).toSorted((a, b) => a - b);
  using graph = capture(stream, () => {
    for (let i = 0; i < burst; i++) launch.launch(stream);
  });
  using exec = graph.instantiate();
  using start = createEvent(context);
  using end = createEvent(context);
  exec.launch(stream);
  start.record(stream);
  exec.launch(stream);
  end.record(stream);
  stream.synchronize();
  const inGraph = (1e6 * elapsed(start, end)) / burst;
  return { launchNanoseconds: { least: times[0], median: times[20] }, inGraphNanoseconds: inGraph };
}

/** A fault in a process of its own: prints what the first and a later call say. */
function provoke(context: Context, fault: string): void {
  using module = loadModule(context, BASIC, { label: 'basic' });
  using stream = createStream(context);
  using buffer = allocate(context, 16, 'x');
  const address = fault === 'illegal-address' ? 16n : buffer.pointer + 2n;
  const shape = { grid: 1, block: 1 };
  const launch = prepare(module.kernel('store'), STORE, [address], shape);
  const first = refusal('gpu-fault', () => {
    launch.launch(stream);
    stream.synchronize();
  });
  const later = refusal('gpu-context-dead', () => launch.launch(stream));
  console.log(JSON.stringify({ first, later }));
}

function inChild(fault: string, env: Readonly<Record<string, string>>): unknown {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [import.meta.filename, fault], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { ...process.env, ...env },
  });
  expect(status === 0, `the child ended with ${status ?? signal}: ${stderr}${stdout}`);
  const said: unknown = JSON.parse(stdout);
  expect(stdout.includes('The kernel \\"store\\"'), 'the kernel is not named');
  return said;
}

function everything(context: Context): void {
  using stream = createStream(context);
  using module = loadModule(context, BASIC, { label: 'basic' });
  report['driver'] = versionText(context.driverVersion);
  report['device'] = context.device;
  report['memory'] = context.memory();
  part('vector add', () => vectorAdd(context, module, stream));
  part('graph of ten launches', () => graphOfTen(context, module, stream));
  part('parameters', () => module.kernel('add').parameterBytes);
  part('compilations', () => compilations(context, BASIC, 'add'));
  if (context.device.capability.major === 9) {
    part('clusters, overlap, shared memory', () => hopperLaunch(context, stream));
    part('boxes by tensor maps', () => tensorBoxes(context, stream));
    part('compilations for sm_90a', () => compilations(context, HOPPER, 'shape'));
  }
  part('memory and copies', () => memories(context, stream));
  part('cost of a launch', () => launchCost(context, module, stream));
  const broken = BASIC.replace('add.f32', 'addd.f32');
  const future = BASIC.replace('.version 8.0', '.version 99.0');
  const elsewhere = BASIC.replace('sm_80', context.device.capability.major < 12 ? 'sm_120' : 'sm_90a');
  part('PTX with a mistake', () => refusal('ptx-rejected', () => loadModule(context, broken, { label: 'broken' })));
  part('PTX of the future', () => refusal('ptx-too-new', () => loadModule(context, future, { label: 'future' })));
  // Which of two codes a driver gives here is for the report to tell.
  part('PTX for another GPU', () => {
    try {
      loadModule(context, elsewhere, { label: 'elsewhere' });
    } catch (error) {
      if (error instanceof MarlinError) return told(error);
    }
    throw new Error('it was compiled');
  });
  part('unknown kernel', () => refusal('kernel-unknown', () => module.kernel('nobody')));
  for (const fault of FAULTS) part(fault, () => inChild(fault, {}));
  part('illegal-address, blocking', () => inChild('illegal-address', { CUDA_LAUNCH_BLOCKING: '1' }));
  part('alive at the end', () => {
    context.synchronize();
    return true;
  });
}

try {
  using context = openContext(await openDriver());
  const [fault] = process.argv.slice(2);
  if (fault === undefined) everything(context);
  else provoke(context, fault);
  if (fault === undefined) {
    console.log(JSON.stringify({ ok: failed.length === 0, failed, ...report }, null, 2));
    process.exitCode = failed.length === 0 ? 0 : 1;
  }
} catch (error) {
  if (!(error instanceof MarlinError)) throw error;
  console.log(JSON.stringify({ ok: false, ...Object(told(error)) }, null, 2));
  process.exitCode = 2;
}
