// What each code means to a user: the driver's words, a fix, and which codes kill the context.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failure, fault, fixFor, isFault, wordsFor } from './check.ts';
import { createFake } from './fake.ts';
import * as header from './header.ts';

const codes = Object.entries(header).flatMap(([name, value]) =>
  typeof value === 'number' && name.startsWith('CUDA_ERROR_') ? [{ name, code: value }] : [],
);

test('every code has a fix in whole sentences', () => {
  for (const { name, code } of codes) assert.match(fixFor(code), /^[A-Z].*[^.\s]$/, name);
  assert.match(fixFor(12345), /documentation/);
});

test('faults are the codes of which cuda.h says that the process must end, or the context is lost', () => {
  const faults = codes
    .filter(({ code }) => isFault(code))
    .map(({ code }) => code)
    .toSorted((a, b) => a - b);
  assert.deepEqual(faults, [214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911]);
});

test('a failure names call, subject, code, and the words of the driver', () => {
  const { driver } = createFake();
  const error = failure(driver, header.CUDA_ERROR_INVALID_VALUE, 'cuMemFree', 'the device memory "x"');
  assert.equal(error.code, 'cuda-failed');
  const words = 'CUDA_ERROR_INVALID_VALUE (1), the words for 1';
  assert.equal(error.message, `cuMemFree failed for the device memory "x": ${words}.`);
  assert.equal(failure(driver, 1, 'cuInit', null).message, `cuInit failed: ${words}.`);
});

test('a code the driver does not know still makes a sentence', () => {
  const fake = createFake();
  fake.fail('cuGetErrorString', 1);
  assert.equal(wordsFor(fake.driver, 4321), 'a code without a name (4321), unknown to the driver');
});

test('a machine without a GPU is told as that, whichever call finds out', () => {
  const fake = createFake();
  assert.equal(failure(fake.driver, header.CUDA_ERROR_NO_DEVICE, 'cuInit', null).code, 'gpu-missing');
});

test('a fault names what was running: one, some, very many, nothing known', () => {
  const { driver } = createFake();
  const message = (running: readonly string[]): string => fault(driver, 700, 'cuStreamSynchronize', running).message;
  const told = 'failed on the GPU: CUDA_ERROR_ILLEGAL_ADDRESS (700), the words for 700; cuStreamSynchronize told.';
  assert.equal(message(['the kernel "a"']), `The kernel "a" ${told}`);
  assert.equal(
    message(['the kernel "a"', 'the kernel "b"']),
    `One of what was running (the kernel "a"; the kernel "b") ${told}`,
  );
  assert.equal(message([]), `Earlier work ${told}`);
  assert.match(message(Array.from({ length: 20 }, (_, i) => `k${i}`)), /k7; 12 more\)/);
});
