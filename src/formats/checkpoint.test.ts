import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { Checkpoint } from './checkpoint.ts';
import type { TensorSpec } from './safetensors-writer.ts';
import { SafetensorsWriter } from './safetensors-writer.ts';

const root = mkdtempSync(join(tmpdir(), 'checkpoint-'));
after(() => rmSync(root, { recursive: true }));
let folder = root;
beforeEach(() => {
  folder = mkdtempSync(join(root, 'test-'));
});

function put(fileName: string, tensors: readonly (TensorSpec & { data: ArrayBufferView })[]): string {
  const path = join(folder, fileName);
  using writer = SafetensorsWriter.create(path, tensors);
  for (const { name, data } of tensors) writer.write(name, new Uint8Array(data.buffer));
  writer.commit();
  return path;
}

const bytes = (name: string, ...data: number[]): TensorSpec & { data: Uint8Array } => ({
  name,
  dtype: 'U8',
  shape: [data.length],
  data: Uint8Array.from(data),
});

function putIndex(json: unknown): void {
  writeFileSync(join(folder, 'model.safetensors.index.json'), typeof json === 'string' ? json : JSON.stringify(json));
}

const index = (file: unknown): unknown => ({ weight_map: { a: file } });

describe('opening', () => {
  test('a file, a folder with one file, a folder with shards', () => {
    const file = put('model.safetensors', [bytes('a', 1, 2), bytes('b', 3)]);
    for (const path of [file, folder]) {
      using checkpoint = Checkpoint.open(path);
      assert.equal(checkpoint.path, path);
      assert.deepEqual([...checkpoint.tensors.keys()].toSorted(), ['a', 'b']);
      assert.deepEqual([...checkpoint.read('b')], [3]);
    }
    rmSync(file);
    put('one.safetensors', [bytes('a', 1, 2), bytes('unlisted', 9)]);
    put('two.safetensors', [bytes('__proto__', 3, 4, 5)]);
    putIndex(`{"metadata":{"total_size":5},"weight_map":{"a":"one.safetensors","__proto__":"two.safetensors"}}`);
    using checkpoint = Checkpoint.open(folder);
    assert.equal(checkpoint.files.length, 2);
    assert.deepEqual([...checkpoint.tensors.keys()], ['a', '__proto__']);
    assert.deepEqual([...checkpoint.read('__proto__', new Uint8Array(2), 1)], [4, 5]);
  });

  const cases: readonly [title: string, json: unknown, code: string, message: RegExp][] = [
    ['a shard that is not there', index('gone.safetensors'), 'shard-missing', /gone\.safetensors/],
    [
      'a tensor that its shard does not have',
      { weight_map: { x: 'one.safetensors' } },
      'tensor-missing',
      /one\.safetensors has no tensor x/,
    ],
    ['a way out of the folder', index('../one.safetensors'), 'json-invalid', /weight_map\.a is "\.\.\/one/],
    ['an absolute path', index('/tmp/one.safetensors'), 'json-invalid', /weight_map\.a/],
    ['a path of Windows', index('..\\one.safetensors'), 'json-invalid', /weight_map\.a/],
    ['a drive', index('C:one.safetensors'), 'json-invalid', /weight_map\.a/],
    ['the folder itself', index('..'), 'json-invalid', /weight_map\.a/],
    ['another kind of file', index('one.bin'), 'json-invalid', /weight_map\.a/],
    ['a file that is no name', index(7), 'json-invalid', /weight_map\.a/],
    ['no map', {}, 'json-invalid', /weight_map/],
    ['a map that is a list', { weight_map: [] }, 'json-invalid', /weight_map/],
    ['no JSON', '{', 'json-invalid', /index\.json/],
  ];
  for (const [title, json, code, message] of cases) {
    test(`an index with ${title}`, () => {
      put('one.safetensors', [bytes('a', 1)]);
      putIndex(json);
      assert.throws(() => Checkpoint.open(folder), { code, message });
    });
  }

  test('nothing there', () => {
    assert.throws(() => Checkpoint.open(folder), { code: 'checkpoint-missing' });
    assert.throws(() => Checkpoint.open(join(folder, 'nowhere')), { code: 'file-not-found' });
  });
});

describe('tensors', () => {
  test('floats of three dtypes are decoded', () => {
    put('model.safetensors', [
      { name: 'half', dtype: 'F16', shape: [3], data: Uint16Array.of(0x3c00, 0xc000, 0x7bff) },
      { name: 'brain', dtype: 'BF16', shape: [1, 3], data: Uint16Array.of(0x3f80, 0xc000, 0x7f7f) },
      { name: 'single', dtype: 'F32', shape: [2], data: Float32Array.of(0.1, -3e38) },
      { name: 'integer', dtype: 'I32', shape: [1], data: Int32Array.of(1) },
    ]);
    using checkpoint = Checkpoint.open(folder);
    assert.deepEqual(checkpoint.readFloats('half'), Float32Array.of(1, -2, 65504));
    assert.deepEqual(checkpoint.readFloats('brain'), Float32Array.of(1, -2, 3.3895313892515355e38));
    assert.deepEqual(checkpoint.readFloats('single'), Float32Array.of(0.1, -3e38));
    assert.throws(() => checkpoint.readFloats('integer'), { code: 'tensor-mismatch', message: /integer.*found I32/ });
  });

  test('a name that is not there is answered with the nearest ones', () => {
    put('model.safetensors', [
      bytes('model.norm.weight', 1),
      bytes('model.layers.0.a', 1),
      bytes('model.layers.1.a', 1),
      bytes('x', 1),
    ]);
    using checkpoint = Checkpoint.open(folder);
    assert.throws(() => checkpoint.info('model.layers.0.b'), {
      code: 'tensor-missing',
      message:
        /no tensor model\.layers\.0\.b \(the nearest names are model\.layers\.0\.a, model\.layers\.1\.a, model\.norm\.weight\)\.$/,
    });
    assert.throws(() => checkpoint.read('zebra'), { code: 'tensor-missing', message: /no tensor zebra\.$/ });
  });

  test('after dispose nothing is read', () => {
    put('model.safetensors', [bytes('a', 1)]);
    const checkpoint = Checkpoint.open(folder);
    checkpoint[Symbol.dispose]();
    assert.throws(() => checkpoint.read('a'), { code: 'internal' });
  });
});
