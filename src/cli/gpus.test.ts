// What doctor says of GPUs, over the fake driver.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errors } from '../base/errors.ts';
import { createFake } from '../cuda/fake.ts';
import type { FakeOptions } from '../cuda/fake-driver.ts';
import * as cuda from '../cuda/header.ts';
import { openDriver } from '../cuda/library.ts';
import { type GpuReport, reportGpus } from './gpus.ts';

const report = (options: FakeOptions): Promise<GpuReport> =>
  reportGpus(() => Promise.resolve(createFake(options).driver));
const capability = (major: number, minor: number): NonNullable<FakeOptions['attributes']> => ({
  [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR]: major,
  [cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR]: minor,
});

test('each GPU with what kernels meet there', async () => {
  const { gpus, detail, fix } = await report({ devices: 2, memoryBytes: 141e9, version: 12_040 });
  assert.deepEqual(gpus[1], {
    name: 'Fake H200 1',
    computeCapability: '9.0',
    memoryBytes: 141e9,
    multiprocessors: 132,
    cuda: '12.4',
    ptxNeeded: '8.0',
    ptxLoadable: true,
  });
  assert.equal(gpus.length, 2);
  assert.equal(fix, null);
  assert.match(
    detail,
    /^Fake H200 0 \(compute capability 9\.0, 132 multiprocessors, 141\.00 GB; driver for CUDA 12\.4; kernels need PTX 8\.0, which the driver understands\); Fake H200 1/,
  );
});

test('what the kernels need follows the chip, and a driver that is too old for it is told', async () => {
  const needs = async (major: number, minor: number, version: number): Promise<unknown[]> => {
    const { gpus, fix } = await report({ attributes: capability(major, minor), version });
    return [gpus[0]?.ptxNeeded, gpus[0]?.ptxLoadable, fix];
  };
  assert.deepEqual(await needs(8, 0, 12_000), ['7.0', true, null]);
  assert.deepEqual(await needs(8, 9, 12_000), ['7.8', true, null]);
  assert.deepEqual(await needs(12, 0, 12_080), ['8.7', true, null]);
  assert.deepEqual(await needs(12, 0, 12_060), ['8.7', false, 'Update the NVIDIA driver.']);
  assert.deepEqual(await needs(7, 5, 13_000), [null, false, null]);
  assert.match((await report({ attributes: capability(7, 5) })).detail, /too old for the kernels/);
});

test('no driver and no GPU are no failure; a driver that does not work says what to do', async () => {
  assert.deepEqual(await reportGpus(() => openDriver('libcuda-is-not-here.so.1')), {
    gpus: [],
    detail: 'none found (no NVIDIA driver)',
    fix: null,
  });
  assert.deepEqual(await report({ devices: 0 }), {
    gpus: [],
    detail: 'none found (the driver is there, but sees no GPU)',
    fix: null,
  });
  const fake = createFake();
  fake.fail('cuInit', cuda.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
  const broken = await reportGpus(() => Promise.resolve(fake.driver));
  assert.match(broken.detail, /^cannot be used: cuInit failed/);
  assert.match(broken.fix ?? '', /restart the machine/);
  const old = await reportGpus(() => Promise.reject(errors.driverTooOld('11.8', '12.0')));
  assert.match(old.detail, /^cannot be used: .*CUDA 11\.8/);
});
