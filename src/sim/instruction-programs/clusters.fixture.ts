// Programs for what CTAs of a cluster do together, beyond loads, stores and copies: meet, and arrive at each other's mbarriers.
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import { u32 } from '../../ptx/values.ts';
import { define, type InstructionProgram, untouched, words } from './define.fixture.ts';

const THREADS = 64;
const CTAS = 4;

/** Each CTA writes into the next one's shared memory and arrives at its mbarrier; at the end all meet only so that none leaves too early. */
const ring = define({
  program: kernel(
    { name: 'cluster_ring', threads: THREADS, cluster: CTAS, target: 'sm_90', params: { x: 'b32*', out: 'b32*' } },
    (k, { x, out }) => {
      const room = k.shared(rows('b32', [1, THREADS]));
      const full = k.mbarriers(1);
      k.if(k.thread.eq(0), () => {
        k.mbarrierInit(full, THREADS);
        k.fenceMBarrierInit();
      });
      k.clusterSync();
      const next = k.clusterRank.add(1).mod(CTAS);
      const at = k.cta.x.mul(THREADS).add(k.thread);
      k.stRemote(k.mapa(room, next).at(k.thread), [k.ldGlobal(x.at(at), 1)[0]!]);
      // The arrival by itself orders within a CTA.
      k.fence('cluster');
      k.mbarrierArriveRemote(k.mapaMBarrier(full, next));
      k.mbarrierWait(full, 0);
      k.fence('cluster');
      k.stGlobal(out.at(at), [k.ldShared(room.at(k.thread.xor(37)), 1)[0]!]);
      k.clusterArrive({ relaxed: true });
      k.clusterWait();
    },
  ),
  grid: [2 * CTAS],
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, 2 * CTAS * THREADS);
    const expected = x.map((_, i) => {
      const [cta, thread] = [Math.floor(i / THREADS), i % THREADS];
      const before = (cta & ~(CTAS - 1)) + ((cta + CTAS - 1) % CTAS);
      return x[before * THREADS + (thread ^ 37)]!;
    });
    return { args: { x, out: untouched(x.length) }, expected: { out: expected } };
  },
});

/** The barrier of the cluster in its two halves, with work between; and places of a rank that is known while the kernel is built. */
const halves = define({
  program: kernel(
    { name: 'cluster_halves', threads: THREADS, cluster: 2, target: 'sm_90', params: { x: 'u32*', out: 'u32*' } },
    (k, { x, out }) => {
      const room = k.shared(rows('u32', [1, THREADS]));
      const at = k.cta.x.mul(THREADS).add(k.thread);
      const value = k.ldGlobal(x.at(at), 1)[0]!;
      k.stShared(room.at(k.thread), [value]);
      k.clusterArrive();
      const own = value.asU32().mul(u32(3));
      k.clusterWait();
      const [first, second] = [0, 1].map((rank) => k.ldRemote(k.mapa(room, rank).at(k.thread), 1)[0]!.asU32());
      k.stGlobal(out.at(at), [own.add(first!).sub(second!).asB32()]);
      k.clusterSync();
    },
  ),
  grid: [2],
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, 2 * THREADS);
    const expected = x.map((v, i) => Math.imul(v, 3) + x[i % THREADS]! - x[THREADS + (i % THREADS)]!);
    return { args: { x, out: untouched(x.length) }, expected: { out: expected } };
  },
});

export const clusterPrograms: readonly InstructionProgram[] = [ring, halves];
