// The network on the simulated GPU against the float64 reference: long and short prompts, 16 and 4 bits, graphs, drawing, memory.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Random } from '../../base/random.ts';
import { argmax, relativeError } from '../../base/stats.ts';
import { SimulatedDevice } from '../../device/simulated.ts';
import { readModelConfig } from '../../formats/config.ts';
import { quantizeCheckpoint } from '../../quantize/checkpoint.ts';
import { generate } from '../generate.ts';
import { errors } from '../../base/errors.ts';
import { loadModel, openModel, openModelOn } from '../language-model.ts';
import { readReference, referenceLogits } from '../reference-llama.fixture.ts';
import { drawingOf, neutralSampling } from '../sampling.ts';
import type { Sequence } from '../sequence.ts';
import { type TinyConfig, tinyModel, writeModel } from '../tiny-model.fixture.ts';
import { checkMemory, planMemory } from './memory.ts';

/** Of logits, relative to their norm, after any token: activations are rounded to f16 (2^-11 each), 1e-3 measured. */
const LIMIT = 2e-3;

const root = mkdtempSync(join(tmpdir(), 'gpu-'));
after(() => rmSync(root, { recursive: true }));

function tiny(seed: number, config: Partial<TinyConfig> = {}): string {
  const model = tinyModel(seed, config);
  return writeModel(root, model.config, model.tensors);
}

function randomIds(count: number, seed = 1): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => random.integer(61));
}

/** Logits after each token: the first `prompt` read at once, the others one by one. */
function rowsOf(sequence: Sequence, ids: readonly number[], prompt: number): Float32Array[] {
  const scored = prompt === 0 ? [] : [...sequence.score(ids.slice(0, prompt))];
  const width = 61;
  const rows = scored.flatMap((all) =>
    Array.from({ length: all.length / width }, (_, i) => all.slice(i * width, (i + 1) * width)),
  );
  return [...rows, ...ids.slice(prompt).map((id) => sequence.append([id]))];
}

function assertClose(actual: readonly Float32Array[], expected: readonly ArrayLike<number>[]): void {
  assert.equal(actual.length, expected.length);
  for (const [i, row] of actual.entries()) {
    const error = relativeError(row, expected[i]!);
    assert.ok(error <= LIMIT, `relative error ${error} after token ${i}`);
  }
}

describe('logits equal the reference, a prompt at once and then token by token', () => {
  const variants: Readonly<Record<string, Partial<TinyConfig>>> = {
    'f16, grouped queries': {},
    'bf16, the head tied to the embedding': { torch_dtype: 'bfloat16', tie_word_embeddings: true },
    'all biases, one layer': { attention_bias: true, mlp_bias: true, num_hidden_layers: 1 },
    'head dimension 96, sizes that are multiples of 8 only': { hidden_size: 72, intermediate_size: 104, head_dim: 96 },
  };
  for (const [name, config] of Object.entries(variants)) {
    test(name, () => {
      const folder = tiny(7, config);
      const ids = randomIds(13);
      const expected = referenceLogits(readReference(folder), ids);
      using device = new SimulatedDevice();
      using model = openModelOn(device, folder, { context: 40 });
      assertClose(rowsOf(model.newSequence(), ids, 10), expected);
      assertClose(rowsOf(model.newSequence(), ids.slice(0, 3), 0), expected.slice(0, 3));
    });
  }

  test('on a GPU without Hopper', () => {
    const folder = tiny(8, { num_hidden_layers: 1 });
    const ids = randomIds(14);
    using device = new SimulatedDevice({ facts: { arch: 'sm_86', sharedBytesPerBlock: 101_376 } });
    using model = openModelOn(device, folder, { context: 40 });
    assertClose(rowsOf(model.newSequence(), ids, 12), referenceLogits(readReference(folder), ids));
  });

  test('with 4-bit weights, as on the CPU', async () => {
    const folder = join(root, 'w4');
    await quantizeCheckpoint({ input: tiny(9, { hidden_size: 64 }), output: folder, group: 32, clip: 'none' });
    const ids = randomIds(14);
    using device = new SimulatedDevice();
    using model = openModelOn(device, folder, { context: 40 });
    using cpu = openModel(folder, { threads: 1, activationBits: 16, context: 40 });
    assertClose(rowsOf(model.newSequence(), ids, 12), rowsOf(cpu.newSequence(), ids, 12));
  });
});

describe('a sequence', () => {
  const folder = tiny(9);
  const ids = randomIds(14, 2);

  test('truncated and continued, and beside another, is the same as a fresh one, bit for bit', () => {
    using device = new SimulatedDevice();
    using model = openModelOn(device, folder, { context: 40 });
    const [a, b] = [model.newSequence(), model.newSequence()];
    const first = rowsOf(a, ids, 10);
    const second = rowsOf(b, ids.toReversed(), 10);
    a.truncate(10);
    b.truncate(10);
    for (const [i, id] of ids.slice(10).entries()) {
      assert.deepEqual(a.append([id]), first[10 + i]);
      assert.deepEqual(b.append([ids[3 - i]!]), second[10 + i]);
    }
  });

  test('drawn greedily on the device gives the tokens of the CPU', () => {
    using device = new SimulatedDevice();
    using model = openModelOn(device, folder, { context: 40 });
    using cpu = openModel(folder, { threads: 1, context: 40 });
    const options = { prompt: ids.slice(0, 6), maxTokens: 6, context: 40, eosTokenIds: new Set<number>() };
    const drawing = drawingOf({ ...neutralSampling, temperature: 0 }, 0)!;
    const onDevice = [
      ...generate(model.newSequence(), {
        ...options,
        drawing,
        sample: () => assert.fail('the device draws'),
      }),
    ];
    assert.deepEqual(onDevice, [...generate(cpu.newSequence(), { ...options, sample: (logits) => argmax(logits) })]);
  });

  test('drawn at random: the same for a seed, others for others', () => {
    using device = new SimulatedDevice();
    using model = openModelOn(device, folder, { context: 40 });
    const run = (seed: number): number[] => [
      ...generate(model.newSequence(), {
        prompt: ids.slice(0, 3),
        maxTokens: 5,
        context: 40,
        eosTokenIds: new Set(),
        drawing: drawingOf(neutralSampling, seed)!,
        sample: () => assert.fail('the device draws'),
      }),
    ];
    assert.deepEqual(run(1), run(1));
    assert.notDeepEqual(run(1), run(2));
  });
});

describe('memory is planned before it is taken', () => {
  const config = readModelConfig(tiny(1));

  test('a model that does not fit is refused with the context that would', () => {
    const { weights, cachePerPosition } = planMemory(config, 16);
    const free = weights + 400 * 2 ** 20;
    let fits = 0;
    assert.throws(
      () => checkMemory(config, 1e7, 16, free),
      (error: unknown) => {
        assert.ok(error instanceof Error && 'code' in error && 'fix' in error);
        assert.equal(error.code, 'model-too-large');
        fits = Number(/--context (\d+)/.exec(String(error.fix))?.[1]);
        return true;
      },
    );
    checkMemory(config, fits, 16, free);
    assert.throws(() => checkMemory(config, fits + 1, 16, free), { code: 'model-too-large' });
    assert.ok(cachePerPosition > 0);
    assert.throws(() => checkMemory(config, 1, 16, 1000), { code: 'model-too-large', fix: /smaller model/ });
  });

  test('the plan is what is allocated, of 4-bit weights too', async () => {
    const folder = join(root, 'w4-planned');
    const wide = tiny(1, { hidden_size: 128, intermediate_size: 512 });
    await quantizeCheckpoint({ input: wide, output: folder, group: 32, clip: 'none' });
    const [narrow, full] = [folder, wide].map((one) => planMemory(readModelConfig(one), 16).weights);
    // The tables stay: 2 x 61 x 128 numbers.
    assert.ok(narrow! < 0.4 * full!, `${narrow} bytes of ${full}`);
    for (const one of [tiny(1), folder]) checkAllocated(one);
  });

  function checkAllocated(folder: string): void {
    using device = new SimulatedDevice();
    let allocated = 0;
    const allocate = device.allocate.bind(device);
    device.allocate = (bytes, label) => {
      allocated += bytes;
      return allocate(bytes, label);
    };
    using model = openModelOn(device, folder, { context: 300 });
    const { weights, cachePerPosition, activations } = planMemory(model.config, model.stepTokens);
    const planned = weights + 300 * cachePerPosition + activations;
    // Small buffers are part of what is spared besides.
    assert.ok(Math.abs(allocated - planned) < 2 ** 17, `${allocated} bytes, planned ${planned}`);
  }

  test('weights that f16 cannot hold are refused by name', () => {
    const { config: json, tensors } = tinyModel(1, { torch_dtype: 'bfloat16' });
    const spoiled = tensors.map((tensor) => {
      if (!tensor.name.endsWith('layers.1.mlp.down_proj.weight')) return tensor;
      const bytes = tensor.bytes.slice();
      new Uint16Array(bytes.buffer)[100] = 0x4800; // 2^17
      return { ...tensor, bytes };
    });
    using device = new SimulatedDevice();
    assert.throws(() => openModelOn(device, writeModel(root, json, spoiled), { context: 9 }), {
      code: 'weight-overflow',
      message: /layers\.1\.mlp\.down_proj.*row 1, column 4 /,
    });
  });
});

describe('loadModel', () => {
  const folder = tiny(1, { num_hidden_layers: 1 });
  const absent = async (): Promise<never> => await Promise.reject(errors.gpuMissing());

  test('takes a GPU where there is one, and closes it with the model', async () => {
    let closed = 0;
    const device = new SimulatedDevice();
    const close = device[Symbol.dispose].bind(device);
    device[Symbol.dispose] = () => {
      closed++;
      close();
    };
    for (const name of ['auto', 'cuda'] as const) {
      const model = await loadModel(folder, { device: name, context: 20 }, async () => await Promise.resolve(device));
      assert.equal(model.device, 'simulator');
      model[Symbol.dispose]();
    }
    assert.equal(closed, 2);
  });

  test('auto takes the CPU where there is none, or too little room; cuda says why', async () => {
    const small = async (): Promise<SimulatedDevice> =>
      await Promise.resolve(new SimulatedDevice({ facts: { memoryBytes: 2 ** 20 } }));
    for (const [open, code] of [
      [absent, 'gpu-missing'],
      [small, 'model-too-large'],
    ] as const) {
      using model = await loadModel(folder, { threads: 1, context: 20 }, open);
      assert.equal(model.device, 'cpu');
      await assert.rejects(loadModel(folder, { device: 'cuda', context: 20 }, open), { code });
    }
  });
});
