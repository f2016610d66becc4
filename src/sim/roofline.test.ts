// Rooflines: times by hand, and the limit of real programs.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { emptyCounters } from './counters.ts';
import { tileProduct, vectorAdd } from './programs.fixture.ts';
import { deviceFigures, roofline } from './roofline.ts';
import { simulate } from './simulate.ts';

/** Round numbers near an H200: 132 SMs, 1.75 GHz, 4.8 TB/s, 4096 dense f16 operations a clock and SM. */
const device = deviceFigures({ sms: 132, clock: 1.75e9, bytesPerSecond: 4.8e12, tensorPerClock: 4096 });

describe('roofline', () => {
  test('figures of a chip', () => {
    assert.equal(device.tensorPerSecond, 132 * 1.75e9 * 4096);
    assert.equal(device.wavefrontsPerSecond, 231e9);
    assert.equal(device.instructionsPerSecond, 924e9);
  });

  test('times by hand, and the longest is the limit', () => {
    const counters = {
      ...emptyCounters(),
      sectors: 3_000_000,
      globalRead: 80_000_000,
      globalWritten: 16_000_000,
      tensorOperations: 9.6e9,
      wavefronts: 231_000,
      instructions: 9_240_000,
    };
    const { seconds, bottleneck, least, intensity, ridge, coalescing } = roofline(counters, device);
    assert.equal(seconds.memory, 96e6 / 4.8e12);
    assert.equal(seconds['shared memory'], 1e-6);
    assert.equal(seconds.instructions, 1e-5);
    assert.equal(seconds['tensor cores'], 9.6e9 / (231e9 * 4096));
    assert.deepEqual([bottleneck, least], ['memory', 2e-5]);
    assert.deepEqual([intensity, coalescing], [100, 1]);
    assert.equal(ridge, (231e9 * 4096) / 4.8e12);
    // Ten times the intensity is behind the ridge (197 operations a byte).
    assert.equal(roofline({ ...counters, tensorOperations: 9.6e10 }, device).bottleneck, 'tensor cores');
    assert.equal(roofline({ ...counters, wavefronts: 2.31e9 }, device).bottleneck, 'shared memory');
    assert.equal(roofline({ ...counters, instructions: 9.24e9 }, device).bottleneck, 'instructions');
  });

  test('a launch that did nothing takes no time', () => {
    const { least, intensity, coalescing } = roofline(emptyCounters(), device);
    assert.deepEqual([least, intensity, coalescing], [0, 0, 1]);
  });

  test('adding vectors is bound by memory and moves nothing in vain', () => {
    const n = 4096;
    const args = { a: new Float32Array(n), b: new Float32Array(n), c: new Float32Array(n), n };
    const { bottleneck, seconds, coalescing } = roofline(simulate(vectorAdd, { grid: [16], args }).counters, device);
    assert.deepEqual([bottleneck, coalescing], ['memory', 1]);
    assert.equal(seconds.memory, (3 * 4 * n) / 4.8e12);
  });

  test('bank conflicts show in the time of shared memory', () => {
    const args = { A: new Float16Array(1024), B: new Float16Array(512), C: new Float32Array(128) };
    const time = (swizzle: boolean): number =>
      roofline(simulate(tileProduct({ swizzle }), { grid: [1], args }).counters, device).seconds['shared memory'];
    assert.ok(time(false) > 3 * time(true));
  });
});
