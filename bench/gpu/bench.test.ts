// The GPU benchmarks on the simulator, small: that they run, check results and find wrong ones. Their times mean nothing here.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDevice } from '../../src/device/simulated.ts';
import { normals, sampledError } from './data.ts';
import { measureDecode } from './decode.ts';
import { launchCosts } from './launch-cost.ts';
import { commit } from '../../src/bench/machine.ts';
import { measureProduct, setCount } from './product.ts';
import { measureSteps } from './steps.ts';
import { kinds } from './synthetic.ts';
import { type Contender, variants } from './variants.ts';

const shape = { m: 128, n: 128, k: 64 };
const options = { samples: 2, graphFlops: 1 };
/** A cache that one set of this shape does not fit. */
const small = { l2Bytes: 30_000 };

test('the costs of a launch are told, with overlap where there is any', () => {
  const sizes = { samples: 2, burst: 3, graphKernels: 3 };
  const costs = launchCosts(new SimulatedDevice(), sizes);
  assert.ok(Object.values(costs).every((us) => Number(us) > 0));
  assert.equal(launchCosts(new SimulatedDevice({ facts: { arch: 'sm_89' } }), sizes).inGraphOverlapping, null);
});

test('each variant is right, on every set of buffers', () => {
  for (const variant of variants) {
    const device = new SimulatedDevice({ facts: small });
    using contender = variant.load(device, shape);
    assert.ok(contender !== null);
    const [result] = measureProduct(device, shape, variant.weights, [contender], options);
    assert.ok(result?.ok === true && result.error > 0 && result.error < 5e-4, `${variant.name}: ${result?.error}`);
    assert.deepEqual([result.speedup, result.microseconds > 0], [1, true]);
  }
});

test('a contender that writes nothing, or to some buffers only, or zeros, is found', () => {
  const device = new SimulatedDevice({ facts: small });
  assert.equal(setCount(device.facts, shape), 2);
  const zeros = device.allocate(2 * shape.m * shape.n, 'zeros');
  zeros.write(new Float16Array(shape.m * shape.n));
  /** Writes zeros to the first `count` of the sets. */
  const zeroing = (name: string, count: number): Contender => {
    let bound = 0;
    return {
      name,
      bind: ({ C }) => ({ launch: bound++ < count ? () => device.copy(C, zeros) : () => {} }),
      [Symbol.dispose]() {},
    };
  };
  const contenders = [zeroing('nothing', 0), zeroing('some', 1), zeroing('zeros', 2)];
  const results = measureProduct(device, shape, 'dense', contenders, options);
  assert.deepEqual(
    results.map(({ error, ok, speedup }) => [error, ok, speedup]),
    [
      [Number.NaN, false, null],
      [Number.NaN, false, null],
      [1, false, null],
    ],
  );
});

test('as many sets as the cache cannot hold, within memory', () => {
  const facts = { ...new SimulatedDevice().facts, l2Bytes: 60e6, memoryBytes: 80e9 };
  assert.equal(setCount(facts, { m: 1024, n: 1024, k: 1024 }), 21);
  assert.equal(setCount(facts, { m: 8192, n: 8192, k: 8192 }), 2);
  assert.equal(setCount({ ...facts, memoryBytes: 5e8 }, { m: 8192, n: 8192, k: 8192 }), 1);
});

test('random data: the same for a seed, no two rows alike', () => {
  const values = normals(300_000, 5);
  assert.deepEqual(values, normals(300_000, 5));
  assert.notDeepEqual(values.subarray(0, 1024), values.subarray(1024 * 64, 1024 * 65));
  assert.ok(values.every((value) => Math.abs(value) < 10));
});

test('one output that was not written is found wherever it is', () => {
  const [A, B] = [normals(4 * 8, 1), normals(4 * 8, 2)];
  const C = new Float16Array(16);
  assert.equal(sampledError(A, B, C, { m: 4, n: 4, k: 8 }, 1), 1);
  C[13] = Number.NaN;
  assert.equal(sampledError(A, B, C, { m: 4, n: 4, k: 8 }, 1), Number.NaN);
});

test('the commit is that of the checkout', () => {
  const found = commit();
  assert.ok(found === null || /^[0-9a-f]{40}(-dirty)?$/.test(found), String(found));
});

test('a network of random weights reads and draws', () => {
  const shape = {
    hiddenSize: 64,
    intermediateSize: 96,
    layers: 1,
    heads: 2,
    kvHeads: 1,
    headDim: 32,
    vocabSize: 61,
  };
  const few = { context: 20, prefillTokens: 10, steps: 2, maxTokens: 8 };
  for (const kind of kinds) {
    const device = new SimulatedDevice({ facts: { memoryBytes: 2 ** 24 } });
    const { decode, prefill, bytesPerSecond, copyBytesPerSecond } = measureDecode(device, shape, kind, few);
    assert.ok(
      [decode, prefill, bytesPerSecond, copyBytesPerSecond].every((value) => value > 0),
      kind.name,
    );
  }
});

test('every step towards the 4-bit product is timed', () => {
  const device = new SimulatedDevice({ facts: { multiprocessors: 2 } });
  const steps = measureSteps(device, { n: 32, k: 256 }, { copies: 1, samples: 1, launches: 1, conflictFree: true });
  assert.deepEqual(
    steps.map(({ name }) => name.slice(0, 2)),
    ['1 ', '2 ', '4 ', '5 ', '6 ', '7 ', '7 '],
  );
  assert.ok(steps.every(({ microseconds, bytesPerSecond }) => microseconds > 0 && bytesPerSecond > 0));
});
