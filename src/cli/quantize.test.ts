import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
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
    assert.deepEqual(rest, {
      method: 'rtn',
      bits: 4,
      group: 32,
      symmetric: true,
      clip: 'none',
      sparsity: null,
      format: 'compressed-tensors',
      output: out,
    });
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

describe('by a calibration text', () => {
  const calib = join(root, 'calib.txt');
  writeFileSync(calib, Array.from({ length: 400 }, (_, i) => `Once there were ${i} sheep on a hill.`).join('\0'));
  const short = ['--calib', calib, '--samples', '4', '--length', '64', '--group', '32'];

  test('gptq: a model for other verbs, with a report and a picture', async () => {
    const plot = join(folder, 'errors.svg');
    const line = ['quantize', source, out, '--method', 'gptq', ...short, '--plot', plot];
    const { code, stdout, stderr } = await marlinHere(line);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /\nself_attn\.q_proj +2 +128 x 64 +\d+\.\d\d % +\d+\.\d\d % +\d+\.\d kB\n/);
    assert.match(stdout, /relative error \d+\.\d\d % of what linears give\n/);
    assert.match(readFileSync(plot, 'utf8'), /^<svg [^]*q_proj/);
    assert.deepEqual(readdirSync(folder).toSorted(), ['errors.svg', 'out']);
    const made = jsonOf(await marlinHere(['generate', 'Once', '--model', out, '-n', '4', '--json']));
    assert.deepEqual([made['tokens'], made['model']], [4, out]);
  });

  test('every recipe says in JSON what it was', async () => {
    for (const [flags, expected] of [
      [['--method', 'gptq', '--asym', '--format', 'gptq'], { symmetric: false, clip: 'gptq', format: 'gptq' }],
      [['--method', 'gptq', '--act-order', '--clip', 'none', '--damp', '0.01'], { clip: 'none', bits: 4 }],
      [['--method', 'sparsegpt', '--sparsity', '2:4'], { sparsity: '2:4', clip: 'none', bits: 4 }],
      [['--method', 'sparsegpt', '--sparsity', '2:4', '--bits', '16'], { sparsity: '2:4', bits: 16 }],
    ] as const) {
      const into = join(folder, flags.join(''));
      const json = jsonOf(await marlinHere(['quantize', source, into, ...flags, ...short, '--threads', '1', '--json']));
      for (const [key, value] of Object.entries(expected)) assert.equal(json[key], value, `${flags.join(' ')}: ${key}`);
      assert.equal(json['continuedAt'], 0);
      assert.ok(Array.isArray(json['tensors']) && json['tensors'].length === 14);
    }
    const pruned = ['quantize', source, out, '--sparsity', '2:4', '--group', '32', '--json'];
    assert.deepEqual(jsonOf(await marlinHere(pruned))['sparsity'], '2:4');
  });

  test('killed in between, it goes on when it is run again', async () => {
    const line = ['quantize', source, out, '--method', 'gptq', ...short, '--samples', '60'];
    const child = spawn(process.execPath, [marlinScript, ...line]);
    const ended = new Promise((resolve) => child.on('close', resolve));
    while (!existsSync(join(`${out}.work`, 'hidden-00001.bin'))) await setTimeout(5);
    child.kill('SIGKILL');
    await ended;
    assert.ok(!existsSync(out));
    const again = jsonOf(await marlinHere([...line, '--resume', '--json']));
    assert.equal(again['continuedAt'], 1);
    assert.deepEqual(readdirSync(folder), ['out']);
  });

  test('flags that mean nothing together, and too long windows, are refused', async () => {
    const gptq = [source, out, '--method', 'gptq', ...short];
    const sparse = [source, out, '--method', 'sparsegpt', ...short];
    await refused('command-invalid', source, out, '--method', 'gptq');
    await refused('command-invalid', source, out, '--calib', calib);
    await refused('command-invalid', source, out, '--threads', '2');
    await refused('command-invalid', source, out, '--clip', 'gptq');
    await refused('command-invalid', source, out, '--bits', '16');
    await refused('command-invalid', source, out, '--sym', '--asym');
    await refused('command-invalid', ...gptq, '--sparsity', '2:4');
    await refused('command-invalid', ...gptq, '--bits', '16');
    await refused('command-invalid', ...sparse);
    await refused('command-invalid', ...sparse, '--sparsity', '2:4', '--act-order');
    await refused('command-invalid', ...sparse, '--sparsity', '2:4', '--bits', '16', '--asym');
    await refused('nothing-to-resume', ...gptq, '--resume');
    await refused('flag-invalid', ...gptq, '--length', '1000');
    await refused('eval-text-short', ...gptq, '--calib', join(source, 'config.json'), '--length', '512');
    await refused('file-not-found', ...gptq, '--calib', join(folder, 'nothing.txt'));
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
