// Tables of what is chosen for a number of tokens and a matrix, and that each other tiling has its reason.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MatrixSize, Scheme } from '../layout.ts';
import { marlinTile } from './kernel.ts';
import { blockCycles, type TileCandidate, tileCandidates, tileMisfits } from './plan.ts';

const H200 = 132;
const scheme: Scheme = { group: 128, zeroPoints: false };

const fastest = (m: number, size: MatrixSize, of: Scheme = scheme): TileCandidate =>
  tileCandidates(m, size, of, H200)[0]!;

test('wide layers keep all k in a CTA, narrow ones share it; stages are long while tokens are few, tiles wide when they are many', () => {
  for (const [k, n, m, tokens, stageK, split, grid] of [
    [4096, 28_672, 16, 16, 256, 1, 132],
    [4096, 28_672, 64, 64, 256, 1, 132],
    [8192, 57_344, 16, 16, 256, 1, 132],
    [4096, 4096, 16, 16, 256, 2, 64],
    [8192, 8192, 16, 16, 256, 2, 128],
    [8192, 8192, 64, 64, 256, 2, 128],
    [8192, 8192, 128, 128, 128, 2, 128],
    [28_672, 8192, 64, 64, 256, 2, 128],
    [8192, 8192, 1024, 256, 128, 1, 132],
    [8192, 57_344, 4096, 256, 128, 1, 132],
    [4096, 4096, 4096, 256, 128, 1, 132],
  ] as const) {
    const { tiling, grid: ctas } = fastest(m, { n, k });
    assert.deepEqual(
      [tiling.tokens, tiling.stageK, tiling.split, ctas],
      [tokens, stageK, split, grid],
      `${m} tokens, ${k} x ${n}`,
    );
  }
});

test('says what limits: memory where tokens are few and scales many, arithmetic where tokens are many', () => {
  assert.equal(fastest(16, { n: 57_344, k: 8192 }, { group: 32, zeroPoints: true }).limit, 'memory');
  assert.equal(fastest(4096, { n: 57_344, k: 8192 }).limit, 'arithmetic');
});

test('more tokens never take fewer cycles, and no more than the products would at a third of the peak', () => {
  const size = { n: 8192, k: 8192 };
  let last = 0;
  for (const m of [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]) {
    const { cycles } = fastest(m, size);
    assert.ok(cycles >= last, `${m} tokens: ${cycles} cycles after ${last}`);
    last = cycles;
  }
  const peak = (4096 * size.n * size.k) / (2048 * 2 * H200);
  assert.ok(last > peak && last < 3 * peak, `${last} cycles, ${peak} at the peak`);
});

test('what cannot run has its reason, and is no candidate', () => {
  const size = { n: 4096, k: 4096 };
  const misfits = tileMisfits(256, size, scheme);
  const kinds = [/registers/, /shared memory/, /in eights/];
  for (const { reason } of misfits)
    assert.ok(
      kinds.some((kind) => kind.test(reason)),
      reason,
    );
  for (const kind of kinds.slice(0, 2)) assert.ok(misfits.some(({ reason }) => kind.test(reason)));
  const texts = (all: readonly { readonly tiling: object }[]): string[] =>
    all.map(({ tiling }) => JSON.stringify(tiling));
  const candidates = texts(tileCandidates(256, size, scheme, H200));
  assert.ok(candidates.length > 0 && texts(misfits).every((text) => !candidates.includes(text)));
});

test('what is chosen can be built, for any format', () => {
  for (const group of [32, 64, 128] as const) {
    for (const zeroPoints of [false, true]) {
      for (const m of [17, 100, 1000]) {
        const format = { type: 'bf16', scheme: { group, zeroPoints } } as const;
        const size = { n: 1000, k: 1024 };
        const { tiling } = fastest(m, size, format.scheme);
        const program = marlinTile({ size, format, tiling, epilogue: { output: 'bf16', bias: false } });
        assert.ok(program.sharedBytes <= 227 * 1024);
      }
    }
  }
});

test('no tiling for rows that no bulk copy can take', () => {
  const size = { n: 100, k: 1024 };
  assert.deepEqual(tileCandidates(16, size, scheme, H200), []);
  assert.match(tileMisfits(16, size, scheme)[0]!.reason, /16 bytes/);
});

test('cycles of a block: a share of its stage while tokens are few, the products alone when they are many', () => {
  const cycles = (tokens: number, stageK: 128 | 256): number => blockCycles({ tokens, warpgroups: 2, stageK });
  assert.ok(cycles(16, 256) < cycles(16, 128) && cycles(16, 128) < cycles(64, 128));
  assert.equal(cycles(256, 256), cycles(256, 128));
  assert.ok(blockCycles({ tokens: 16, warpgroups: 4, stageK: 128 }) < cycles(16, 128));
});
