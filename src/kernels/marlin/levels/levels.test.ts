// The steps towards the paper's kernel: each is right, and each gains what the page about them says. (The catalogue's tests run those without conflicts.)
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Program } from '../../../ptx/program.ts';
import { simulateExample } from '../../entry.ts';
import { asynchronous } from './asynchronous.ts';
import { SIZE, step } from './entry.ts';
import { naive } from './naive.ts';
import type { LevelParams } from './operands.ts';
import { tensorCores } from './tensor-cores.ts';

const run = (program: Program<LevelParams>) => simulateExample(step(program.name, program), 1);

test('by rows ldmatrix meets bank conflicts, swizzled it does not; the product is the same', () => {
  const [byRows, swizzled] = [false, true].map((swizzle) => run(asynchronous(SIZE, { swizzle, raw: false })));
  assert.deepEqual([...new Set(byRows!.findings.map(({ kind }) => kind))], ['bank-conflict']);
  assert.deepEqual(swizzled!.findings, []);
  assert.equal(byRows!.error, swizzled!.error);
  assert.ok(byRows!.error < 1e-3);
  assert.ok(byRows!.counters.wavefronts > 2 * swizzled!.counters.wavefronts);
});

test('tensor cores read a weight once for eight tokens; a thread an output reads it for each', () => {
  const [each, once] = [run(naive(SIZE)), run(tensorCores(SIZE))];
  assert.ok(each.counters.instructions > 20 * once.counters.instructions);
  assert.ok(each.counters.globalRead > 20 * once.counters.globalRead);
});

test('raw codes take fewer instructions than scaled weights, and round nothing', () => {
  const [scaled, raw] = [false, true].map((raw) => run(asynchronous(SIZE, { swizzle: true, raw })));
  assert.ok(raw!.counters.instructions < scaled!.counters.instructions);
  assert.ok(raw!.error < 1e-6 && raw!.error < scaled!.error / 10);
});

test('a matrix that is no whole strips is refused', () => {
  assert.throws(() => naive({ n: 24, k: 128 }), RangeError);
  assert.throws(() => tensorCores({ n: 16, k: 100 }), RangeError);
});
