import assert from 'node:assert/strict';
import { test } from 'node:test';
import { embeddedModel } from './flags.ts';
import { jsonOf, marlin, marlinHere } from './run-marlin.fixture.ts';

test('--json says what a bug report needs', async () => {
  const ran = await marlin(['doctor', '--json']);
  assert.deepEqual([ran.code, ran.stderr], [0, '']);
  const { ok, node, v8, platform, cpu, cores, memoryBytes, gpus, checks } = jsonOf(ran);
  assert.deepEqual(
    [ok, node, v8, platform],
    [true, process.version, process.versions.v8, `${process.platform}-${process.arch}`],
  );
  assert.ok(typeof cpu === 'string' && Number(cores) > 0 && Number(memoryBytes) > 1e8 && Array.isArray(gpus));
  assert.ok(Array.isArray(checks));
  assert.deepEqual(
    checks.map(({ name }: { name: string }) => name),
    ['Node', 'Processor', 'WebAssembly kernels', 'Embedded model', 'NVIDIA GPU'],
  );
});

test('for people: a line for each check', async () => {
  const { code, stdout } = await marlinHere(['doctor']);
  assert.equal(code, 0);
  const lines = stdout.trimEnd().split('\n');
  for (const line of lines) assert.match(line, /^✔ [\w ]+: .+/);
  assert.equal(lines[3], `✔ Embedded model: ${embeddedModel}`);
});

test('a failed check says how to mend it, and so does the exit code', async (t) => {
  t.mock.method(WebAssembly, 'validate', () => false);
  const { code, stdout } = await marlinHere(['doctor']);
  assert.equal(code, 2);
  assert.match(stdout, /\n✖ WebAssembly kernels: .* no WebAssembly SIMD .*\n {4}fix: Use Node 24/);
  const json = await marlinHere(['doctor', '--json']);
  assert.deepEqual([json.code, jsonOf(json)['ok']], [2, false]);
});
