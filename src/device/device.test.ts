// The conformance bodies on the simulator, and what only the simulator can tell.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { kernel } from '../ptx/kernel.ts';
import { conformance } from './conformance.fixture.ts';
import { openDevice } from './open.ts';

describe('the simulator conforms', () => {
  for (const { name, body } of conformance) {
    test(name, async () => {
      using device = await openDevice('simulator');
      body(device);
    });
  }
});

test('a kernel with findings is an error that lists them', async () => {
  using device = await openDevice('simulator');
  using x = device.allocate(64, 'x');
  using careless = device.load(
    kernel({ name: 'careless', threads: 32, params: { x: 'f32*' } }, (k, { x: out }) =>
      k.stF32(out.at(k.thread), k.ldF32(out)),
    ),
  );
  assert.throws(() => careless.launch([1], { x }), {
    code: 'simulation-findings',
    message: /careless.*out-of-bounds at device\.test\.ts:\d+/s,
  });
});

test('a slice keeps its alignment: vector accesses through it are found out', async () => {
  using device = await openDevice('simulator');
  using x = device.allocate(1024, 'x');
  x.write(new Float32Array(256));
  using vectors = device.load(
    kernel({ name: 'vectors', threads: 32, params: { x: 'f32*' } }, (k, { x: from }) => {
      const [first] = k.ldGlobal(from.at(k.thread.mul(4)), 4);
      k.stF32(from.at(k.thread.mul(4)), first!.asF32());
    }),
  );
  vectors.launch([1], { x: x.slice(16, 512) });
  assert.throws(() => vectors.launch([1], { x: x.slice(8, 512) }), {
    code: 'simulation-findings',
    message: /misaligned at device\.test\.ts:\d+/,
  });
});

test('a GPU that is not there is a typed error', async () => {
  // Where there is one, it opens: then there is nothing to see here.
  try {
    using device = await openDevice('nvidia');
    assert.notEqual(device.name, 'simulator');
  } catch (error) {
    assert.ok(error instanceof Error && 'fix' in error, String(error));
  }
});
