// What a sequence asks of its network: which tokens at which positions in which steps. The device only writes down what it is told.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Checkpoint } from '../formats/checkpoint.ts';
import { readModelConfig } from '../formats/config.ts';
import { Llama } from './llama.ts';
import type { Ops } from './ops.ts';
import { newSequence, type Sequence } from './sequence.ts';
import { tinyModel, writeModel } from './tiny-model.fixture.ts';
import { Weights } from './weights.ts';

const VOCAB = 61;
const root = mkdtempSync(join(tmpdir(), 'sequence-'));
after(() => rmSync(root, { recursive: true }));
const tiny = tinyModel(1, { num_hidden_layers: 1 });
const folder = writeModel(root, tiny.config, tiny.tensors);

interface FakeKinds {
  /** Its width. */
  readonly activation: number;
  readonly matrix: null;
  readonly vector: null;
  /** Its number. */
  readonly cache: number;
}

interface Step {
  readonly cache: number;
  readonly position: number;
  readonly ids: readonly number[];
}

/** Writes down every step; the logits after a token are its id, in all places. */
class FakeOps implements Ops<FakeKinds> {
  readonly device = 'fake';
  readonly maxTokens: number;
  readonly steps: Step[] = [];
  private caches = 0;
  private ids: readonly number[] = [];
  private first = 0;

  constructor(maxTokens: number) {
    this.maxTokens = maxTokens;
  }

  activation(_tokens: number, width: number): number {
    return width;
  }
  matrix(): null {
    return null;
  }
  vector(): null {
    return null;
  }
  cache(): number {
    return this.caches++;
  }
  step(_ids: Uint32Array, _position: number, _cache: number, body: () => void): void {
    body();
  }
  embed(_table: null, ids: Uint32Array): void {
    this.ids = [...ids];
  }
  rmsNorm(_x: number, _gain: null, _epsilon: number, _y: number, _tokens: number, first = 0): void {
    this.first = first;
  }
  linear(): void {}
  attention(_qkv: number, cache: number, _layer: number, position: number, _y: number, tokens: number): void {
    assert.equal(tokens, this.ids.length);
    this.steps.push({ cache, position, ids: this.ids });
  }
  gatedLinear(): void {}
  read(width: number, tokens: number): Float32Array {
    return Float32Array.from({ length: tokens * width }, (_, i) => this.ids[this.first + Math.floor(i / width)]!);
  }
  [Symbol.dispose](): void {}
}

function open(maxTokens: number, context: number): { ops: FakeOps; network: Llama<FakeKinds>; sequence: Sequence } {
  const ops = new FakeOps(maxTokens);
  const config = readModelConfig(folder);
  using checkpoint = Checkpoint.open(folder);
  const network = new Llama<FakeKinds>(ops, config, new Weights(checkpoint, config), context);
  return { ops, network, sequence: newSequence(network) };
}

/** The tokens that rows of logits come after. */
function tokensOf(logits: Float32Array): number[] {
  assert.equal(logits.length % VOCAB, 0);
  return [...logits].filter((_, i) => i % VOCAB === 0);
}

const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => (from + i) % VOCAB);

describe('append', () => {
  test('reads in steps of the device, at positions that go on, and returns the logits after the last token', () => {
    const { ops, sequence } = open(4, 32);
    assert.deepEqual(
      [...sequence.append(range(10))],
      Array.from({ length: VOCAB }, () => 9),
    );
    assert.deepEqual(tokensOf(sequence.append(Uint32Array.of(20, 21))), [21]);
    assert.deepEqual(ops.steps, [
      { cache: 0, position: 0, ids: [0, 1, 2, 3] },
      { cache: 0, position: 4, ids: [4, 5, 6, 7] },
      { cache: 0, position: 8, ids: [8, 9] },
      { cache: 0, position: 10, ids: [20, 21] },
    ]);
    assert.equal(sequence.length, 12);
  });

  test('fills the context to its last position', () => {
    const { sequence } = open(4, 12);
    sequence.append(range(11));
    assert.deepEqual(tokensOf(sequence.append([5])), [5]);
    assert.equal(sequence.length, 12);
  });
});

describe('score', () => {
  test('gives the logits after every token, over steps and over parts of a step', () => {
    for (const [maxTokens, parts] of [
      [4, [4, 4, 2]],
      [300, [10]],
    ] as const) {
      const { ops, sequence } = open(maxTokens, 32);
      const rows = [...sequence.score(range(10, 7))].map(tokensOf);
      assert.deepEqual(
        rows.map((part) => part.length),
        parts,
      );
      assert.deepEqual(rows.flat(), range(10, 7));
      assert.equal(ops.steps.length, parts.length);
      assert.equal(sequence.length, 10);
    }
    // 128 rows of logits at a time
    const rows = [...open(300, 512).sequence.score(range(400))].map(tokensOf);
    assert.deepEqual(
      rows.map((part) => part.length),
      [128, 128, 44, 100],
    );
    assert.deepEqual(rows.flat(), range(400));
  });

  test('left early, it has read the steps that were begun', () => {
    const { ops, sequence } = open(4, 32);
    for (const rows of sequence.score(range(10))) {
      assert.deepEqual(tokensOf(rows), [0, 1, 2, 3]);
      break;
    }
    assert.equal(sequence.length, 4);
    sequence.append([30]);
    assert.deepEqual(ops.steps.at(-1), { cache: 0, position: 4, ids: [30] });
  });
});

describe('truncate', () => {
  test('goes back, so that what follows takes those positions', () => {
    const { ops, sequence } = open(4, 32);
    sequence.append(range(3));
    sequence.truncate(1);
    assert.equal(sequence.length, 1);
    sequence.append([40]);
    sequence.truncate(0);
    sequence.append([41]);
    assert.deepEqual(ops.steps.slice(1), [
      { cache: 0, position: 1, ids: [40] },
      { cache: 0, position: 0, ids: [41] },
    ]);
  });

  test('to a length beyond its own changes nothing', () => {
    const { sequence } = open(4, 32);
    sequence.append(range(3));
    sequence.truncate(3);
    sequence.truncate(20);
    assert.equal(sequence.length, 3);
  });
});

test('sequences of one network have caches and lengths of their own', () => {
  const { ops, network, sequence } = open(4, 32);
  const other = newSequence(network);
  sequence.append(range(2));
  other.append([9]);
  assert.deepEqual([sequence.length, other.length], [2, 1]);
  assert.deepEqual(ops.steps.at(-1), { cache: 1, position: 0, ids: [9] });
});

describe('refused with nothing read', () => {
  const cases: readonly (readonly [what: string, ids: readonly number[], error: { code: string; message: RegExp }])[] =
    [
      ['no tokens', [], { code: 'prompt-empty', message: /no tokens/ }],
      ['more tokens than are left', range(9), { code: 'context-exceeded', message: /13 tokens.* 12/ }],
      ['a token beyond the vocabulary', [1, VOCAB], { code: 'token-unknown', message: /no token 61.* 61/ }],
      ['a negative token', [-1], { code: 'token-unknown', message: /no token -1/ }],
      ['a token that is no whole number', [1.5], { code: 'token-unknown', message: /no token 1\.5/ }],
      ['a token that is no number', [NaN], { code: 'token-unknown', message: /no token NaN/ }],
    ];
  for (const [what, ids, error] of cases) {
    test(what, () => {
      const { ops, sequence } = open(4, 12);
      sequence.append(range(4));
      assert.throws(() => sequence.append(ids), error);
      assert.throws(() => [...sequence.score(ids)], error);
      assert.deepEqual([sequence.length, ops.steps.length], [4, 1]);
      sequence.append(range(8));
    });
  }
});

test('a disposed sequence leaves its cache to the next one and cannot be used any more', () => {
  const { ops, network, sequence } = open(4, 32);
  sequence.append(range(2));
  sequence[Symbol.dispose]();
  sequence[Symbol.dispose]();
  assert.throws(() => sequence.append([1]), { code: 'internal' });
  newSequence(network).append([9]);
  newSequence(network).append([8]);
  assert.deepEqual(
    ops.steps.map((step) => step.cache),
    [0, 0, 1],
  );
});

test('a length that is none is refused', () => {
  const { sequence } = open(4, 32);
  for (const length of [-1, 0.5, Number.NaN]) assert.throws(() => sequence.truncate(length), { code: 'internal' });
});
