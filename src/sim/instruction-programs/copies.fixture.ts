// Programs for copies that go on while the program does, by groups and in bulk, and for the mbarriers that count them.
import { rows } from '../../ptx/layout.ts';
import { kernel } from '../../ptx/kernel.ts';
import type { MBarrier } from '../../ptx/pointers.ts';
import type { K } from '../../ptx/trace.ts';
import { u32 } from '../../ptx/values.ts';
import { define, type InstructionProgram, untouched, words } from './define.fixture.ts';
import { evictions } from './every-op.fixture.ts';

const THREADS = 64;

/** Copies of 4, 8 and 16 bytes in two groups; the first is read while the second may be under way, by threads that did not begin it. */
const groups = define({
  program: kernel(
    { name: 'copies_by_groups', threads: THREADS, params: { x: 'b32*', out: 'b32*' } },
    (k, { x, out }) => {
      const room = k.shared(rows('b32', [1, 4 * THREADS]), 3);
      const sizes = [4, 8, 16] as const;
      const place = (i: number, bytes: number) => k.thread.mul(bytes / 4).add(i * 4 * THREADS);
      for (const [i, bytes] of sizes.entries()) {
        k.cpAsync(room.at(place(i, bytes)), x.at(place(i, bytes)), bytes);
        if (i !== 1) k.cpAsyncCommit();
      }
      // Groups: the first copy; the second and the third.
      for (const pending of [1, 0]) {
        k.cpAsyncWait(pending);
        k.barSync();
        for (const [i, bytes] of sizes.entries()) {
          if ((i === 0) !== (pending === 1)) continue;
          for (let word = 0; word < bytes / 4; word++) {
            const at = k.thread.xor(33).add(i * 4 * THREADS + word * THREADS);
            k.stGlobal(out.at(at), [k.ldShared(room.at(at), 1)[0]!]);
          }
        }
      }
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, 12 * THREADS);
    const expected = untouched(x.length);
    for (const [i, count] of [1, 2, 4].entries())
      expected.set(x.subarray(i * 4 * THREADS, (i * 4 + count) * THREADS), i * 4 * THREADS);
    return { args: { x, out: untouched(x.length) }, expected: { out: expected } };
  },
});

const WORDS = 256;
const BYTES = 4 * WORDS;

/** One thread makes mbarriers that await one arrival each; all of the CTA, or of the cluster, know of them afterwards. */
export function makeBarriers(k: K, count: number, clustered: boolean): MBarrier {
  const barriers = k.mbarriers(count);
  k.if(k.thread.eq(0), () => {
    for (let i = 0; i < count; i++) k.mbarrierInit(barriers.at(i), 1);
    k.fenceMBarrierInit();
  });
  if (clustered) k.clusterSync();
  else k.barSync();
  return barriers;
}

/** Bulk copies with every policy, two rounds of one mbarrier each, with a prefetch before. */
const bulkLoads = define({
  program: kernel(
    { name: 'bulk_loads', threads: THREADS, target: 'sm_90', params: { x: 'b32*', out: 'b32*' } },
    (k, { x, out }) => {
      const room = k.shared(rows('b32', [1, WORDS]), evictions.length);
      const barrier = makeBarriers(k, 1, false);
      for (const [i, evict] of evictions.entries()) {
        const [to, from] = [room.at(i * WORDS), x.at(i * WORDS)];
        k.if(k.thread.eq(0), () => {
          k.cpAsyncBulkPrefetch(from, BYTES);
          k.mbarrierArriveExpectTx(barrier, BYTES);
          // In two parts, the second with a size that is known at run time only.
          k.cpAsyncBulk(to, from, 64, barrier, evict === undefined ? {} : { evict });
          const rest = k.thread.add(BYTES - 64);
          k.cpAsyncBulk(to.at(16), from.at(16), rest, barrier, evict === undefined ? {} : { evict });
        });
        k.mbarrierWait(barrier, i % 2);
        for (let word = 0; word < WORDS; word += THREADS)
          k.stGlobal(out.at(k.thread.add(i * WORDS + word)), [k.ldShared(to.at(k.thread.add(word)), 1)[0]!]);
        k.barSync();
      }
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, evictions.length * WORDS);
    return { args: { x, out: untouched(x.length) }, expected: { out: x } };
  },
});

/** The same to both CTAs of a cluster: each gives one half of what both get. */
const multicasts = define({
  program: kernel(
    { name: 'bulk_multicasts', threads: THREADS, cluster: 2, target: 'sm_90a', params: { x: 'b32*', out: 'b32*' } },
    (k, { x, out }) => {
      const room = k.shared(rows('b32', [1, WORDS]), evictions.length);
      const barriers = makeBarriers(k, evictions.length, true);
      const half = k.clusterRank.mul(WORDS / 2);
      const both = { multicast: 0b11 };
      k.if(k.thread.eq(0), () => {
        for (const [i, evict] of evictions.entries()) {
          k.mbarrierArriveExpectTx(barriers.at(i), BYTES);
          const [to, from] = [room.at(half.add(i * WORDS)), x.at(half.add(i * WORDS))];
          k.cpAsyncBulk(to, from, BYTES / 2, barriers.at(i), evict === undefined ? both : { ...both, evict });
        }
      });
      const ofCta = k.clusterRank.mul(evictions.length * WORDS);
      for (let i = 0; i < evictions.length; i++) {
        k.mbarrierWait(barriers.at(i), 0);
        for (let word = 0; word < WORDS; word += THREADS) {
          const at = k.thread.add(i * WORDS + word);
          k.stGlobal(out.at(ofCta.add(at)), [k.ldShared(room.at(at), 1)[0]!]);
        }
      }
      k.clusterSync();
    },
  ),
  grid: [2],
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, evictions.length * WORDS);
    return {
      args: { x, out: untouched(2 * x.length) },
      expected: { out: Uint32Array.from([...x, ...x]) },
    };
  },
});

/** Bulk stores in three groups; the shared memory of the first is written again once it has been read. */
const bulkStores = define({
  program: kernel(
    { name: 'bulk_stores', threads: THREADS, target: 'sm_90', params: { x: 'b32*', out: 'b32*' } },
    (k, { x, out }) => {
      const room = k.shared(rows('b32', [1, WORDS]), 2);
      const stage = (from: number, to: number): void => {
        for (let word = 0; word < WORDS; word += THREADS) {
          const at = k.thread.add(word);
          k.stShared(room.at(at.add(to * WORDS)), [k.ldGlobal(x.at(at.add(from * WORDS)), 1)[0]!]);
        }
        k.fenceProxyAsync();
        k.barSync();
      };
      const store = (from: number, to: number): void => {
        k.cpAsyncBulkStore(out.at(to * WORDS), room.at(from * WORDS), BYTES);
        k.cpAsyncBulkCommit();
      };
      stage(0, 0);
      stage(1, 1);
      k.if(k.thread.eq(0), () => {
        store(0, 0);
        store(1, 1);
        k.cpAsyncBulkWait(1, { read: true });
      });
      k.barSync();
      stage(2, 0);
      k.if(k.thread.eq(0), () => {
        store(0, 2);
        k.cpAsyncBulkWait(0, { read: true });
        k.cpAsyncBulkWait(1);
        k.cpAsyncBulkWait(0);
      });
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, 3 * WORDS);
    return { args: { x, out: untouched(x.length) }, expected: { out: x } };
  },
});

const ROUNDS = 5;

/**
 * Warp 0 fills a word a lane, warp 1 empties it, with two mbarriers of 32 arrivals and their parities; before and after each fill one asks whether the phase
 * is over, at times when the answer is known.
 */
const handshake = define({
  program: kernel(
    { name: 'mbarrier_handshake', threads: 64, target: 'sm_90', params: { x: 'u32*', out: 'u32*', known: 'u32*' } },
    (k, { x, out, known }) => {
      const room = k.shared(rows('u32', [1, 32]));
      const barriers = k.mbarriers(3);
      const [full, empty, own] = [barriers, barriers.at(1), barriers.at(2)];
      k.if(k.thread.eq(0), () => {
        for (const [barrier, count] of [[full, 32] as const, [empty, 32] as const, [own, 64] as const])
          k.mbarrierInit(barrier, count);
        k.fenceMBarrierInit();
      });
      k.barSync();
      k.if(
        k.warp.eq(0),
        () =>
          k.loop(0, ROUNDS, 1, (i) => {
            k.mbarrierWait(empty, i.and(1).xor(1));
            k.stShared(room.at(k.lane), [k.ldGlobal(x.at(i.mul(32).add(k.lane)), 1)[0]!]);
            k.mbarrierArrive(full);
          }),
        () =>
          k.loop(0, ROUNDS, 1, (i) => {
            k.mbarrierWait(full, i.and(1));
            k.stGlobal(out.at(i.mul(32).add(k.lane)), [k.ldShared(room.at(k.lane.xor(5)), 1)[0]!]);
            k.mbarrierArrive(empty);
          }),
      );
      const asked = [0, 1].map((parity) => k.mbarrierTestWait(own, parity));
      k.barSync();
      k.mbarrierArrive(own);
      k.barSync();
      asked.push(...[0, 1].map((parity) => k.mbarrierTestWait(own, parity)));
      const answer = asked.reduce((sum, p, i) => sum.or(k.select(p, u32(1 << i), u32(0))), u32(0));
      k.stGlobal(known.at(k.thread), [answer.asB32()]);
    },
  ),
  outputs: ['out', 'known'],
  draw: (random) => {
    const x = words(random, 32 * ROUNDS);
    return {
      args: { x, out: untouched(x.length), known: untouched(64) },
      // In the first phase that of parity 1 counts as over; after it that of parity 0 is.
      expected: { out: x.map((_, i) => x[i ^ 5]!), known: new Uint32Array(64).fill(0b0110) },
    };
  },
});

export const copyPrograms: readonly InstructionProgram[] = [groups, bulkLoads, multicasts, bulkStores, handshake];
