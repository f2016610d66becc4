import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { MarlinError } from '../base/errors.ts';
import { quantizationConfigJson } from './compressed-tensors.ts';
import { parseModelConfig, readGenerationDefaults, readModelConfig, type ModelConfig } from './config.ts';

const folder = mkdtempSync(join(tmpdir(), 'config-'));
after(() => rmSync(folder, { recursive: true }));

const LLAMA: Readonly<Record<string, unknown>> = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  hidden_size: 512,
  intermediate_size: 1536,
  num_hidden_layers: 8,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  vocab_size: 8192,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-5,
  torch_dtype: 'float16',
};

/** The config with `changes`; a field set to undefined is left out. */
function parse(changes: Readonly<Record<string, unknown>> = {}): ModelConfig {
  const entries = Object.entries({ ...LLAMA, ...changes }).filter(([, value]) => value !== undefined);
  return parseModelConfig(Object.fromEntries(entries), 'config.json');
}

function refuses(changes: Readonly<Record<string, unknown>>, code: string, message: RegExp): void {
  assert.throws(
    () => parse(changes),
    (error: unknown) => {
      assert.ok(error instanceof MarlinError);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    },
  );
}

const biases = (changes: Readonly<Record<string, unknown>>): boolean[] => {
  const { attentionBias, outputBias, mlpBias } = parse(changes);
  return [attentionBias, outputBias, mlpBias];
};

const context = (changes: Readonly<Record<string, unknown>>): number => parse(changes).contextLength;

describe('config.json', () => {
  test('a file, with the defaults of what it does not say', () => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(LLAMA));
    assert.deepEqual(readModelConfig(folder), {
      modelType: 'llama',
      hiddenSize: 512,
      intermediateSize: 1536,
      layers: 8,
      heads: 8,
      kvHeads: 4,
      headDim: 64,
      vocabSize: 8192,
      contextLength: 1024,
      rmsNormEps: 1e-5,
      ropeTheta: 10000,
      ropeScaling: null,
      tiedEmbeddings: false,
      attentionBias: false,
      outputBias: false,
      mlpBias: false,
      bosTokenId: null,
      eosTokenIds: [],
      torchDtype: 'float16',
      quantization: null,
      raw: LLAMA,
    });
  });

  test('what is said stands', () => {
    const config = parse({
      head_dim: 128,
      num_key_value_heads: undefined,
      rope_theta: 500000,
      tie_word_embeddings: true,
      bos_token_id: 0,
      eos_token_id: [1, 4],
      torch_dtype: undefined,
      dtype: 'bfloat16',
    });
    assert.equal(config.headDim, 128);
    assert.equal(config.kvHeads, 8);
    assert.equal(config.ropeTheta, 500000);
    assert.equal(config.tiedEmbeddings, true);
    assert.equal(config.bosTokenId, 0);
    assert.deepEqual(config.eosTokenIds, [1, 4]);
    assert.equal(config.torchDtype, 'bfloat16');
    assert.deepEqual(parse({ eos_token_id: 2 }).eosTokenIds, [2]);
    assert.equal(parse({ torch_dtype: undefined }).torchDtype, 'float32');
  });

  test('biases: qwen2 always on q, k and v; llama by flags, then on o too; mistral none', () => {
    assert.deepEqual(biases({ model_type: 'qwen2' }), [true, false, false]);
    assert.deepEqual(biases({ attention_bias: true }), [true, true, false]);
    assert.deepEqual(biases({ mlp_bias: true }), [false, false, true]);
    assert.deepEqual(biases({ model_type: 'mistral', attention_bias: true, mlp_bias: true }), [false, false, false]);
  });

  test('a sliding window that is in use limits the context', () => {
    assert.equal(context({ model_type: 'mistral', sliding_window: 512 }), 512);
    assert.equal(context({ model_type: 'mistral', sliding_window: 4096 }), 1024);
    assert.equal(context({ model_type: 'mistral', sliding_window: null }), 1024);
    assert.equal(context({ model_type: 'qwen2', sliding_window: 512, use_sliding_window: false }), 1024);
    assert.equal(context({ model_type: 'qwen2', sliding_window: 512, use_sliding_window: true }), 512);
    assert.equal(context({ sliding_window: 512 }), 1024);
  });

  test('rope scaling, in the spellings of three generations of transformers', () => {
    const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
    const expected = { type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContextLength: 8192 };
    assert.deepEqual(parse({ rope_scaling: { rope_type: 'llama3', ...llama3 } }).ropeScaling, expected);
    assert.deepEqual(parse({ rope_scaling: { type: 'linear', factor: 2 } }).ropeScaling, { type: 'linear', factor: 2 });
    assert.equal(parse({ rope_scaling: { rope_type: 'default' } }).ropeScaling, null);
    assert.equal(parse({ rope_scaling: null }).ropeScaling, null);
    const five = parse({ rope_parameters: { rope_type: 'llama3', rope_theta: 1e6, ...llama3 } });
    assert.deepEqual([five.ropeScaling, five.ropeTheta], [expected, 1e6]);
    assert.equal(parse({ rope_parameters: { rope_type: 'default', rope_theta: 5e5 }, rope_theta: 1 }).ropeTheta, 5e5);
  });

  test('quantization is read from it', () => {
    const config = parse({ quantization_config: quantizationConfigJson(64, ['lm_head']) });
    assert.equal(config.quantization?.method, 'compressed-tensors');
    assert.equal(config.quantization?.group, 64);
    refuses({ quantization_config: { quant_method: 'hqq' } }, 'quantization-unsupported', /quant_method to "hqq"/);
    refuses({ compression_config: { format: 'int-quantized' } }, 'quantization-unsupported', /quant_method/);
  });

  test('or from a file beside it, where it says nothing', () => {
    const beside = mkdtempSync(join(folder, 'beside-'));
    const write = (name: string, json: object): void => writeFileSync(join(beside, name), JSON.stringify(json));
    write('config.json', LLAMA);
    write('quant_config.json', { zero_point: true, q_group_size: 64, w_bit: 4, version: 'GEMM' });
    assert.deepEqual(
      [readModelConfig(beside).quantization?.method, readModelConfig(beside).quantization?.group],
      ['awq', 64],
    );
    write('quantize_config.json', { bits: 4, group_size: 32, desc_act: false, sym: true });
    assert.deepEqual(
      [readModelConfig(beside).quantization?.method, readModelConfig(beside).quantization?.group],
      ['gptq', 32],
    );
    write('quantize_config.json', { bits: 8, group_size: 32 });
    assert.throws(() => readModelConfig(beside), {
      code: 'quantization-unsupported',
      message: /quantize_config\.json sets bits to 8/,
    });
    write('config.json', { ...LLAMA, quantization_config: quantizationConfigJson(128, []) });
    assert.equal(readModelConfig(beside).quantization?.method, 'compressed-tensors');
  });
});

describe('a config.json that cannot be served is refused by name', () => {
  const cases: readonly [title: string, changes: Readonly<Record<string, unknown>>, code: string, message: RegExp][] = [
    ['architecture', { model_type: 'gpt2' }, 'architecture-unsupported', /config\.json.*"gpt2"/],
    ['no architecture', { model_type: undefined }, 'json-invalid', /model_type/],
    ['activation', { hidden_act: 'gelu' }, 'config-unsupported', /hidden_act to gelu/],
    ['rope kind', { rope_scaling: { rope_type: 'yarn', factor: 4 } }, 'config-unsupported', /yarn/],
    ['rope kind, new spelling', { rope_parameters: { rope_type: 'dynamic' } }, 'config-unsupported', /dynamic/],
    ['rope without its factor', { rope_scaling: { type: 'linear' } }, 'json-invalid', /no factor/],
    [
      'llama3 rope without a factor',
      { rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1 } },
      'json-invalid',
      /high_freq_factor/,
    ],
    [
      'rope on a part of the head',
      { partial_rotary_factor: 0.5 },
      'config-unsupported',
      /partial_rotary_factor to 0\.5/,
    ],
    [
      'rope on a part, new spelling',
      { rope_parameters: { partial_rotary_factor: 0.25 } },
      'config-unsupported',
      /0\.25/,
    ],
    ['dtype', { torch_dtype: 'float8_e4m3fn' }, 'config-unsupported', /float8_e4m3fn/],
    ['a missing size', { vocab_size: undefined }, 'json-invalid', /vocab_size/],
    ['a size of zero', { num_hidden_layers: 0 }, 'json-invalid', /num_hidden_layers/],
    ['a fractional size', { hidden_size: 512.5 }, 'json-invalid', /hidden_size/],
    ['a size as text', { intermediate_size: '1536' }, 'json-invalid', /intermediate_size/],
    ['heads that kv heads do not divide', { num_key_value_heads: 3 }, 'json-invalid', /num_key_value_heads 3/],
    [
      'heads that do not divide the hidden size',
      { num_attention_heads: 12, num_key_value_heads: 4 },
      'json-invalid',
      /num_attention_heads 12/,
    ],
    ['an odd head', { head_dim: 63 }, 'json-invalid', /head_dim 63/],
    ['epsilon', { rms_norm_eps: 0 }, 'json-invalid', /rms_norm_eps/],
    ['a token id below zero', { eos_token_id: [1, -1] }, 'json-invalid', /eos_token_id/],
  ];
  for (const [title, changes, code, message] of cases) test(title, () => refuses(changes, code, message));

  test('files that are not there, not JSON, not an object, not UTF-8', () => {
    const path = join(folder, 'config.json');
    rmSync(path, { force: true });
    assert.throws(() => readModelConfig(folder), { code: 'file-not-found' });
    for (const content of ['', '{"a"', '[]', 'null', Uint8Array.of(0x22, 0xff, 0x22)]) {
      writeFileSync(path, content);
      assert.throws(() => readModelConfig(folder), { code: 'json-invalid' }, String(content));
    }
  });

  test('any one field replaced by anything: read or refused, nothing else', () => {
    const fields = [
      ...Object.keys(LLAMA),
      'head_dim',
      'rope_scaling',
      'rope_parameters',
      'eos_token_id',
      'quantization_config',
    ];
    fc.assert(
      fc.property(fc.constantFrom(...fields), fc.jsonValue(), (field, value) => {
        try {
          parse({ [field]: value });
        } catch (error) {
          assert.ok(error instanceof MarlinError && error.code !== 'internal', String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('generation_config.json', () => {
  const path = join(folder, 'generation_config.json');

  test('what it says', () => {
    const json = { temperature: 0.8, top_k: 40, top_p: 0.95, do_sample: true, eos_token_id: [1, 4], max_length: 1024 };
    writeFileSync(path, JSON.stringify(json));
    const expected = {
      temperature: 0.8,
      topK: 40,
      topP: 0.95,
      minP: null,
      repetitionPenalty: null,
      doSample: true,
      eosTokenIds: [1, 4],
    };
    assert.deepEqual(readGenerationDefaults(folder), expected);
  });

  test('nothing, when it is not there or empty', () => {
    const nothing = {
      temperature: null,
      topK: null,
      topP: null,
      minP: null,
      repetitionPenalty: null,
      doSample: null,
      eosTokenIds: [],
    };
    rmSync(path, { force: true });
    assert.deepEqual(readGenerationDefaults(folder), nothing);
    writeFileSync(path, '{"temperature":null}');
    assert.deepEqual(readGenerationDefaults(folder), nothing);
  });

  test('values that mean nothing are refused', () => {
    for (const json of [
      { temperature: -1 },
      { top_p: 2 },
      { top_k: 1.5 },
      { repetition_penalty: 0 },
      { do_sample: 1 },
    ]) {
      writeFileSync(path, JSON.stringify(json));
      assert.throws(() => readGenerationDefaults(folder), { code: 'json-invalid' }, JSON.stringify(json));
    }
  });
});
