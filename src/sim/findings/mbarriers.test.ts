// Planted mistakes with mbarriers and the bulk copies they count.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import { simulate, type Simulation } from '../simulate.ts';
import { finds, type Planted, right } from './planted.fixture.ts';

const file = import.meta.filename;
const params = { x: 'b32*', y: 'b32*' } as const;
const BYTES = 256;

interface OnceOptions {
  readonly expected?: number;
  readonly bytes?: number;
  /** Words behind x. */
  readonly from?: number;
  readonly made?: number;
  readonly fenced?: boolean;
  readonly expects?: boolean;
  readonly arrivesTwice?: boolean;
  readonly waits?: boolean;
  readonly reads?: boolean;
}

/** y = 64 words of x, through shared memory by one bulk copy; two warps. */
function once(options: OnceOptions = {}) {
  const { expected = BYTES, bytes = BYTES, from = 0, made = 0, fenced = true } = options;
  const { expects = true, arrivesTwice = false, waits = true, reads = true } = options;
  return kernel({ name: 'once', threads: 64, target: 'sm_90', params }, (k, { x, y }) => {
    const [tile, full] = [k.shared(rows('b32', [1, 64])), k.mbarriers(2)];
    k.if(k.thread.eq(0), () => {
      k.mbarrierInit(full.at(made), 1);
      if (fenced) k.fenceMBarrierInit();
    });
    k.barSync();
    k.if(k.thread.eq(0), () => {
      if (expects)
        k.mbarrierArriveExpectTx(full, expected); // planted: the expectation
      else k.mbarrierArrive(full);
      if (arrivesTwice) k.mbarrierArrive(full); // planted: one arrival too many
      k.cpAsyncBulk(tile, x.at(from), bytes, full); // planted: the copy
    });
    if (waits) k.mbarrierWait(full, 0); // planted: the wait
    if (reads) k.stGlobal(y.at(k.thread), [k.ldShared(tile.at(k.thread), 1)[0]!]); // planted: the read
  });
}

const x = Int32Array.from({ length: 512 }, (_, i) => 3 * i + 1);
const runOnce =
  (options?: OnceOptions, y = new Int32Array(64)) =>
  (seed: number): Simulation =>
    simulate(once(options), { grid: [1], args: { x, y }, seed });

test('a bulk copy that is waited for arrives, in any order of warps', () => {
  const y = new Int32Array(64);
  right(runOnce({}, y), () => assert.deepEqual(y, x.subarray(0, 64)));
});

interface Mistake extends Omit<Planted, 'file'> {
  readonly title: string;
  readonly options: OnceOptions;
  readonly says: RegExp;
}

const mistakes: readonly Mistake[] = [
  {
    title: 'reading before the wait',
    options: { waits: false },
    name: 'the read',
    kind: 'unwaited-copy',
    also: ['unwaited-copy', 'uninitialised', 'race'],
    says: /a copy by the mbarrier at shared byte 256 is under way|copied for the mbarrier at shared byte 256/,
  },
  {
    title: 'an arrival that expects no bytes',
    options: { expects: false },
    name: 'the read',
    kind: 'unwaited-copy',
    also: ['unwaited-copy', 'uninitialised', 'race'],
    says: /mbarrier at shared byte 256/,
  },
  {
    title: 'expecting more than comes',
    options: { expected: 512 },
    name: 'the wait',
    kind: 'deadlock',
    says: /mbarrier at shared byte 256, in phase 0 \(parity 0\), which lacks 256 bytes/,
  },
  {
    title: 'expecting more than an mbarrier can count',
    options: { expected: 2 ** 20 },
    name: 'the expectation',
    kind: 'barrier-misuse',
    also: ['deadlock'],
    says: /await 1048576 bytes, of at most 1048575/,
  },
  {
    title: 'expecting less than comes',
    options: { expected: 64 },
    name: 'the wait',
    kind: 'deadlock',
    says: /mbarrier at shared byte 256, .* which lacks an expectation of 192 bytes that came/,
  },
  {
    title: 'one arrival too many',
    options: { arrivesTwice: true },
    name: 'one arrival too many',
    kind: 'barrier-misuse',
    says: /where all 1 of phase 0 have arrived/,
  },
  {
    title: 'waiting at an mbarrier that nobody made',
    options: { made: 1 },
    name: 'the wait',
    kind: 'barrier-misuse',
    also: ['barrier-misuse', 'uninitialised'],
    says: /no mbarrier was made at shared byte 256/,
  },
  {
    title: 'copying for an mbarrier that is not fenced',
    options: { fenced: false },
    name: 'the copy',
    kind: 'missing-proxy-fence',
    says: /not fenced since it was made/,
  },
  {
    title: 'a size that is no multiple of 16',
    options: { bytes: 248 },
    name: 'the copy',
    kind: 'misaligned',
    also: ['deadlock'],
    says: /248, which is no multiple of 16/,
  },
  {
    title: 'an address that is no multiple of 16',
    options: { from: 1 },
    name: 'the copy',
    kind: 'misaligned',
    also: ['deadlock'],
    says: /byte 4, which is no multiple of 16/,
  },
  {
    title: 'leaving a buffer',
    options: { from: 480 },
    name: 'the copy',
    kind: 'out-of-bounds',
    also: ['deadlock'],
    says: /256 bytes at byte 1920 of a buffer of 2048/,
  },
  {
    title: 'a CTA that ends with a copy under way',
    options: { waits: false, reads: false },
    name: 'the copy',
    kind: 'unwaited-copy',
    says: /the CTA ends while a copy for the mbarrier at shared byte 256 is under way/,
  },
];

for (const { title, options, says, ...planted } of mistakes) {
  test(`${title} is found at its line`, () => {
    for (const detail of finds({ file, ...planted }, runOnce(options))) assert.match(detail, says);
  });
}

interface RingOptions {
  /** Waits that a stage was released, not only that its copy before this one came. */
  readonly waitsForEmpty?: boolean;
  readonly flip?: 0 | 1;
}

const TILES = 6;

/** y[i] = sum of x[tile][i] over six tiles, through two stages: a warp that copies, a warp that adds. */
function ring({ waitsForEmpty = true, flip = 0 }: RingOptions = {}) {
  return kernel({ name: 'ring', threads: 64, target: 'sm_90', params }, (k, { x: from, y }) => {
    const stages = k.shared(rows('b32', [1, 64]), 2);
    const [full, empty] = [k.mbarriers(2), k.mbarriers(2)];
    k.if(k.thread.eq(0), () => {
      for (const stage of [0, 1]) {
        k.mbarrierInit(full.at(stage), 1);
        k.mbarrierInit(empty.at(stage), 32);
      }
      k.fenceMBarrierInit();
    });
    k.barSync();
    k.if(k.thread.eq(0), () => {
      for (let i = 0; i < TILES; i++) {
        if (waitsForEmpty) k.mbarrierWait(empty.at(i % 2), (i >> 1) + 1);
        else if (i >= 2) k.mbarrierWait(full.at(i % 2), (i >> 1) + 1);
        k.mbarrierArriveExpectTx(full.at(i % 2), 128);
        k.cpAsyncBulk(stages.at(64 * (i % 2)), from.at(32 * i), 128, full.at(i % 2)); // planted: the refill
      }
    });
    k.if(k.warp.eq(1), () => {
      const total = k.var(k.lane.mul(0));
      for (let i = 0; i < TILES; i++) {
        k.mbarrierWait(full.at(i % 2), (i >> 1) + flip); // planted: the ring's wait
        const [word] = k.ldShared(stages.at(k.lane.add(64 * (i % 2))), 1);
        k.mbarrierArrive(empty.at(i % 2));
        total.set(total.add(word!.asU32()));
      }
      k.stGlobal(y.at(k.lane), [total.asB32()]);
    });
  });
}

const runRing =
  (options?: RingOptions, y = new Int32Array(32)) =>
  (seed: number): Simulation =>
    simulate(ring(options), { grid: [1], args: { x, y }, seed });

test('a ring of two stages hands every tile over', () => {
  const y = new Int32Array(32);
  const sums = y.map((_, i) => Array.from({ length: TILES }, (__, t) => x[32 * t + i]!).reduce((a, b) => a + b));
  right(runRing({}, y), () => assert.deepEqual(y, sums));
});

test('filling a stage that is not released is found at the copy', () => {
  const also = ['unwaited-copy', 'deadlock', 'wrong-parity'] as const;
  const details = finds({ file, name: 'the refill', kind: 'race', also }, runRing({ waitsForEmpty: false }));
  for (const detail of details) assert.match(detail, /read by warp 1 with nothing between/);
});

test('waiting with the wrong parity is found at the wait', () => {
  const also = ['unwaited-copy', 'uninitialised', 'race', 'deadlock', 'barrier-misuse'] as const;
  const details = finds({ file, name: "the ring's wait", kind: 'wrong-parity', also }, runRing({ flip: 1 }));
  for (const detail of details) assert.match(detail, /waits for parity [01] of the mbarrier .*: the phase before/);
});
