import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { join } from 'node:path';
import { embeddedModel } from './flags.ts';
import { jsonOf, marlin, marlinHere, temporaryFolder, writeSourceModel } from './run-marlin.fixture.ts';

const root = temporaryFolder();
const source = writeSourceModel(root, { attention_bias: true });

describe('a folder', () => {
  test('for people: size, architecture, a row for each kind of module', async () => {
    const { code, stdout, stderr } = await marlin(['inspect', embeddedModel]);
    assert.deepEqual([code, stderr], [0, '']);
    const [size, architecture, blank, header, rule, ...rows] = stdout.trimEnd().split('\n');
    assert.equal(size, `${embeddedModel}: 29.4 M parameters, 21.5 MB in 1 file`);
    assert.match(architecture!, /^llama: 8 layers, hidden 512, .*, context 1024; keys and values 16\.4 kB a token/);
    assert.equal(blank, '');
    assert.match(header!, /^module +count +shape +format +size +kernel$/);
    assert.match(rule!, /^[─ ]+$/);
    assert.equal(rows.length, 11);
    assert.match(rows[2]!, /^model\.layers\.\*\.mlp\.down_proj +8 +512 x 1536 +int4 group 128 +3\.3 MB +w4Vector, /);
    assert.match(rows[10]!, /^model\.norm +1 +512 +F16 +1\.0 kB +-$/);
  });

  test('--json: everything', async () => {
    const ran = await marlinHere(['inspect', source, '--json']);
    assert.deepEqual([ran.code, ran.stderr], [0, '']);
    const { path, architecture, parameters, bytes, kvBytesPerToken, files, modules, tensors } = jsonOf(ran);
    assert.equal(path, source);
    assert.ok(typeof architecture === 'object' && architecture !== null && !('raw' in architecture));
    assert.ok('modelType' in architecture && architecture.modelType === 'llama');
    assert.equal(kvBytesPerToken, 2 * 2 * 2 * 32 * 4);
    assert.ok(Array.isArray(files) && Array.isArray(modules) && Array.isArray(tensors));
    assert.deepEqual(files, [
      { path: join(source, 'model.safetensors'), tensors: tensors.length, metadata: { format: 'pt' } },
    ]);
    const sum = (list: readonly { bytes: number }[]): number => list.reduce((total, item) => total + item.bytes, 0);
    assert.deepEqual([sum(modules), sum(tensors)], [bytes, bytes]);
    const named = (name: string): unknown => modules.find((module: { name: string }) => module.name === name);
    const [kernel] = modules.flatMap(({ kernel: found }: { kernel: string }) => (found === '-' ? [] : [found]));
    // A bias belongs to its module; parameters are weights.
    assert.deepEqual(named('model.layers.1.self_attn.k_proj'), {
      name: 'model.layers.1.self_attn.k_proj',
      shape: [64, 64],
      format: 'F16',
      bytes: 2 * (64 * 64 + 64),
      kernel,
    });
    const layer = 64 * 128 + 2 * 64 * 64 + 128 * 64 + 3 * 64 * 96 + 2 * 64;
    assert.equal(parameters, 8192 * 64 + 2 * layer + 64);
  });
});

test('one file: its tensors, but no architecture and no kernels', async () => {
  const file = join(embeddedModel, 'model.safetensors');
  const { architecture, kvBytesPerToken, modules } = jsonOf(await marlinHere(['inspect', file, '--json']));
  assert.deepEqual([architecture, kvBytesPerToken], [null, null]);
  assert.ok(Array.isArray(modules) && modules.every(({ kernel }: { kernel: string }) => kernel === '-'));
  const { stdout } = await marlinHere(['inspect', file]);
  assert.match(stdout, /^\S+: 29\.4 M parameters, 21\.5 MB in 1 file\n\nmodule /);
});

test('layers are in the order of their numbers', async () => {
  const deep = writeSourceModel(root, { num_hidden_layers: 11, vocab_size: 8 });
  const { modules } = jsonOf(await marlinHere(['inspect', deep, '--json']));
  assert.ok(Array.isArray(modules));
  const layers = modules.flatMap(({ name }: { name: string }) => /layers\.(\d+)/.exec(name)?.[1] ?? []);
  assert.deepEqual(
    [...new Set(layers)],
    Array.from({ length: 11 }, (_, i) => String(i)),
  );
});
