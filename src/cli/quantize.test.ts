import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { embeddedModel } from './flags.ts';
import {
  errorCodeOf,
  jsonOf,
  marlin,
  marlinHere,
  marlinScript,
  temporaryFolder,
  writeSourceModel,
} from './run-marlin.fixture.ts';

const root = temporaryFolder();
const source = writeSourceModel(root);
let folder = root;
let out = root;
beforeEach(() => {
  folder = mkdtempSync(join(root, 'test-'));
  out = join(folder, 'out');
});

async function refused(code: string, ...line: readonly string[]): Promise<void> {
  const before = readdirSync(folder);
  const ran = await marlinHere(['quantize', ...line]);
  assert.deepEqual([ran.code, ran.stdout], [2, '']);
  assert.ok(ran.stderr.includes(`[${code}]`), ran.stderr);
  const json = await marlinHere(['quantize', ...line, '--json']);
  assert.deepEqual([json.code, errorCodeOf(json), json.stderr], [2, code, '']);
  assert.deepEqual(readdirSync(folder), before);
}

describe('a quantized model', () => {
  test('is a model for every other verb', async () => {
    const ran = await marlin(['quantize', source, out, '--method', 'rtn', '--group', '32', '--json']);
    assert.deepEqual([ran.code, ran.stderr], [0, '']);
    const { tensors, totals, seconds, ...rest } = jsonOf(ran);
    assert.ok(Array.isArray(tensors) && tensors.length === 14);
    assert.ok(typeof totals === 'object' && typeof seconds === 'number');
    assert.deepEqual(rest, { method: 'rtn', group: 32, clip: 'none', output: out });
    assert.deepEqual(readdirSync(folder), ['out']);

    const { modules } = jsonOf(await marlinHere(['inspect', out, '--json']));
    assert.ok(Array.isArray(modules));
    assert.equal(modules.filter(({ format }: { format: string }) => format === 'int4 group 32').length, 14);
    const made = jsonOf(await marlinHere(['generate', 'Once', '--model', out, '-n', '4', '--json']));
    assert.deepEqual([made['tokens'], made['model']], [4, out]);
  });

  test('--clip mse loses less than none, and 32 weights a scale less than 96', async () => {
    const lossOf = async (name: string, ...flags: readonly string[]): Promise<number> => {
      const { totals } = jsonOf(await marlinHere(['quantize', source, join(folder, name), ...flags, '--json']));
      return typeof totals === 'object' && totals !== null && 'relativeError' in totals
        ? Number(totals.relativeError)
        : NaN;
    };
    const none = await lossOf('none', '--group', '32');
    assert.ok((await lossOf('mse', '--group', '32', '--clip', 'mse')) < none);
    assert.ok((await lossOf('channel', '--group', 'channel')) > none);
  });

  test('for people: a table, totals, and what to do next', async () => {
    const { code, stdout, stderr } = await marlinHere(['quantize', source, out, '--group', '32']);
    assert.equal(code, 0);
    assert.match(stdout, /^weights +layers +shape +mean error +worst error +size\n─/);
    assert.match(stdout, /\nself_attn\.q_proj\.weight +2 +128 x 64 +\d+\.\d\d % +\d+\.\d\d % +\d+\.\d kB\n/);
    assert.match(stdout, /\n\S+out: .* became .*; 4\.\d+ bits a quantized weight, relative error \d+\.\d\d %\n$/);
    assert.equal(stderr, `Try it: marlin generate "Once upon a time" --model ${JSON.stringify(out)}\n`);
  });
});

describe('nothing is made', () => {
  test('when the model is not there', () => refused('file-not-found', join(folder, 'nothing'), out));
  test('when it is quantized already', () => refused('already-quantized', embeddedModel, out));
  test('when the group does not divide a layer', () => refused('group-invalid', source, out, '--group', '128'));
  test('when the output exists', async () => {
    mkdirSync(out);
    writeFileSync(join(out, 'precious'), '');
    await refused('output-exists', source, out, '--group', '32');
    await refused('output-exists', source, source, '--group', '32');
    assert.deepEqual(readdirSync(out), ['precious']);
  });
  test('when the output is a file', async () => {
    writeFileSync(out, '');
    await refused('output-exists', source, out, '--group', '32');
  });
  test('when the folder around it is missing or a file', async () => {
    await refused('output-unwritable', source, join(folder, 'no', 'such', 'out'), '--group', '32');
    writeFileSync(join(folder, 'file'), '');
    await refused('output-unwritable', source, join(folder, 'file', 'out'), '--group', '32');
  });
  test('when a path is empty', async () => {
    await refused('path-empty', '', out);
    await refused('path-empty', source, '');
  });
  test('when Ctrl-C comes in between', async () => {
    const large = writeSourceModel(root, { hidden_size: 1024, intermediate_size: 1024 });
    const child = spawn(process.execPath, [marlinScript, 'quantize', large, out, '--clip', 'mse', '--group', '128']);
    let said = '';
    child.stdout.on('data', (chunk) => (said += String(chunk)));
    child.stderr.on('data', (chunk) => (said += String(chunk)));
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    while (readdirSync(folder).length === 0) await setTimeout(5);
    assert.ok(!existsSync(out), 'the output has its name only when it is complete');
    child.kill('SIGINT');
    assert.equal(await ended, 130);
    assert.equal(said, 'Stopped.\n');
    assert.deepEqual(readdirSync(folder), []);
  });
});

test('an empty output folder is as good as none', async () => {
  mkdirSync(out);
  assert.equal((await marlinHere(['quantize', source, out, '--group', '32'])).code, 0);
  assert.ok(existsSync(join(out, 'model.safetensors')));
});
