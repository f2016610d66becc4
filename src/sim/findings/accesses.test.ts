// Planted mistakes with single accesses of memory, cp.async, and instructions of whole warps.
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import type { Params } from '../../ptx/kernel.ts';
import type { K } from '../../ptx/trace.ts';
import { pipelinedSum, tileProduct } from '../programs.fixture.ts';
import { simulate, type Simulation } from '../simulate.ts';
import { finds, type Planted, right } from './planted.fixture.ts';

const file = import.meta.filename;
const words = rows('b32', [1, 64]);
const params = { x: 'b32*' } as const;

/** What 64 threads do to 64 words. */
const run =
  (body: (k: K, args: Params<typeof params>) => void) =>
  (seed: number): Simulation =>
    simulate(kernel({ name: 'planted', threads: 64, params }, body), {
      grid: [1],
      args: { x: new Int32Array(64) },
      seed,
    });

/** The mistake is found; without it there is nothing. */
function both(
  planted: Omit<Planted, 'file'>,
  body: (k: K, args: Params<typeof params>, wrong: boolean) => void,
): string[] {
  right(run((k, args) => body(k, args, false)));
  return finds(
    { file, ...planted },
    run((k, args) => body(k, args, true)),
  );
}

describe('shared memory', () => {
  test('reading what another warp stores', () => {
    const also = ['uninitialised', 'race'] as const;
    const details = both({ name: 'the neighbour', kind: 'race', also }, (k, { x }, wrong) => {
      const tile = k.shared(words);
      k.stShared(tile.at(k.thread), [k.thread.asB32()]);
      if (!wrong) k.barSync();
      const [word] = k.ldShared(tile.at(k.thread.xor(32)), 1); // planted: the neighbour
      k.stGlobal(x.at(k.thread), [word!]);
    });
    assert.match(details[0]!, /lane \d+ of warp \d reads shared byte \d+, written by lane \d+ of warp \d with nothing/);
  });

  test('two warps that store to one word', () => {
    const details = both({ name: 'the same word', kind: 'race' }, (k, { x }, wrong) => {
      const tile = k.shared(words);
      k.stShared(tile.at(wrong ? k.lane : k.thread), [k.lane.asB32()]); // planted: the same word
      k.stGlobal(x.at(k.thread), [k.lane.asB32()]);
    });
    assert.match(details[0]!, /writes shared byte 0, written by warp [01] with nothing between/);
  });

  test('lanes of one warp that did not meet', () => {
    both({ name: 'the other lane', kind: 'race' }, (k, { x }, wrong) => {
      const tile = k.shared(words);
      k.stShared(tile.at(k.thread), [k.lane.asB32()]);
      if (!wrong) k.syncWarp();
      const [word] = k.ldShared(tile.at(k.thread.xor(1)), 1); // planted: the other lane
      k.stGlobal(x.at(k.thread), [word!]);
    });
  });

  test('reading what nobody wrote', () => {
    const details = both({ name: 'nothing', kind: 'uninitialised' }, (k, { x }, wrong) => {
      const tile = k.shared(words);
      k.if(k.thread.lt(wrong ? 60 : 64), () => k.stShared(tile.at(k.thread), [k.lane.asB32()]));
      const [word] = k.ldShared(tile.at(k.thread), 1); // planted: nothing
      k.stGlobal(x.at(k.thread), [word!]);
    });
    assert.match(details[0]!, /lane 28 of warp 1 reads shared byte 240/);
  });

  test('leaving it', () => {
    both({ name: 'behind the end', kind: 'out-of-bounds' }, (k, _, wrong) => {
      k.stShared(k.shared(words).at(k.thread.add(wrong ? 1 : 0)), [k.lane.asB32()]); // planted: behind the end
    });
  });

  test('bank conflicts of a tile that is not swizzled', () => {
    const fixture = fileURLToPath(new URL('../programs.fixture.ts', import.meta.url));
    const args = { A: new Float16Array(1024), B: new Float16Array(512), C: new Float32Array(128) };
    const product =
      (swizzle: boolean) =>
      (seed: number): Simulation =>
        simulate(tileProduct({ swizzle }), { grid: [1], args, seed });
    right(product(true));
    const also = ['bank-conflict'] as const;
    const planted = { file: fixture, name: "the tile's fragment", kind: 'bank-conflict', also } as const;
    assert.match(finds(planted, product(false))[0]!, /8-way, rows of matrix 0/);
  });
});

describe('global memory', () => {
  test('leaving a buffer', () => {
    const details = both({ name: 'behind the buffer', kind: 'out-of-bounds' }, (k, { x }, wrong) => {
      k.stGlobal(x.at(k.thread.add(wrong ? 1 : 0)), [k.lane.asB32()]); // planted: behind the buffer
    });
    assert.match(details[0]!, /lane 31 of warp 1 accesses 4 bytes at byte 256 of a buffer of 256/);
  });

  test('a misaligned vector access', () => {
    const details = both({ name: 'two words', kind: 'misaligned' }, (k, { x }, wrong) => {
      k.ldGlobal(x.at(wrong ? 1 : 2), 2); // planted: two words
    });
    assert.match(details[0]!, /byte 4, which is no multiple of 8/);
  });
});

describe('cp.async', () => {
  const fixture = fileURLToPath(new URL('../programs.fixture.ts', import.meta.url));
  const args = { x: new Float32Array(5 * 128), y: new Float32Array(128) };
  const sum =
    (options: Parameters<typeof pipelinedSum>[1]) =>
    (seed: number): Simulation =>
      simulate(pipelinedSum(5, options), { grid: [1], args, seed });

  test('reading a copy that was not waited for', () => {
    const planted = {
      file: fixture,
      name: "the stage's read",
      kind: 'unwaited-copy',
      also: ['unwaited-copy'],
    } as const;
    for (const detail of finds(planted, sum({ pending: 2 }))) assert.match(detail, /a copy by warp 0 is under way/);
  });

  test('filling a stage that others may still read', () => {
    const also = ['unwaited-copy', 'race'] as const;
    const planted = { file: fixture, name: "the stage's copy", kind: 'race', also } as const;
    for (const detail of finds(planted, sum({ barrier: false }))) assert.match(detail, /read by warp \d with nothing/);
  });
});

describe('whole warps', () => {
  test('an instruction that not all lanes reach', () => {
    const details = both({ name: 'the shuffle', kind: 'divergence' }, (k, { x }, wrong) => {
      const shuffled = (): void => k.stGlobal(x.at(k.thread), [k.shflBfly(k.lane.asB32(), 1)]); // planted: the shuffle
      if (wrong) k.if(k.lane.lt(7), shuffled);
      else shuffled();
    });
    assert.match(details[0]!, /lanes 7\.\.31 are not at shfl\.sync\.bfly\.b32/);
  });

  test('a barrier that one warp never reaches is a deadlock, named and not hung', () => {
    const details = both({ name: 'the barrier', kind: 'deadlock' }, (k, _, wrong) => {
      const meet = (): void => k.barSync(); // planted: the barrier
      if (wrong) k.if(k.warp.eq(0), meet);
      else meet();
    });
    assert.match(details[0]!, /warp 0 at bar\.sync \(1 of 2 warps\); 1 of 2 warps have ended/);
  });
});
