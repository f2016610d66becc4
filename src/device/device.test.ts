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

test('a GPU that is not there is a typed error', async () => {
  // Where there is one, it opens: then there is nothing to see here.
  try {
    using device = await openDevice('nvidia');
    assert.notEqual(device.name, 'simulator');
  } catch (error) {
    assert.ok(error instanceof Error && 'fix' in error, String(error));
  }
});
