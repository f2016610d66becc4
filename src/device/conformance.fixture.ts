// What every device must do, as bodies that run on whichever is present: the simulator in the tests, a GPU in test/gpu.
import assert from 'node:assert/strict';
import { has } from '../ptx/builder.ts';
import { kernel, tensor } from '../ptx/kernel.ts';
import type { Device, DeviceBuffer } from './device.ts';

const scale = kernel(
  { name: 'scale', threads: 128, params: { x: 'f32*', y: 'f32*', factor: 'f32', n: 'u32' } },
  (k, { x, y, factor, n }) => {
    const i = k.cta.x.mul(128).add(k.thread);
    k.if(i.lt(n), () => k.stF32(y.at(i), k.ldF32(x.at(i)).mul(factor)));
  },
);

/** Stores f32 ones where y points, and does not look at the matrix. */
const ignoring = kernel(
  { name: 'ignoring', threads: 32, target: 'sm_90', params: { matrix: tensor('f16', [8, 8]), y: 'f32*' } },
  (k, { y }) => k.stF32(y.at(k.thread), k.thread.toF32()),
);

export interface Conformance {
  readonly name: string;
  readonly body: (device: Device) => void;
}

const COUNT = 1000;
const GRID = [Math.ceil(COUNT / 128)] as const;
const numbers = (): Float32Array => Float32Array.from({ length: COUNT }, (_, i) => i - 300);
const times = (factor: number): Float32Array => numbers().map((value) => value * factor);
const foreign: DeviceBuffer = {
  bytes: 4,
  write: () => {},
  read: () => {},
  slice: () => foreign,
  [Symbol.dispose]: () => {},
};

function floats(buffer: DeviceBuffer): Float32Array {
  const back = new Float32Array(buffer.bytes / 4);
  buffer.read(back);
  return back;
}

/** A new buffer with these contents. */
function filled(device: Device, label: string, contents: Float32Array = numbers()): DeviceBuffer {
  const buffer = device.allocate(contents.byteLength, label);
  buffer.write(contents);
  return buffer;
}

export const conformance: readonly Conformance[] = [
  {
    name: 'the facts are those of a GPU with tensor cores',
    body: ({ facts }) => {
      assert.ok(has(facts.arch, 'sm_80'));
      const { multiprocessors, sharedBytesPerBlock, memoryBytes, l2Bytes, clockHz } = facts;
      assert.ok(multiprocessors >= 1 && sharedBytesPerBlock >= 99 * 1024 && memoryBytes > 1e9);
      assert.ok(l2Bytes >= 2 ** 20 && clockHz > 5e8 && clockHz < 1e10, `${l2Bytes} bytes of L2, ${clockHz} Hz`);
    },
  },
  {
    name: 'memory comes back as it was written',
    body: (device) => {
      using buffer = filled(device, 'numbers');
      assert.deepEqual(floats(buffer), numbers());
      assert.equal(buffer.bytes, 4 * COUNT);
    },
  },
  {
    name: 'launches run in order and see what earlier ones wrote',
    body: (device) => {
      using x = filled(device, 'x');
      using y = device.allocate(4 * COUNT, 'y');
      using loaded = device.load(scale);
      loaded.launch(GRID, { x, y, factor: 2, n: COUNT });
      loaded.launch(GRID, { x: y, y: x, factor: -0.5, n: COUNT });
      device.synchronize();
      assert.deepEqual(floats(x), times(-1));
    },
  },
  {
    name: 'a launch is bound once and made many times',
    body: (device) => {
      using x = filled(device, 'x');
      using loaded = device.load(scale);
      const bound = loaded.bind(GRID, { x, y: x, factor: 2, n: COUNT });
      assert.deepEqual(floats(x), numbers(), 'binding ran it');
      for (let i = 0; i < 3; i++) bound.launch();
      assert.deepEqual(floats(x), times(8));
    },
  },
  {
    name: 'launches that do not depend on each other may overlap',
    body: (device) => {
      if (!has(device.facts.arch, 'sm_90')) return;
      using x = filled(device, 'x');
      using loaded = device.load(scale);
      const targets = [1, 2, 3].map((factor) => ({ factor, y: device.allocate(4 * COUNT, `y${factor}`) }));
      for (const { factor, y } of targets) loaded.launch(GRID, { x, y, factor, n: COUNT }, { overlap: true });
      for (const { factor, y } of targets) {
        assert.deepEqual(floats(y), times(factor));
        y[Symbol.dispose]();
      }
    },
  },
  {
    name: 'a slice is a part of its buffer, for copies and for kernels',
    body: (device) => {
      using x = filled(device, 'x');
      const tail = x.slice(4 * 900);
      const middle = x.slice(4 * 100, 4 * 50).slice(4 * 10, 4 * 20);
      assert.deepEqual([tail.bytes, middle.bytes], [400, 80]);
      assert.deepEqual(floats(tail), numbers().subarray(900));
      middle.write(new Float32Array(20).fill(7));
      using loaded = device.load(scale);
      loaded.launch([1], { x: middle, y: tail, factor: 10, n: 20 });
      middle[Symbol.dispose]();
      const expected = numbers();
      expected.fill(7, 110, 130);
      expected.fill(70, 900, 920);
      assert.deepEqual(floats(x), expected);
    },
  },
  {
    name: 'buffers are copied in the order of launches',
    body: (device) => {
      using x = filled(device, 'x');
      using y = device.allocate(4 * COUNT, 'y');
      using loaded = device.load(scale);
      loaded.launch(GRID, { x, y: x, factor: 3, n: COUNT });
      device.copy(y, x);
      loaded.launch(GRID, { x, y: x, factor: 0, n: COUNT });
      device.copy(y.slice(4 * 500, 8), x.slice(0, 8));
      const expected = times(3);
      expected.set([-0, -0], 500);
      assert.deepEqual(floats(y), expected);
    },
  },
  {
    name: 'more than a buffer holds is refused',
    body: (device) => {
      using small = device.allocate(16, 'small');
      using large = device.allocate(20, 'large');
      const refused = { code: 'range-outside', message: /"small"/ };
      assert.throws(() => small.write(new Float32Array(5)), refused);
      assert.throws(() => small.read(new Float32Array(5)), refused);
      assert.throws(() => device.copy(small, large), refused);
      for (const [offset, bytes] of [
        [0, 17],
        [16, 4],
        [-4, 4],
        [0.5, 4],
      ] as const)
        assert.throws(() => small.slice(offset, bytes), refused);
      assert.throws(() => small.slice(8).write(new Float32Array(3)), refused);
    },
  },
  {
    name: 'a buffer of another device is refused before anything is launched',
    body: (device) => {
      using loaded = device.load(scale);
      using y = device.allocate(4, 'y');
      const refused = { code: 'buffer-foreign' };
      assert.throws(() => loaded.launch([1], { x: foreign, y, factor: 1, n: 1 }), refused);
      assert.throws(() => loaded.bind([1], { x: y, y: foreign, factor: 1, n: 1 }), refused);
      assert.throws(() => device.copy(y, foreign), refused);
      assert.throws(() => device.copy(foreign, y), refused);
    },
  },
  {
    name: 'a freed buffer is refused, by what was bound and recorded before, too',
    body: (device) => {
      using loaded = device.load(scale);
      using y = device.allocate(4, 'y');
      const freed = filled(device, 'freed', new Float32Array(1));
      const slice = freed.slice(0);
      const args = { x: freed, y, factor: 1, n: 1 };
      const bound = loaded.bind([1], args);
      using graph = device.graph(() => bound.launch());
      freed[Symbol.dispose]();
      const uses: readonly (() => void)[] = [
        () => freed.write(new Float32Array(1)),
        () => slice.read(new Float32Array(1)),
        () => device.copy(y, freed),
        () => loaded.launch([1], args),
        () => loaded.bind([1], { ...args, x: slice }),
        () => bound.launch(),
        () => graph.launch(),
      ];
      for (const use of uses) assert.throws(use, { code: 'disposed', message: /"freed"/ });
    },
  },
  {
    name: 'a kernel and a graph that are gone are refused',
    body: (device) => {
      using x = filled(device, 'x');
      const loaded = device.load(scale);
      const bound = loaded.bind(GRID, { x, y: x, factor: 2, n: COUNT });
      const graph = device.graph(() => bound.launch());
      loaded[Symbol.dispose]();
      assert.throws(() => bound.launch(), { code: 'disposed' });
      graph[Symbol.dispose]();
      assert.throws(() => graph.launch(), { code: 'disposed' });
      assert.deepEqual(floats(x), numbers());
    },
  },
  {
    name: 'a launch that no GPU can make is refused',
    body: (device) => {
      using loaded = device.load(scale);
      using x = device.allocate(64, 'x');
      const args = { x, y: x, factor: 1, n: 0 };
      for (const grid of [[0], [1.5], [1, 65_536], [1, 1, -1], [2 ** 31]] as const)
        assert.throws(() => loaded.launch(grid, args), { code: 'launch-invalid', message: /scale.*grid/ });
      for (const n of [-1, 0.5, 2 ** 32, Number.NaN])
        assert.throws(() => loaded.launch([1], { ...args, n }), { code: 'parameter-invalid', message: /parameter n/ });
      assert.throws(() => loaded.launch([1], { ...args, x: x.slice(2) }), {
        code: 'parameter-invalid',
        message: /parameter x .* multiple of 4 bytes/,
      });
      for (const bytes of [0, -1, 1.5])
        assert.throws(() => device.allocate(bytes, 'nothing'), { code: 'allocation-invalid', message: /"nothing"/ });
    },
  },
  {
    name: 'matrices that bulk copies cannot read are refused',
    body: (device) => {
      if (!has(device.facts.arch, 'sm_90')) return;
      using buffer = device.allocate(1024, 'matrix');
      using y = device.allocate(128, 'y');
      using loaded = device.load(ignoring);
      const bind =
        (rows: number, columns: number, from = 0) =>
        () =>
          loaded.bind([1], { matrix: { buffer: buffer.slice(from), rows, columns }, y });
      bind(16, 32)();
      bind(1, 8, 16)();
      assert.throws(bind(17, 32), { code: 'tensor-range', message: /matrix of 17 x 32/ });
      assert.throws(bind(16, 32, 16), { code: 'tensor-range' });
      for (const refused of [bind(1, 9), bind(0, 8), bind(1, 8, 8)]) assert.throws(refused, { code: 'tensor-invalid' });
      assert.throws(() => loaded.bind([1], { matrix: { buffer: foreign, rows: 1, columns: 8 }, y }), {
        code: 'buffer-foreign',
      });
    },
  },
  {
    name: 'a graph runs what was recorded whenever it is launched, and not before',
    body: (device) => {
      using x = filled(device, 'x');
      using y = device.allocate(4 * COUNT, 'y');
      using loaded = device.load(scale);
      const bound = loaded.bind(GRID, { x, y: x, factor: 2, n: COUNT });
      using graph = device.graph(() => {
        bound.launch();
        device.copy(y, x);
        loaded.launch(GRID, { x, y: x, factor: 2, n: COUNT });
      });
      assert.deepEqual(floats(x), numbers(), 'recording ran it');
      graph.launch();
      graph.launch();
      assert.deepEqual([floats(x), floats(y)], [times(16), times(8)]);
    },
  },
  {
    name: 'what does not belong in a graph is refused, and the device works on',
    body: (device) => {
      using x = filled(device, 'x');
      using loaded = device.load(scale);
      const launch = (): void => loaded.launch(GRID, { x, y: x, factor: 2, n: COUNT });
      using other = device.graph(launch);
      const forbidden: readonly (() => unknown)[] = [
        () => x.write(new Float32Array(1)),
        () => x.read(new Float32Array(1)),
        () => device.synchronize(),
        () => device.allocate(4, 'late'),
        () => device.load(scale),
        () => device.time(launch),
        () => device.graph(launch),
        () => other.launch(),
      ];
      for (const use of forbidden)
        assert.throws(() => device.graph(() => void use()), { code: 'capture-invalid', fix: /capture/ });
      const mine = new Error('mine');
      const fail = (): void => {
        launch();
        throw mine;
      };
      assert.throws(() => device.graph(fail), mine);
      launch();
      assert.deepEqual(floats(x), times(2));
    },
  },
  {
    name: 'time is told for what was enqueued, which runs once',
    body: (device) => {
      using x = filled(device, 'x');
      using loaded = device.load(scale);
      const bound = loaded.bind(GRID, { x, y: x, factor: 2, n: COUNT });
      const microseconds = device.time(() => bound.launch());
      assert.ok(microseconds > 0 && microseconds < 1e7, `${microseconds} us`);
      assert.deepEqual(floats(x), times(2));
    },
  },
];
