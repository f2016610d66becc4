// Tables of what the Ampere kernel takes for a matrix, a number of tokens and a device.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AmpereCandidate, ampereCandidates, type AmpereDevice, ampereMisfits } from './plan.ts';
import type { MatrixSize, Scheme } from '../layout.ts';
import { mostSharers, sharedBytes, stripesOf } from './tiling.ts';
import { Random } from '../../../base/random.ts';

const A10 = { multiprocessors: 72, sharedBytesPerBlock: 99 * 1024 };
const A100 = { multiprocessors: 108, sharedBytesPerBlock: 163 * 1024 };
const H100 = { multiprocessors: 132, sharedBytesPerBlock: 227 * 1024 };
const G128 = { group: 128, zeroPoints: false } as const;

const cheapest = (size: MatrixSize, scheme: Scheme, m: number, device: AmpereDevice): AmpereCandidate =>
  ampereCandidates(size, scheme, m, device)[0]!;

test('wide tiles for large matrices, narrow ones where stripes would be short; the smallest tile that takes all tokens', () => {
  for (const [device, n, k, m, strips, tokens, ctas] of [
    [A10, 4096, 4096, 1, 16, 8, 72],
    [A10, 28_672, 4096, 16, 16, 16, 72],
    [A10, 8192, 8192, 64, 8, 64, 72],
    [A10, 512, 4096, 7, 4, 8, 72],
    [A100, 8192, 8192, 33, 8, 64, 108],
    [H100, 28_672, 4096, 1, 16, 8, 132],
    [H100, 28_672, 4096, 64, 16, 64, 132],
    [H100, 512, 4096, 16, 4, 16, 132],
  ] as const) {
    const chosen = cheapest({ n, k }, G128, m, device);
    assert.deepEqual(
      { strips: chosen.tiling.strips, tokens: chosen.tiling.tokens, ctas: chosen.ctas },
      { strips, tokens, ctas },
      `${n} x ${k}, ${m} tokens`,
    );
  }
});

test('up to 64 tokens the weights are read once; beyond, token tiles share the multiprocessors', () => {
  for (let m = 1; m <= 64; m++) assert.equal(cheapest({ n: 4096, k: 4096 }, G128, m, H100).tokenTiles, 1);
  const chosen = cheapest({ n: 8192, k: 8192 }, G128, 256, H100);
  assert.deepEqual([chosen.tokenTiles, chosen.ctas], [4, 33]);
});

test('says of each tile that is out of the question why', () => {
  const size = { n: 4096, k: 4096 };
  const misfits = ampereMisfits(size, G128, 20, A10);
  assert.equal(misfits.length + ampereCandidates(size, G128, 20, A10).length, 36);
  const reasonOf = (strips: number, tokens: number, stages: number): string | undefined =>
    misfits.find(({ tiling }) => tiling.strips === strips && tiling.tokens === tokens && tiling.stages === stages)
      ?.reason;
  assert.match(reasonOf(16, 64, 8) ?? '', /^needs \d+ bytes of shared memory, and a CTA has 101376$/);
  assert.equal(reasonOf(4, 64, 4), 'multiplies 64 tokens where 32 are enough');
  assert.equal(reasonOf(4, 8, 4), 'reads the weights 3 times where a tile of 32 tokens reads them once');
  assert.equal(reasonOf(4, 32, 4), undefined);
});

test('what is chosen fits, for any matrix, format and number of tokens; stripes cover every unit once', () => {
  const random = new Random(1);
  for (let run = 0; run < 200; run++) {
    const size = { n: 1 + random.integer(20_000), k: 1 + random.integer(20_000) };
    const scheme = { group: ([32, 64, 128] as const)[random.integer(3)]!, zeroPoints: random.integer(2) === 0 };
    const { tiling, stripes, ctas } = cheapest(size, scheme, 1 + random.integer(300), A10);
    assert.ok(sharedBytes(tiling, scheme) <= A10.sharedBytesPerBlock);
    assert.deepEqual(stripes, stripesOf(size, tiling, ctas));
    assert.ok(stripes.ctas <= ctas && stripes.ctas * stripes.stripe >= stripes.units);
    assert.ok((stripes.ctas - 1) * stripes.stripe < stripes.units);
  }
});

test('CTAs that share a tile, counted by hand', () => {
  // 3 tiles of 3 units in stripes of 2: units 0 1 | 2 3 | 4 5 | 6 7 | 8; tiles 0 1 2, 3 4 5, 6 7 8.
  assert.equal(mostSharers({ tiles: 3, unitsPerTile: 3, units: 9, stripe: 2, ctas: 5 }), 2);
  assert.equal(mostSharers({ tiles: 1, unitsPerTile: 9, units: 9, stripe: 2, ctas: 5 }), 5);
  assert.equal(mostSharers({ tiles: 3, unitsPerTile: 3, units: 9, stripe: 3, ctas: 3 }), 1);
});

test('where shared memory is too little no tile fits', () => {
  const tiny = { multiprocessors: 1, sharedBytesPerBlock: 16 * 1024 };
  assert.deepEqual(ampereCandidates({ n: 16, k: 128 }, G128, 1, tiny), []);
});
