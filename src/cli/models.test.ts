// What the verbs say about model folders that are broken or of another kind.
import assert from 'node:assert/strict';
import { cpSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import { Checkpoint } from '../formats/checkpoint.ts';
import { errorCodeOf, marlinHere, temporaryFolder, writeSourceModel } from './run-marlin.fixture.ts';

const root = temporaryFolder();
const good = writeSourceModel(root);
const text = join(root, 'text.txt');
writeFileSync(text, 'The fox went home. '.repeat(100));
const folder = join(root, 'model');
const weights = join(folder, 'model.safetensors');
beforeEach(() => {
  rmSync(folder, { recursive: true, force: true });
  cpSync(good, folder, { recursive: true });
});

/** Every way to open a model. */
function lines(model: string): string[][] {
  return [
    ['generate', 'Once', '--model', model, '-n', '1'],
    ['chat', '--model', model],
    ['eval', '--text', text, '--model', model, '--context', '64', '--windows', '1'],
    ['quantize', model, join(root, 'out'), '--group', '32'],
    ['inspect', model],
  ];
}

async function refused(code: string, model: string, ...verbs: readonly string[]): Promise<void> {
  for (const line of lines(model).filter(([verb]) => verbs.length === 0 || verbs.includes(verb!))) {
    const ran = await marlinHere(line);
    assert.deepEqual([ran.code, ran.stdout], [2, ''], `${line[0]}: ${ran.stdout}${ran.stderr}`);
    assert.match(ran.stderr, /^error .*\n {2}fix .+\n$/, line[0]);
    assert.ok(ran.stderr.includes(` [${code}]\n`), `${line[0]}: ${ran.stderr}`);
    const json = await marlinHere([...line, '--json']);
    assert.deepEqual([json.code, json.stderr, errorCodeOf(json)], [2, '', code]);
    assert.equal(statSync(join(root, 'out'), { throwIfNoEntry: false }), undefined);
  }
}

function editConfig(changes: object): void {
  const path = join(folder, 'config.json');
  const config: unknown = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify(Object.assign({}, config, changes)));
}

test('the folder as it is serves every verb', async () => {
  for (const line of lines(folder)) assert.equal((await marlinHere(line)).code, 0, line[0]);
  rmSync(join(root, 'out'), { recursive: true });
});

describe('folders', () => {
  test('missing', () => refused('file-not-found', join(root, 'nothing')));
  test('a file in its place', () => refused('not-a-folder', weights, 'generate', 'chat', 'eval'));
  test('without config.json', () => {
    rmSync(join(folder, 'config.json'));
    return refused('file-not-found', folder);
  });
  test('without weights', () => {
    rmSync(weights);
    return refused('checkpoint-missing', folder);
  });
  test('without a tokenizer', async () => {
    rmSync(join(folder, 'tokenizer.json'));
    await refused('tokenizer-missing', folder, 'generate', 'chat', 'eval');
  });
  test('without a chat template', async () => {
    writeFileSync(join(folder, 'tokenizer_config.json'), '{}');
    await refused('chat-template-missing', folder, 'chat');
  });
});

describe('config.json', () => {
  test('no JSON', () => {
    writeFileSync(join(folder, 'config.json'), '{ "model_type": "lla');
    return refused('json-invalid', folder);
  });
  test('of an unknown architecture', () => {
    editConfig({ model_type: 'mamba' });
    return refused('architecture-unsupported', folder);
  });
  test('with a field missing', () => {
    editConfig({ hidden_size: undefined });
    return refused('json-invalid', folder);
  });
  test('of another model', () => {
    editConfig({ intermediate_size: 192 });
    return refused('tensor-mismatch', folder, 'generate', 'chat', 'eval');
  });
  test('of more layers than there are', () => {
    editConfig({ num_hidden_layers: 3 });
    return refused('tensor-missing', folder, 'generate', 'chat', 'eval', 'quantize');
  });
  test('of another quantization', () => {
    editConfig({ quantization_config: { quant_method: 'gptq', bits: 4 } });
    return refused('quantization-unsupported', folder);
  });
  test('of a smaller vocabulary than the tokenizer has', async () => {
    rmSync(folder, { recursive: true });
    renameSync(writeSourceModel(root, { vocab_size: 100 }), folder);
    await refused('token-unknown', folder, 'generate', 'eval');
  });
});

describe('weights', () => {
  test('cut short', () => {
    truncateSync(weights, statSync(weights).size - 1000);
    return refused('safetensors-truncated', folder);
  });
  test('cut short inside the header', () => {
    truncateSync(weights, 100);
    return refused('safetensors-truncated', folder);
  });
  test('empty', () => {
    writeFileSync(weights, '');
    return refused('safetensors-truncated', folder);
  });
  test('with a damaged header', () => {
    const bytes = readFileSync(weights);
    bytes[9] = 0x7d;
    writeFileSync(weights, bytes);
    return refused('safetensors-invalid', folder);
  });
  test('that are a web page', () => {
    writeFileSync(weights, '<!DOCTYPE html><html>not found</html>');
    return refused('safetensors-invalid', folder);
  });
  test('in shards of which one is missing', () => {
    renameSync(weights, join(folder, 'model-00001-of-00002.safetensors'));
    const weight_map = { 'model.norm.weight': 'model-00002-of-00002.safetensors' };
    writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
    return refused('shard-missing', folder);
  });
  /** Makes all of a tensor NaN. */
  const poison = (tensor: string): void => {
    using checkpoint = Checkpoint.open(folder);
    const { offset, bytes } = checkpoint.info(tensor);
    const file = readFileSync(weights);
    writeFileSync(weights, file.fill(0xff, offset, offset + bytes));
  };
  test('that are no numbers, in a matrix', async () => {
    poison('model.layers.0.mlp.up_proj.weight');
    await refused('weight-not-finite', folder, 'generate', 'eval', 'quantize');
  });
  test('that are no numbers, in a vector', async () => {
    poison('model.norm.weight');
    await refused('logits-not-finite', folder, 'generate');
    await refused('loss-not-finite', folder, 'eval');
  });
});
