// The 4-bit product for few tokens on the simulator: right on random shapes, groups, types and tilings, without findings in any order of warps and
// copies, and the same bits for a token whatever travels with it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../../base/random.ts';
import { describe } from '../../../sim/findings.ts';
import { simulate } from '../../../sim/simulate.ts';
import { simulateExample } from '../../entry.ts';
import { randomCoded } from '../coded.ts';
import { pack } from '../pack.ts';
import { stream } from './kernel.ts';
import { streamGrid, type StreamTiling } from './tiling.ts';
import { oneTokenExample, streamExample } from './entry.ts';

test('any shape, group, type and number of tokens, on any tiling', () => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  const random = new Random(seed);
  for (let run = 0; run < 16; run++) {
    const group = ([32, 64, 128] as const)[random.integer(3)]!;
    const pairs = (['none', 'gates', 'nibbles'] as const)[random.integer(3)]!;
    const coded = {
      rows: pairs !== 'none' ? 16 * (1 + random.integer(6)) : 8 * (1 + random.integer(12)) + random.integer(8),
      columns: group * (1 + random.integer(8)),
      group,
      zeroPoints: random.integer(2) === 0,
    };
    const tokens = random.integer(2) === 0 ? 8 : 16;
    const tiling: StreamTiling = {
      tokens,
      strips: 1 + random.integer(3),
      rowWarps: 1 + random.integer(2),
      depthWarps: 1 + random.integer(4),
      stages: 1 + random.integer(3),
    };
    const m = 1 + random.integer(tokens);
    const type = random.integer(2) === 0 ? 'f16' : 'bf16';
    const { findings, error, bound } = simulateExample(streamExample(coded, tiling, m, type, { pairs }), seed + run);
    const what = JSON.stringify({ coded, tiling, m, type, pairs, seed, run });
    assert.deepEqual(findings.map(describe), [], what);
    assert.ok(error <= bound, `${what}: relative error ${error}`);
  }
});

test('one token, normed or not, of any shape, group and type, on any tiling', () => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  const random = new Random(seed);
  for (let run = 0; run < 16; run++) {
    const group = ([32, 64, 128] as const)[random.integer(3)]!;
    const pairs = (['none', 'gates', 'nibbles'] as const)[random.integer(3)]!;
    const normed = random.integer(2) === 0;
    const coded = {
      rows: pairs !== 'none' ? 16 * (1 + random.integer(6)) : 8 * (1 + random.integer(12)) + random.integer(8),
      columns: group * (1 + random.integer(12)),
      group,
      zeroPoints: random.integer(2) === 0,
    };
    const tiling: StreamTiling = {
      tokens: 1,
      strips: 1 + random.integer(3),
      rowWarps: 1 + random.integer(2),
      depthWarps: 1 + random.integer(4),
      stages: 1 + random.integer(3),
    };
    const type = random.integer(2) === 0 ? 'f16' : 'bf16';
    const example = oneTokenExample(coded, tiling, type, { pairs, normed });
    const { findings, error, bound } = simulateExample(example, seed + run);
    const what = JSON.stringify({ coded, tiling, type, pairs, normed, seed, run });
    assert.deepEqual(findings.map(describe), [], what);
    assert.ok(error <= bound, `${what}: relative error ${error}`);
  }
});

test('no findings in 20 orders of warps and copies', () => {
  const tiling = { tokens: 16, strips: 2, rowWarps: 2, depthWarps: 2, stages: 2 } as const;
  const example = streamExample({ rows: 80, columns: 1024, group: 128 }, tiling, 11, 'f16');
  const one = oneTokenExample(
    { rows: 80, columns: 1024, group: 128 },
    { tokens: 1, strips: 2, rowWarps: 2, depthWarps: 2, stages: 2 },
    'f16',
    { normed: true },
  );
  for (let seed = 0; seed < 20; seed++) {
    for (const each of [example, one]) {
      const { findings, error, bound } = simulateExample(each, seed);
      assert.deepEqual(findings.map(describe), []);
      assert.ok(error <= bound);
    }
  }
});

test('a token has the same bits alone and among others, and adding to y adds', () => {
  const random = new Random(7);
  const [n, k, group] = [48, 512, 128] as const;
  const packed = pack('w', randomCoded(random, { rows: n, columns: k, group }), 'f16');
  const tiling = { tokens: 8, strips: 1, rowWarps: 1, depthWarps: 4, stages: 2 } as const;
  const x = Float16Array.from({ length: 8 * k }, () => random.normal());
  const run = (m: number, first: number, y: Float32Array, output: 'f32' | 'add-f32'): Float32Array => {
    const options = { type: 'f16', scheme: packed.scheme, epilogue: { output, bias: false } } as const;
    const args = {
      x: { data: x.slice(first * k, (first + m) * k), rows: m, columns: k },
      strips: packed.strips,
      factors: packed.factors,
      bias: new Float32Array(0),
      y,
      m,
    };
    const { findings } = simulate(stream({ n, k }, tiling, options), { grid: [streamGrid({ n, k }, tiling)], args });
    assert.deepEqual(findings.map(describe), []);
    return y;
  };
  const together = run(8, 0, new Float32Array(8 * n), 'f32');
  for (const token of [0, 3, 7])
    assert.deepEqual(run(1, token, new Float32Array(n), 'f32'), together.slice(token * n, (token + 1) * n));
  assert.deepEqual(
    run(8, 0, new Float32Array(8 * n).fill(1), 'add-f32'),
    together.map((sum) => Math.fround(1 + sum)),
  );
});
