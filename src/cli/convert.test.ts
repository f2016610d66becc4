import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, beforeEach, describe, test } from 'node:test';
import { parseFile } from '../formats/decoder.fixture.ts';
import { embeddedModel } from './flags.ts';
import { errorCodeOf, jsonOf, marlin, marlinHere, temporaryFolder, writeSourceModel } from './run-marlin.fixture.ts';
import { packageVersion } from './version.ts';

const root = temporaryFolder();
const source = writeSourceModel(root);
const quantized = join(root, 'quantized');
before(async () => {
  assert.equal((await marlinHere(['quantize', source, quantized, '--group', '32'])).code, 0);
});
let folder = root;
let out = root;
beforeEach(() => {
  folder = mkdtempSync(join(root, 'test-'));
  out = join(folder, 'out');
});

async function refused(code: string, ...line: readonly string[]): Promise<void> {
  const there = readdirSync(folder);
  const ran = await marlinHere(['convert', ...line]);
  assert.deepEqual([ran.code, ran.stdout], [2, '']);
  assert.ok(ran.stderr.includes(`[${code}]`), ran.stderr);
  const json = await marlinHere(['convert', ...line, '--json']);
  assert.deepEqual([json.code, errorCodeOf(json), json.stderr], [2, code, '']);
  assert.deepEqual(readdirSync(folder), there);
}

describe('a converted model', () => {
  test('is a model for every other verb, and says what it became', async () => {
    const ran = await marlin(['convert', quantized, out, '--format', 'gptq', '--json']);
    assert.deepEqual([ran.code, ran.stderr], [0, '']);
    const { bytesBefore, bytesAfter, seconds, ...rest } = jsonOf(ran);
    for (const number of [bytesBefore, bytesAfter, seconds]) assert.equal(typeof number, 'number');
    const said = { from: 'compressed-tensors', format: 'gptq', group: 32, symmetric: true, activationOrder: false };
    assert.deepEqual(rest, { output: out, ...said, convertedModules: 14, copiedTensors: 6 });
    assert.deepEqual(readdirSync(folder), ['out']);
    assert.ok(readdirSync(out).includes('tokenizer.json'));
    assert.match(readFileSync(join(out, 'quantize_config.json'), 'utf8'), new RegExp(`marlin-ts:${packageVersion()}"`));

    const { modules } = jsonOf(await marlinHere(['inspect', out, '--json']));
    assert.ok(Array.isArray(modules));
    assert.equal(modules.filter(({ format }: { format: string }) => format === 'gptq int4 group 32').length, 14);
    const line = ['generate', 'Once', '-n', '8', '--seed', '1', '--json', '--device', 'cpu', '--model'];
    const [before, later] = [jsonOf(await marlinHere([...line, quantized])), jsonOf(await marlinHere([...line, out]))];
    assert.deepEqual(later['text'], before['text']);
  });

  test('there and back has the same tensors', async () => {
    const [first, second] = [join(folder, 'awq'), join(folder, 'back')];
    assert.equal((await marlinHere(['convert', quantized, first, '--format', 'awq'])).code, 0);
    assert.equal((await marlinHere(['convert', first, second, '--format', 'compressed-tensors'])).code, 0);
    const tensors = (path: string): object => parseFile(join(path, 'model.safetensors'));
    assert.deepEqual(tensors(second), tensors(quantized));
  });

  test('for people: one line', async () => {
    const { code, stdout, stderr } = await marlinHere(['convert', quantized, out, '--format', 'awq']);
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(
      stdout,
      /^\S+out: 14 modules from compressed-tensors to awq \(groups of 32, symmetric\), .* MB became .* MB; codes, zero points and scales are the same\n$/,
    );
  });

  test('the embedded model in every format', async () => {
    for (const format of ['compressed-tensors', 'gptq', 'gptq-v2', 'awq'])
      assert.equal((await marlinHere(['convert', embeddedModel, join(folder, format), '--format', format])).code, 0);
    assert.deepEqual(readdirSync(folder).toSorted(), ['awq', 'compressed-tensors', 'gptq', 'gptq-v2']);
  });
});

describe('nothing is made', () => {
  test('when the model is not there', () => refused('file-not-found', join(folder, 'no'), out, '--format', 'gptq'));
  test('when it is not quantized', () => refused('not-quantized', source, out, '--format', 'gptq'));
  test('when the format is unknown', () => refused('flag-invalid', quantized, out, '--format', 'gguf'));
  test('when no format is named', () => refused('command-invalid', quantized, out));
  test('when a path is empty', () => refused('path-empty', '', out, '--format', 'gptq'));
  test('when the output exists', async () => {
    mkdirSync(out);
    writeFileSync(join(out, 'precious'), '');
    await refused('output-exists', quantized, out, '--format', 'gptq');
    assert.deepEqual(readdirSync(out), ['precious']);
  });
  test('when the folder around it is missing', () =>
    refused('output-unwritable', quantized, join(folder, 'no', 'out'), '--format', 'gptq'));
  test('when the quantization is of a method that is not known', async () => {
    const foreign = join(folder, 'foreign');
    mkdirSync(foreign);
    const text = readFileSync(join(quantized, 'config.json'), 'utf8');
    writeFileSync(
      join(foreign, 'config.json'),
      text.replace('"quant_method": "compressed-tensors"', '"quant_method": "hqq"'),
    );
    await refused('quantization-unsupported', foreign, out, '--format', 'gptq');
  });
});
