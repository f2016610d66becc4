// What is expected of the streaming product's tilings, by tables.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stream, streamOneToken } from './kernel.ts';
import { streamCandidates } from './plan.ts';

const scheme = { group: 128, zeroPoints: false } as const;
const H100 = 132;

test('for the layers of real models: one turn of well-filled CTAs where rows are few, several CTAs a multiprocessor where they are many', () => {
  for (const [k, n, turns] of [
    [4096, 4096, 1],
    [4096, 6144, 1],
    [8192, 8192, 1],
    [14_336, 4096, 1],
    [8192, 57_344, 6],
  ] as const) {
    const best = streamCandidates({ n, k }, scheme, 1, H100)[0]!;
    const enough = best.grid >= 100 && best.grid <= turns * best.resident * H100;
    assert.ok(enough, `${k} x ${n}: ${JSON.stringify(best)}`);
  }
});

test('each candidate is a program that fits', () => {
  for (const m of [1, 16]) {
    for (const candidate of streamCandidates({ n: 4096, k: 4096 }, scheme, m, H100)) {
      const options = { type: 'f16', scheme, epilogue: { output: 'f16', bias: false } } as const;
      if (candidate.tiling.strips > 2) continue; // building them all takes a while
      const build = candidate.tiling.tokens === 1 ? streamOneToken : stream;
      const { sharedBytes } = build({ n: 4096, k: 4096 }, candidate.tiling, options);
      assert.ok(sharedBytes <= candidate.sharedBytes, JSON.stringify(candidate));
      assert.ok(candidate.resident * sharedBytes <= 227 * 1024);
    }
  }
});

test('there is a tiling for any matrix', () => {
  for (const [n, k] of [
    [1, 8],
    [16, 128],
    [100_000, 64],
    [17, 40_000],
  ] as const)
    assert.ok(streamCandidates({ n, k }, scheme, 3, H100).length > 0);
});
