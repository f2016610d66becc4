// What every device must do, as bodies that run on whichever is present: the simulator in the tests, a GPU in test/gpu.
import assert from 'node:assert/strict';
import { kernel } from '../ptx/kernel.ts';
import type { Device } from './device.ts';

const scale = kernel(
  { name: 'scale', threads: 128, params: { x: 'f32*', y: 'f32*', factor: 'f32', n: 'u32' } },
  (k, { x, y, factor, n }) => {
    const i = k.cta.x.mul(128).add(k.thread);
    k.if(i.lt(n), () => k.stF32(y.at(i), k.ldF32(x.at(i)).mul(factor)));
  },
);

export interface Conformance {
  readonly name: string;
  readonly body: (device: Device) => void;
}

const COUNT = 1000;
const GRID = [Math.ceil(COUNT / 128)] as const;
const numbers = (): Float32Array => Float32Array.from({ length: COUNT }, (_, i) => i - 300);

export const conformance: readonly Conformance[] = [
  {
    name: 'memory comes back as it was written',
    body: (device) => {
      using buffer = device.allocate(4 * COUNT, 'numbers');
      buffer.write(numbers());
      const back = new Float32Array(COUNT);
      buffer.read(back);
      assert.deepEqual(back, numbers());
      assert.equal(buffer.bytes, 4 * COUNT);
    },
  },
  {
    name: 'launches run in order and see what earlier ones wrote',
    body: (device) => {
      using x = device.allocate(4 * COUNT, 'x');
      using y = device.allocate(4 * COUNT, 'y');
      using loaded = device.load(scale);
      x.write(numbers());
      loaded.launch(GRID, { x, y, factor: 2, n: COUNT });
      loaded.launch(GRID, { x: y, y: x, factor: -0.5, n: COUNT });
      device.synchronize();
      const back = new Float32Array(COUNT);
      x.read(back);
      assert.deepEqual(
        back,
        numbers().map((v) => -v),
      );
    },
  },
  {
    name: 'more than a buffer holds is refused',
    body: (device) => {
      using small = device.allocate(16, 'small');
      assert.throws(() => small.write(new Float32Array(5)));
      assert.throws(() => small.read(new Float32Array(5)));
    },
  },
  {
    name: 'a buffer of another device is refused before anything is launched',
    body: (device) => {
      using loaded = device.load(scale);
      using y = device.allocate(4, 'y');
      const foreign = { bytes: 4, write: () => {}, read: () => {}, [Symbol.dispose]: () => {} };
      assert.throws(() => loaded.launch([1], { x: foreign, y, factor: 1, n: 1 }), { code: 'buffer-foreign' });
    },
  },
  {
    name: 'a freed buffer is refused',
    body: (device) => {
      using loaded = device.load(scale);
      using y = device.allocate(4, 'y');
      const freed = device.allocate(4, 'freed');
      freed[Symbol.dispose]();
      assert.throws(() => freed.write(new Float32Array(1)), { code: 'disposed' });
      assert.throws(() => loaded.launch([1], { x: freed, y, factor: 1, n: 1 }), { code: 'disposed' });
    },
  },
];
