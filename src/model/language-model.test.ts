// Opening a model folder: what is read from it, what options change, and what is refused.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openModel, type OpenModelOptions } from './language-model.ts';
import { type TinyConfig, tinyModel, writeModel } from './tiny-model.fixture.ts';

const root = mkdtempSync(join(tmpdir(), 'language-model-'));
after(() => rmSync(root, { recursive: true }));

function tiny(changes: Partial<TinyConfig> = {}): string {
  const { config, tensors } = tinyModel(1, changes);
  return writeModel(root, config, tensors);
}

const folder = tiny({ eos_token_id: [1, 4] });

describe('an open model', () => {
  test('says what it is; the context is what it was trained for', () => {
    using model = openModel(folder, { threads: 1 });
    assert.deepEqual([model.path, model.device, model.context], [folder, 'cpu', 512]);
    assert.deepEqual([model.config.vocabSize, model.config.layers], [61, 2]);
    assert.deepEqual(model.eosTokenIds, new Set([1, 4]));
    assert.equal(model.defaults.temperature, null);
  });

  test('runs on the CPU when the device is chosen for it', () => {
    for (const device of ['auto', 'cpu'] as const) {
      using model = openModel(folder, { threads: 1, device });
      assert.equal(model.device, 'cpu');
    }
  });

  test('holds as many positions as were asked for', () => {
    for (const context of [1, 33, 512]) {
      using model = openModel(folder, { threads: 1, context });
      assert.equal(model.context, context);
      const sequence = model.newSequence();
      sequence.append(new Uint32Array(context));
      assert.throws(() => sequence.append([0]), { code: 'context-exceeded' });
    }
  });

  test('a shorter context changes no logits', () => {
    using full = openModel(folder, { threads: 1 });
    using short = openModel(folder, { threads: 1, context: 20 });
    const ids = [7, 0, 60, 3, 3];
    assert.deepEqual(short.newSequence().append(ids), full.newSequence().append(ids));
  });

  test('takes sampling defaults and end tokens from generation_config.json first', () => {
    const other = tiny();
    writeFileSync(join(other, 'generation_config.json'), '{"temperature": 0.7, "top_k": 40, "eos_token_id": [5, 6]}');
    using model = openModel(other, { threads: 1 });
    assert.deepEqual([model.defaults.temperature, model.defaults.topK], [0.7, 40]);
    assert.deepEqual(model.eosTokenIds, new Set([5, 6]));
  });

  test('tells of every layer while it loads', () => {
    const seen: [number, number][] = [];
    using model = openModel(folder, { threads: 1, onProgress: (done, total) => seen.push([done, total]) });
    assert.equal(model.config.layers, 2);
    assert.deepEqual(seen, [
      [1, 2],
      [2, 2],
    ]);
  });
});

describe('refused', () => {
  /** Opens the model and makes room for a sequence, as every user does. */
  function open(path: string, options: OpenModelOptions = {}): void {
    using model = openModel(path, { threads: 1, ...options });
    model.newSequence();
  }

  test('a context beyond what the model was trained for', () => {
    assert.throws(() => open(folder, { context: 513 }), { code: 'context-too-long', message: /513 .* 512/ });
  });

  test('a GPU, which this version does not know', () => {
    assert.throws(() => open(folder, { device: 'cuda' }), { code: 'device-unavailable', message: /cuda/ });
  });

  test('an unknown architecture', () => {
    const other = tiny({ model_type: 'gpt_neox' });
    assert.throws(() => open(other), { code: 'architecture-unsupported', message: /"gpt_neox"/ });
  });

  test('a folder that is not there, or holds no weights', () => {
    assert.throws(() => open(join(root, 'nowhere')), { code: 'file-not-found', message: /nowhere/ });
    const empty = writeModel(root, tinyModel(1).config, []);
    rmSync(join(empty, 'model.safetensors'));
    assert.throws(() => open(empty), { code: 'checkpoint-missing' });
  });

  test('a head_dim that is no multiple of 32', () => {
    for (const head_dim of [16, 40, 48])
      assert.throws(() => open(tiny({ head_dim })), {
        code: 'head-dim-unsupported',
        message: new RegExp(`has ${head_dim}`),
      });
  });

  test('sizes that are no multiple of 8, by the first tensor that has them', () => {
    for (const [changes, tensor] of [
      [{ hidden_size: 60 }, 'model.embed_tokens.weight has 60'],
      [{ hidden_size: 68, tie_word_embeddings: true }, 'model.embed_tokens.weight has 68'],
      [{ intermediate_size: 100 }, 'model.layers.0.mlp.down_proj.weight has 100'],
    ] as const) {
      const message = new RegExp(tensor.replaceAll('.', '\\.'));
      assert.throws(() => open(tiny(changes)), { code: 'columns-unsupported', message });
    }
  });
});
