// What is read from ptxas: registers, planted spills, refusals, remarks about speed; nothing is left in the temporary folder.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { MarlinError } from '../base/errors.ts';
import { kernel } from '../ptx/kernel.ts';
import type { Program } from '../ptx/program.ts';
import { architecturesOf, assemble, assembleAll, moduleOf, ptxasArchitectures, readLog } from './assemble.ts';
import { vectorAdd } from './vector-add/kernel.ts';

const here = (await ptxasArchitectures()) !== null;

/** Sets a variable of the environment while one test runs. */
function environment(t: TestContext, name: string, value: string): void {
  const before = process.env[name];
  process.env[name] = value;
  t.after(() => {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  });
}

/** 1024 threads leave 64 registers each; this one keeps 200 values alive over a barrier. */
const greedy: Program = kernel({ name: 'greedy', threads: 1024, params: { x: 'f32*' } }, (k, { x }) => {
  const values = Array.from({ length: 200 }, (_, i) => k.ldF32(x.at(k.thread.add(1024 * i))));
  k.barSync();
  for (const [i, value] of values.entries()) k.stF32(x.at(k.thread.add(1024 * i)), value.add(values[199 - i]!));
});

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof MarlinError && error.code === expected;
}

describe('with ptxas', { skip: here ? false : 'ptxas is not on PATH' }, () => {
  test('a small kernel has registers and nothing to complain about', async () => {
    const { registers, spillBytes, stackBytes, warnings } = await assemble(vectorAdd, 'sm_80');
    assert.ok(registers >= 8 && registers <= 32, String(registers));
    assert.deepEqual([spillBytes, stackBytes, warnings], [0, 0, []]);
  });

  test('spills are counted, for the program that has them', async () => {
    const [first, second] = await assembleAll([vectorAdd, greedy], 'sm_80');
    assert.deepEqual([first!.spillBytes, first!.stackBytes], [0, 0]);
    assert.ok(second!.spillBytes > 0 && second!.stackBytes > 0, second!.log);
  });

  test('what it refuses is an error with its words, and the folder is gone either way', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'assemble-'));
    t.after(() => rmSync(folder, { recursive: true }));
    environment(t, 'TMPDIR', folder);
    await assemble(vectorAdd, 'sm_90a');
    assert.deepEqual(readdirSync(folder), []);
    await assert.rejects(assemble({ ...vectorAdd, params: {} }, 'sm_90a'), code('ptxas-refused'));
    assert.deepEqual(readdirSync(folder), []);
  });

  test('can be stopped', async () => {
    const reason = new Error('enough');
    await assert.rejects(assemble(greedy, 'sm_80', AbortSignal.abort(reason)), reason);
  });
});

test('without ptxas', async (t) => {
  environment(t, 'PATH', '/nowhere');
  assert.equal(await ptxasArchitectures(), null);
  await assert.rejects(assemble(vectorAdd, 'sm_80'), code('ptxas-missing'));
});

test('an "a" target runs on its own chip only', () => {
  assert.deepEqual(architecturesOf({ ...vectorAdd, target: 'sm_80' }), ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_120']);
  assert.deepEqual(architecturesOf({ ...vectorAdd, target: 'sm_90' }), ['sm_90a', 'sm_120']);
  assert.deepEqual(architecturesOf({ ...vectorAdd, target: 'sm_90a' }), ['sm_90a']);
});

test('a module of several has the newest version and the strictest alignment', () => {
  const text = (version: string, align: number): string =>
    `.version ${version}\n.target sm_90a\n.address_size 64\n\n.extern .shared .align ${align} .b8 smem[];\n\nbody ${align}\n`;
  const module = moduleOf([text('7.0', 128), text('8.10', 1024), text('8.0', 16)]);
  assert.match(module, /^\.version 8\.10?\n\.target sm_90a\n\.address_size 64\n\.extern \.shared \.align 1024 /);
  assert.equal(module.match(/^\./gm)!.length, 4);
  for (const align of [128, 1024, 16]) assert.ok(module.includes(`body ${align}`));
});

test('remarks about lost speed are kept, each with its function', () => {
  const info = (name: string, spill: number): string =>
    `ptxas info    : Compiling entry function '${name}' for 'sm_90a'\nptxas info    : Function properties for ${name}\n    ${spill} bytes stack frame, ${spill} bytes spill stores, ${2 * spill} bytes spill loads\nptxas info    : Used 40 registers\n`;
  const remark =
    "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to ... in the function 'two'";
  const log = `ptxas info    : 0 bytes gmem\n${remark}\n${info('one', 0)}${info('two', 8)}`;
  const ignored =
    "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored; unable to determine register count at entry.";
  assert.deepEqual(readLog(`${ignored}\n${info('one', 0)}`, 'one').warnings, [ignored]);
  const { log: own, ...one } = readLog(log, 'one');
  assert.ok(own.includes("'one'") && !own.includes("'two'"));
  assert.deepEqual(one, { registers: 40, spillBytes: 0, stackBytes: 0, warnings: [] });
  const { log: _, ...two } = readLog(log, 'two');
  assert.deepEqual(two, { registers: 40, spillBytes: 24, stackBytes: 8, warnings: [remark] });
});
