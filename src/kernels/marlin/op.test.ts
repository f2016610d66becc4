// The host call on the simulated device: random shapes against the reference with every epilogue, what is shared and freed, what is refused; and tuning.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../../base/f16.ts';
import { Random } from '../../base/random.ts';
import { rmsNorm } from '../../base/reference.ts';
import { relativeError } from '../../base/stats.ts';
import { openContext } from '../../cuda/context.ts';
import { createFake } from '../../cuda/fake.ts';
import type { Device, DeviceBuffer } from '../../device/device.ts';
import { NvidiaDevice } from '../../device/nvidia.ts';
import { SimulatedDevice } from '../../device/simulated.ts';
import { randomCoded } from './coded.ts';
import { type Epilogue, outputBytes } from './epilogue.ts';
import { MarlinKernels } from './op.ts';
import { type HalfType, pack, type PackedMatrix } from './pack.ts';
import { splitNibbles } from './pairs.ts';
import { marlinReference } from './reference.ts';
import { planMarlin } from './plan.ts';
import { tune } from './tune.ts';
import { measuredBy } from './tuned.ts';

type Output = Epilogue['output'];
const seed = Math.floor(Math.random() * 2 ** 32);

function randomPacked(random: Random, n: number, k: number, type: HalfType = 'f16'): PackedMatrix {
  const group = [32, 64, 128].find((size) => k % size === 0 && random.integer(2) === 0);
  const coded = randomCoded(random, {
    rows: n,
    columns: k,
    ...(group === undefined ? {} : { group }),
    zeroPoints: random.integer(2) === 0,
  });
  return pack('w', coded, type);
}

function upload(device: Device, data: ArrayBufferView): DeviceBuffer {
  const buffer = device.allocate(data.byteLength, 'test');
  buffer.write(data);
  return buffer;
}

/** Random activations as bits, and the numbers they stand for. */
function activations(
  random: Random,
  type: HalfType,
  count: number,
): { readonly bits: Uint16Array; readonly numbers: ArrayLike<number> } {
  const bits = Uint16Array.from({ length: count }, () =>
    (type === 'f16' ? numberToF16 : numberToBf16)(random.normal()),
  );
  return { bits, numbers: type === 'f16' ? new Float16Array(bits.buffer) : Float32Array.from(bits, bf16ToNumber) };
}

/** An output of every kind as numbers. */
function readNumbers(buffer: DeviceBuffer, output: Output, count: number): ArrayLike<number> {
  if (outputBytes({ output, bias: false }) === 4) {
    const numbers = new Float32Array(count);
    buffer.read(numbers);
    return numbers;
  }
  const bits = new Uint16Array(count);
  buffer.read(bits);
  return output === 'f16' ? new Float16Array(bits.buffer) : Float32Array.from(bits, bf16ToNumber);
}

/** Of what is rounded once to a type: weights, where a kernel multiplies them as such, and results. */
const ROUNDING: Readonly<Record<HalfType, number>> = { f16: 5e-4, bf16: 4e-3 };

function boundOf(type: HalfType, output: Output): number {
  return output === 'f16' || output === 'bf16' ? Math.max(ROUNDING[type], ROUNDING[output]) : ROUNDING[type];
}

describe('a product', () => {
  test(`of any shape, type, group and epilogue is right (seed ${seed})`, () => {
    const random = new Random(seed);
    const device = new SimulatedDevice({ seed });
    using kernels = new MarlinKernels(device);
    for (let run = 0; run < 12; run++) {
      const type: HalfType = run % 2 === 0 ? 'f16' : 'bf16';
      const output = ([type, 'f32', 'add-f32'] as const)[run % 3]!;
      const epilogue: Epilogue = { output, bias: random.integer(2) === 0 };
      const [m, n, k] = [1 + random.integer(20), 1 + random.integer(50), 8 * (1 + random.integer(40))];
      const matrix = randomPacked(random, n, k, type);
      const bias = random.fillNormal(new Float32Array(n));
      using product = kernels.load('w', matrix, bias);
      const { bits, numbers } = activations(random, type, m * k);
      const before = random.fillNormal(new Float32Array(m * n));
      using x = upload(device, bits);
      using y = upload(
        device,
        output === 'add-f32' ? before : new Uint8Array(m * n * outputBytes({ output, bias: false })).fill(0xff),
      );
      product.bind({ x, y, tokens: m, epilogue }).launch();
      const expected = marlinReference(numbers, m, matrix).map(
        (sum, i) => sum + (epilogue.bias ? bias[i % n]! : 0) + (output === 'add-f32' ? before[i]! : 0),
      );
      const error = relativeError(readNumbers(y, output, m * n), expected);
      assert.ok(error <= boundOf(type, output), `${m} x ${n} x ${k} ${type} to ${output}: ${error}`);
    }
  });

  test('with fewer tokens than buffers have room for leaves the rest alone', () => {
    const device = new SimulatedDevice();
    using kernels = new MarlinKernels(device);
    using product = kernels.load('w', randomPacked(new Random(1), 16, 128));
    using x = upload(device, new Float16Array(8 * 128).fill(1));
    using y = upload(device, new Float16Array(8 * 16).fill(-7));
    product.bind({ x, y, tokens: 3, epilogue: { output: 'f16', bias: false } }).launch();
    const result = readNumbers(y, 'f16', 8 * 16);
    for (let i = 0; i < 8 * 16; i++) assert.equal(result[i] === -7, i >= 3 * 16, `element ${i}`);
  });
});

describe('8-bit weights', () => {
  for (const [m, asymmetric] of [
    [1, false],
    [13, true],
    [40, false],
  ] as const) {
    test(`${m} tokens, ${asymmetric ? 'with' : 'without'} zero points: every kernel multiplies their halves`, () => {
      const random = new Random(5);
      const [rows, columns, group] = [24, 320, 64];
      const codes = Uint8Array.from({ length: rows * columns }, () => random.integer(256));
      const scales = Uint16Array.from({ length: rows * (columns / group) }, () =>
        numberToF16(0.001 + random.uniform()),
      );
      const zeroPoints = asymmetric ? Uint8Array.from(scales, () => random.integer(256)) : null;
      const matrix = pack(
        'w',
        splitNibbles({ rows, columns, group, codes, scales, scaleDtype: 'F16', zeroPoints }),
        'f16',
      );
      const { bits, numbers } = activations(random, 'f16', m * columns);
      const expected = Float64Array.from({ length: m * rows }, (_, i) => {
        const [token, row] = [Math.floor(i / rows), i % rows];
        let sum = 0;
        for (let k = 0; k < columns; k++) {
          const at = row * (columns / group) + Math.floor(k / group);
          const weight = (codes[row * columns + k]! - (zeroPoints?.[at] ?? 128)) * f16ToNumber(scales[at]!);
          sum += numbers[token * columns + k]! * weight;
        }
        return sum;
      });
      const device = new SimulatedDevice();
      using kernels = new MarlinKernels(device);
      using product = kernels.load('w', matrix);
      using x = upload(device, bits);
      using y = upload(device, new Float32Array(m * rows).fill(Number.NaN));
      product.bind({ x, y, tokens: m, epilogue: { output: 'f32', bias: false, pairs: 'nibbles' } }).launch();
      const error = relativeError(readNumbers(y, 'f32', m * rows), expected);
      assert.ok(error <= ROUNDING.f16, `relative error ${error}`);
    });
  }
});

describe('a product that norms its token first', () => {
  const device = new SimulatedDevice();
  const random = new Random(6);
  const matrix = randomPacked(random, 40, 256);
  const wide = random.fillNormal(new Float32Array(2 * 256), 3);
  const gains = random.fillNormal(new Float32Array(256));

  test('equals the norm, rounded, and then the product', () => {
    using kernels = new MarlinKernels(device);
    using product = kernels.load('w', matrix);
    using x = upload(device, wide);
    using gain = upload(device, gains);
    using y = upload(device, new Float32Array(40).fill(Number.NaN));
    const epilogue = { output: 'f32', bias: false } as const;
    product.bind({ x, y, tokens: 1, norm: { gain, epsilon: 1e-5 }, epilogue }).launch();
    const normed = new Float16Array(rmsNorm(wide.subarray(0, 256), gains, 1e-5));
    const error = relativeError(readNumbers(y, 'f32', 40), marlinReference(normed, 1, matrix));
    assert.ok(error <= 1e-4, `relative error ${error}`);
  });

  test('is for one token, on GPUs that have a kernel for it; others are told', () => {
    using kernels = new MarlinKernels(device);
    using product = kernels.load('w', matrix);
    assert.deepEqual([kernels.norms(matrix, 1), kernels.norms(matrix, 2)], [true, false]);
    using ampere = new MarlinKernels(new SimulatedDevice({ facts: { arch: 'sm_86' } }));
    assert.equal(ampere.norms(matrix, 1), false);
    using x = upload(device, wide);
    using gain = upload(device, gains);
    using y = upload(device, new Float32Array(80));
    const call = { x, y, epilogue: { output: 'f32', bias: false } } as const;
    const norm = { gain, epsilon: 1e-5 };
    assert.throws(() => product.bind({ ...call, norm, tokens: 2 }), { code: 'product-unsupported' });
    const short = { ...norm, gain: gain.slice(0, 4 * 255) };
    assert.throws(() => product.bind({ ...call, norm: short, tokens: 1 }), { code: 'buffer-too-small' });
    assert.throws(() => product.bind({ ...call, x: x.slice(0, 4 * 255), norm, tokens: 1 }), {
      code: 'buffer-too-small',
    });
  });
});

test('programs are loaded once for a choice and an epilogue, whatever the number of tokens; everything is freed', () => {
  const fake = createFake({ memoryBytes: 2 ** 30 });
  using device = new NvidiaDevice(openContext(fake.driver));
  const before = fake.live;
  {
    using kernels = new MarlinKernels(device);
    const matrix = randomPacked(new Random(2), 32, 128);
    using first = kernels.load('first', matrix);
    using second = kernels.load('second', matrix);
    using x = device.allocate(2 * 8 * 128, 'x');
    using y = device.allocate(4 * 8 * 32, 'y');
    for (const product of [first, second])
      for (const tokens of [1, 5, 8])
        for (const output of ['f16', 'f32'] as const)
          product.bind({ x, y, tokens, epilogue: { output, bias: false } }).launch();
    assert.equal(kernels.programs, 2);
    const loads = fake.calls.filter((call) => call.startsWith('cuModuleLoad'));
    assert.ok(loads.length <= 2, loads.join());
  }
  assert.equal(fake.live, before);
});

test('a workspace is zeroed, shared while it is large enough, and kept for who holds it', () => {
  using kernels = new MarlinKernels(new SimulatedDevice());
  const small = kernels.workspace(64);
  const content = new Uint8Array(64).fill(9);
  small.read(content);
  assert.ok(content.every((byte) => byte === 0));
  assert.equal(kernels.workspace(10), small);
  const large = kernels.workspace(1000);
  assert.ok(large.bytes >= 1000 && large !== small);
  small.read(content);
  assert.equal(kernels.workspace(64), large);
});

describe('refused before a launch', () => {
  const device = new SimulatedDevice();
  const kernels = new MarlinKernels(device);
  const matrix = randomPacked(new Random(3), 16, 128);
  const product = kernels.load('q_proj', matrix);
  const epilogue = { output: 'f16', bias: false } as const;
  const [x, y] = [device.allocate(2 * 4 * 128, 'x'), device.allocate(2 * 4 * 16, 'y')];

  test('no tokens, or parts of one', () => {
    for (const tokens of [0, -1, 1.5])
      assert.throws(() => product.bind({ x, y, tokens, epilogue }), { code: 'product-shape-invalid' });
  });

  test('buffers that are too small', () => {
    const small = (call: object): void => {
      const message = /of q_proj/;
      assert.throws(() => product.bind({ x, y, tokens: 4, epilogue, ...call }), { code: 'buffer-too-small', message });
    };
    small({ x: x.slice(0, 1022) });
    small({ y: y.slice(0, 126) });
    small({ epilogue: { output: 'f32', bias: false } });
    const candidate = { ...kernels.plan(product.problem(4)).chosen, workspaceBytes: 4096 };
    small({ candidate, workspace: y });
  });

  test('outputs of the other half type, and a bias that is not there', () => {
    assert.throws(() => product.bind({ x, y, tokens: 1, epilogue: { output: 'bf16', bias: false } }), {
      code: 'epilogue-invalid',
      message: /activations are f16.*bf16/,
    });
    assert.throws(() => product.bind({ x, y, tokens: 1, epilogue: { output: 'f16', bias: true } }), {
      code: 'epilogue-invalid',
    });
  });

  test('buffers of another device', () => {
    const other = new SimulatedDevice().allocate(4096, 'x');
    assert.throws(() => product.bind({ x: other, y, tokens: 1, epilogue }), { code: 'buffer-foreign' });
  });

  test('a product that was disposed of', () => {
    const gone = kernels.load('gone', matrix);
    gone[Symbol.dispose]();
    assert.throws(() => gone.bind({ x, y, tokens: 1, epilogue }), { code: 'disposed' });
  });

  test('matrices and biases that are not whole', () => {
    const load = (change: Partial<PackedMatrix>, bias: Float32Array | null = null): void =>
      void kernels.load('w', { ...matrix, ...change }, bias);
    for (const change of [
      { strips: matrix.strips.subarray(16) },
      { factors: matrix.factors.subarray(1) },
      { factors: new Float32Array(16).fill(Number.NaN) },
      { n: 0 },
      { k: 256 },
    ])
      assert.throws(() => load(change), { code: 'packed-matrix-invalid' });
    assert.throws(() => load({}, new Float32Array(15)), { code: 'bias-invalid' });
    load({}, new Float32Array(16));
  });
});

test('tuning measures each bucket once, at most so many candidates, and names one of the plan', () => {
  const device = new SimulatedDevice({ facts: { multiprocessors: 2 } });
  using kernels = new MarlinKernels(device);
  using product = kernels.load('w', randomPacked(new Random(4), 16, 128));
  const { gpu, rows } = tune(kernels, [product], [1, 3, 8, 9], { samples: 1, launches: 1, most: 2 });
  assert.equal(gpu, 'simulator');
  assert.deepEqual(
    rows.map(({ tokens, n, k }) => [tokens, n, k]),
    [
      [1, 16, 128],
      [8, 16, 128],
      [16, 16, 128],
    ],
  );
  assert.ok(kernels.programs <= 4, `${kernels.programs} programs`);
  const measured = measuredBy([{ gpu, rows }]);
  for (const m of [5, 16]) {
    const plan = planMarlin(product.problem(m), device.facts, { measured });
    assert.equal(plan.by, 'measurement');
  }
});
