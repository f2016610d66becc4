// Barriers of a CTA by name, and accesses of shared memory that meet or do not: halves of words, readers that do not know each other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import { f32, u32 } from '../../ptx/values.ts';
import { simulate, type Simulation } from '../simulate.ts';
import { finds, right } from './planted.fixture.ts';

const file = import.meta.filename;
const params = { y: 'u32*' } as const;
const ROUNDS = 4;

interface Options {
  readonly threads?: number;
  /** The producer waits until a slot was read. */
  readonly waits?: boolean;
  /** The consumer waits until it was filled. */
  readonly awaits?: boolean;
}

/** Warp 0 fills a slot four times and arrives at barrier 1; warp 1 waits there, reads and arrives at barrier 2, where the producer waits. */
function producer({ threads = 64, waits = true, awaits = true }: Options = {}) {
  return kernel({ name: 'named', threads: 64, params }, (k, { y }) => {
    const slot = k.shared(rows('u32', [1, 32]));
    k.if(
      k.warp.eq(0),
      () => {
        for (let round = 0; round < ROUNDS; round++) {
          if (waits && round > 0) k.barSync(2, 64); // planted: the producer's wait
          k.stShared(slot.at(k.lane), [k.lane.add(100 * round).asB32()]);
          k.barArrive(1, threads);
        }
      },
      () => {
        for (let round = 0; round < ROUNDS; round++) {
          if (awaits) k.barSync(1, threads);
          const [word] = k.ldShared(slot.at(k.lane.xor(1)), 1); // planted: the consumer's read
          k.stGlobal(y.at(k.lane.add(32 * round)), [word!]);
          if (waits && round + 1 < ROUNDS) k.barArrive(2, 64);
        }
      },
    );
  });
}

const run =
  (options?: Options, y = new Uint32Array(32 * ROUNDS)) =>
  (seed: number): Simulation =>
    simulate(producer(options), { grid: [1], args: { y }, seed });

test('a producer that arrives and a consumer that waits', () => {
  const y = new Uint32Array(32 * ROUNDS);
  const expected = y.map((_, i) => 100 * (i >> 5) + ((i & 31) ^ 1));
  right(run({}, y), () => assert.deepEqual(y, expected));
});

test('a producer that does not wait for its consumer', () => {
  const also = ['race', 'deadlock'] as const;
  const details = finds({ file, name: "the consumer's read", kind: 'race', also }, run({ waits: false }));
  assert.match(
    details[0]!,
    /lane \d+ of warp 1 reads shared byte \d+, written by lane \d+ of warp 0 with nothing between/,
  );
});

test('a consumer that does not wait for its producer', () => {
  const also = ['race', 'uninitialised', 'deadlock'] as const;
  finds({ file, name: "the consumer's read", kind: 'race', also }, run({ awaits: false }));
});

test('a barrier that expects more threads than come', () => {
  const also = ['deadlock', 'race'] as const;
  const details = finds({ file, name: "the producer's wait", kind: 'deadlock', also }, run({ threads: 96 }));
  assert.match(details[0]!, /warp 1 at bar\.sync 1, 96 \(2 of 3 warps\)/);
});

test('warps that do not agree on how many meet', () => {
  const program = kernel({ name: 'disagree', threads: 96, params }, (k) =>
    k.if(
      k.warp.eq(0),
      () => k.barArrive(1, 64), // planted: two of them
      () => k.barSync(1, 96), // planted: three of them
    ),
  );
  const once = (seed: number): Simulation => simulate(program, { grid: [1], args: { y: new Uint32Array(1) }, seed });
  const also = ['barrier-misuse', 'deadlock'] as const;
  const details = finds({ file, name: 'three of them', kind: 'barrier-misuse', also }, once);
  assert.match(details[0]!, /expects 3 warps at barrier 1, where others expect 2/);
});

/** A transposed matrix is stored element by element: two lanes write the halves of each word. */
const halves = (meets: boolean) =>
  kernel({ name: 'halves', threads: 64, target: 'sm_90', params }, (k, { y }) => {
    const tile = k.shared(rows('b16', [8, 8]));
    k.if(k.warp.eq(0), () => k.stmatrix(tile.at(k.lane.mod(8).mul(8)), [k.lane.asB32()], { transposed: true }));
    if (meets) k.barSync();
    k.if(k.warp.eq(1), () => k.stGlobal(y.at(k.lane), [k.ldShared(tile.at(k.lane.mul(2)), 1)[0]!])); // planted: words
  });

test('halves of a word that two lanes wrote are known together, or not', () => {
  const runHalves =
    (meets: boolean) =>
    (seed: number): Simulation =>
      simulate(halves(meets), { grid: [1], args: { y: new Uint32Array(32) }, seed });
  right(runHalves(true));
  const planted = { file, name: 'words', kind: 'race', also: ['uninitialised', 'race'] } as const;
  for (const detail of finds(planted, runHalves(false))) assert.match(detail, /written by lanes of warp 0/);
});

/** All warps read a word; then, behind a barrier that warp 2 does not come to, warp 0 writes it. */
test('of several readers that do not know each other, the one that is not known is named', () => {
  const program = kernel({ name: 'readers', threads: 96, params }, (k, { y }) => {
    const word = k.shared(rows('u32', [1, 1]));
    k.if(k.thread.eq(0), () => k.stShared(word, [u32(1).asB32()]));
    k.barSync();
    const [value] = k.ldShared(word, 1);
    k.if(k.warp.lt(2), () => {
      k.barSync(1, 64);
      k.if(k.thread.eq(0), () => k.stShared(word, [u32(2).asB32()])); // planted: the write
    });
    k.stGlobal(y.at(k.thread), [value!]);
  });
  const details = finds({ file, name: 'the write', kind: 'race', also: ['race'] }, (seed) =>
    simulate(program, { grid: [1], args: { y: new Uint32Array(96) }, seed }),
  );
  for (const detail of details) assert.match(detail, /read by warp 2 with nothing between/);
});

test('a word of which only a half was written is not defined', () => {
  const program = kernel({ name: 'half', threads: 32, target: 'sm_90', params }, (k, { y }) => {
    const tile = k.shared(rows('b16', [8, 8]));
    k.stmatrix(tile.at(k.lane.mod(8).mul(8)), [k.lane.asB32()]);
    const other = k.shared(rows('u32', [1, 32]));
    k.if(k.lane.lt(8), () => k.redAdd(other.at(k.lane), u32(1))); // planted: adding to nothing
    k.syncWarp();
    k.stGlobal(y.at(k.lane), [k.ldShared(tile.at(k.lane.mul(2)), 1)[0]!]);
  });
  const details = finds({ file, name: 'adding to nothing', kind: 'uninitialised' }, (seed) =>
    simulate(program, { grid: [1], args: { y: new Uint32Array(32) }, seed }),
  );
  assert.match(details[0]!, /lane 0 of warp 0 reads shared byte 128/);
});

test('an access that touches a sector for each lane', () => {
  const program = kernel({ name: 'strided', threads: 32, params: { x: 'f32*' } }, (k, { x }) => {
    k.stF32(x.at(k.lane.mul(8)), f32(1)); // planted: the stride
    k.stF32(x.at(k.lane.mul(4)), f32(1));
  });
  const details = finds({ file, name: 'the stride', kind: 'uncoalesced' }, (seed) =>
    simulate(program, { grid: [1], args: { x: new Float32Array(256) }, seed }),
  );
  assert.match(details[0]!, /32 lanes ask for 128 bytes and touch 32 sectors/);
});
