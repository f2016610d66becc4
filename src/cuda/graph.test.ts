// Streams, events and graphs: order, time, capture, replay, update, and every way a capture goes wrong.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Context, openContext } from './context.ts';
import { createEvent, elapsed } from './event.ts';
import { createFake, type Fake } from './fake.ts';
import { FakeFault } from './fake-launch.ts';
import { capture } from './graph.ts';
import * as cuda from './header.ts';
import { type Launch, prepare } from './launch.ts';
import {
  allocate,
  allocateOn,
  allocatePinned,
  copyToDevice,
  copyToHost,
  type DeviceMemory,
  fillBytes,
} from './memory.ts';
import { loadModule } from './module.ts';
import type { Parameter } from './parameters.ts';
import { createStream, type Stream } from './stream.ts';

const PTX = `
.version 8.0
.visible .entry increment(.param .u64 to, .param .u32 by) { ret; }
.visible .entry bad(.param .u64 to, .param .u32 by) { ret; }
`;
const PARAMETERS: readonly Parameter[] = [
  { name: 'to', type: 'pointer' },
  { name: 'by', type: 'u32' },
];

interface Bench {
  readonly fake: Fake;
  readonly context: Context;
  readonly stream: Stream;
  readonly to: DeviceMemory & Disposable;
  readonly launch: (by: number, name?: string) => Launch;
  readonly value: () => number;
}

function bench(): Bench {
  const fake = createFake({
    kernels: {
      increment: (launch) => {
        launch.memory(0)[0]! += launch.u32(1);
      },
      bad: () => {
        throw new FakeFault(cuda.CUDA_ERROR_ILLEGAL_INSTRUCTION);
      },
    },
  });
  const context = openContext(fake.driver);
  const module = loadModule(context, PTX, { label: 'm' });
  const to = allocate(context, 16, 'counter');
  return {
    fake,
    context,
    stream: createStream(context),
    to,
    launch: (by, name = 'increment') => prepare(module.kernel(name), PARAMETERS, [to, by], { grid: 1, block: 1 }),
    value: () => {
      const bytes = new Uint8Array(1);
      copyToHost(bytes, to);
      return bytes[0]!;
    },
  };
}

test('a capture runs nothing; the graph runs it as often as it is launched', () => {
  const { stream, launch, value, context } = bench();
  const [one, ten] = [launch(1), launch(10)];
  using graph = capture(stream, () => {
    for (const it of [one, ten, one]) it.launch(stream);
  });
  assert.equal(value(), 0);
  using exec = graph.instantiate();
  graph[Symbol.dispose]();
  for (let i = 0; i < 3; i++) exec.launch(stream);
  stream.synchronize();
  assert.equal(value(), 36);
  one.set(1, 5);
  exec.launch(stream);
  assert.equal(value(), 48, 'parameters are those of the capture');
  assert.equal(context.alive, true);
});

test('copies and fills are captured, too', () => {
  const { stream, context, to, value } = bench();
  using pinned = allocatePinned(context, 1, 'pinned');
  pinned.bytes[0] = 40;
  using graph = capture(stream, () => {
    fillBytes(to, 1, stream);
    copyToDevice(to, pinned.bytes, stream);
  });
  using exec = graph.instantiate();
  pinned.bytes[0] = 41;
  exec.launch(stream);
  assert.equal(value(), 41);
});

test('an update takes over new parameters; another shape of graph is refused with the reason', () => {
  const { stream, launch, value } = bench();
  using exec = capture(stream, () => launch(1).launch(stream)).instantiate();
  exec.update(capture(stream, () => launch(7).launch(stream)));
  exec.launch(stream);
  assert.equal(value(), 7);
  const longer = capture(stream, () => {
    for (let i = 0; i < 2; i++) launch(1).launch(stream);
  });
  assert.throws(() => exec.update(longer), { code: 'graph-changed', message: /other nodes or another order/ });
  exec.launch(stream);
  assert.equal(value(), 14, 'the old one still runs');
});

test('a graph does not run once its memory is gone', () => {
  const { stream, launch, to } = bench();
  using exec = capture(stream, () => launch(1).launch(stream)).instantiate();
  to[Symbol.dispose]();
  assert.throws(() => exec.launch(stream), { code: 'disposed', message: /"counter"/ });
});

test('a fault in a graph names its kernels', () => {
  const { stream, launch } = bench();
  const [good, bad] = [launch(1), launch(1, 'bad')];
  using exec = capture(stream, () => {
    good.launch(stream);
    bad.launch(stream);
  }).instantiate();
  exec.launch(stream);
  assert.throws(() => stream.synchronize(), {
    code: 'gpu-fault',
    message:
      /^A graph of the kernel "increment" [^;]*; the kernel "bad" [^;]*failed on the GPU: CUDA_ERROR_ILLEGAL_INSTRUCTION/,
  });
});

test('what throws inside a capture is thrown, and the stream works again', () => {
  const { fake, stream, launch, value } = bench();
  const before = fake.live;
  const mistake = new Error('mine');
  assert.throws(
    () =>
      capture(stream, () => {
        launch(1).launch(stream);
        throw mistake;
      }),
    mistake,
  );
  assert.equal(fake.live, before, 'the half graph is destroyed');
  launch(2).launch(stream);
  stream.synchronize();
  assert.equal(value(), 2);
});

test('waiting, allocating and copies without the stream inside a capture', () => {
  const { stream, context, to, launch } = bench();
  const forbidden: readonly (readonly [() => void, string])[] = [
    [() => stream.synchronize(), 'cuda-failed'],
    [() => context.synchronize(), 'cuda-failed'],
    [() => allocate(context, 16, 'x'), 'cuda-failed'],
    [() => allocateOn(stream, 16, 'x'), 'capture-invalid'],
    [() => fillBytes(to, 0), 'cuda-failed'],
    [() => capture(stream, () => {}), 'capture-invalid'],
  ];
  for (const [use, code] of forbidden) {
    assert.throws(() => capture(stream, use), { code, fix: /capture/ });
    launch(1).launch(stream);
    stream.synchronize();
  }
});

test('a failure that is caught inside spoils the capture all the same', () => {
  const { stream, context } = bench();
  const swallow = (): void => {
    assert.throws(() => context.synchronize());
  };
  assert.throws(() => capture(stream, swallow), {
    code: 'cuda-failed',
    message: /^cuStreamEndCapture failed for the stream "work": CUDA_ERROR_STREAM_CAPTURE_INVALIDATED/,
  });
});

test('a context that dies inside a capture tells the fault', () => {
  const { fake, stream } = bench();
  const die = (): void => {
    fake.die(cuda.CUDA_ERROR_LAUNCH_FAILED);
    stream.done();
  };
  assert.throws(() => capture(stream, die), { code: 'gpu-fault' });
});

test('streams and graphs of other contexts are refused', () => {
  const [one, two] = [bench(), bench()];
  using graph = capture(one.stream, () => {});
  using exec = graph.instantiate();
  assert.throws(() => exec.launch(two.stream), { code: 'context-foreign' });
  using other = capture(two.stream, () => {});
  assert.throws(() => exec.update(other), { code: 'context-foreign' });
  using event = createEvent(two.context);
  assert.throws(() => event.record(one.stream), { code: 'context-foreign' });
  assert.throws(() => one.stream.wait(event), { code: 'context-foreign' });
});

test('time between events', () => {
  const { stream, launch, context } = bench();
  using start = createEvent(context);
  using end = createEvent(context);
  start.record(stream);
  for (let i = 0; i < 4; i++) launch(1).launch(stream);
  end.record(stream);
  end.synchronize();
  assert.equal(end.done(), true);
  assert.equal(elapsed(start, end), 1);
});

test('time that cannot be told: no timing, not recorded, not passed', () => {
  const { fake, stream, context } = bench();
  using start = createEvent(context);
  using end = createEvent(context);
  using silent = createEvent(context, { timing: false });
  silent.record(stream);
  start.record(stream);
  assert.throws(() => elapsed(start, end), { code: 'event-invalid', message: /has not been recorded/ });
  assert.throws(() => elapsed(start, silent), { code: 'event-invalid', message: /without timing/ });
  end.record(stream);
  fake.fail('cuEventElapsedTime', cuda.CUDA_ERROR_NOT_READY);
  assert.throws(() => elapsed(start, end), { code: 'event-invalid', message: /not come to them/ });
});

test('"not ready" is an answer, not an error', () => {
  const { fake, stream, context } = bench();
  using event = createEvent(context);
  event.record(stream);
  fake.fail('cuStreamQuery', cuda.CUDA_ERROR_NOT_READY);
  fake.fail('cuEventQuery', cuda.CUDA_ERROR_NOT_READY);
  assert.deepEqual([stream.done(), event.done()], [false, false]);
  assert.deepEqual([stream.done(), event.done()], [true, true]);
});

test('one stream waits for an event of another', () => {
  const { fake, stream, context } = bench();
  using other = createStream(context, 'other');
  using event = createEvent(context, { timing: false });
  event.record(stream);
  other.wait(event);
  assert.equal(fake.calls.at(-1), 'cuStreamWaitEvent');
});

test('everything is freed once', () => {
  const { fake, stream, context } = bench();
  const before = fake.live;
  const graph = capture(stream, () => {});
  const things: Disposable[] = [graph, graph.instantiate(), createEvent(context), createStream(context)];
  assert.equal(fake.live, before + 4);
  for (const thing of things) {
    thing[Symbol.dispose]();
    thing[Symbol.dispose]();
  }
  assert.equal(fake.live, before);
});
