// Programs for addresses, loads, stores and prefetches of every width, space, hint and order. What they move they give back unchanged.
import * as memory from '../../ptx/isa/memory.ts';
import { kernel } from '../../ptx/kernel.ts';
import type { Space } from '../../ptx/machine.ts';
import { rows } from '../../ptx/layout.ts';
import { Global } from '../../ptx/pointers.ts';
import { elemBytes, type ElemType } from '../../ptx/program.ts';
import { define, emit, type InstructionProgram, untouched, words } from './define.fixture.ts';
import { hints, scopes, spaces, widths } from './every-op.fixture.ts';

const THREADS = 64;
/** Bytes for one instruction: 16 a thread. */
const SECTION = 16 * THREADS;

const bytesOf: Readonly<Record<memory.WordKind, number>> = { b32: 4, f32: 4, b16: 2, u64: 8 };

/** Copies sections of x to the same places of out, each thread its own bytes, and of narrower accesses only those they move. */
function moved(x: Uint32Array, sections: readonly number[]): Uint32Array {
  const out = new Uint8Array(untouched(x.length).buffer);
  const from = new Uint8Array(x.buffer);
  for (const [i, bytes] of sections.entries())
    out.set(from.subarray(i * SECTION, i * SECTION + bytes * THREADS), i * SECTION);
  return new Uint32Array(out.buffer);
}

const globalLoads = widths.flatMap(([count, kind]) =>
  hints.flatMap((hint) =>
    [false, true].map((readOnly) => ({
      load: memory.load('global', count, kind, { readOnly, hint }),
      store: memory.store('global', count, kind),
      bytes: count * bytesOf[kind],
    })),
  ),
);

const inGlobal = define({
  program: kernel(
    { name: 'loads_and_stores_global', threads: THREADS, params: { x: 'u8*', out: 'u8*' } },
    (k, { x, out }) => {
      for (const [i, { load, store, bytes }] of globalLoads.entries()) {
        const at = k.thread.mul(bytes).add(i * SECTION);
        emit(x, store, [out.at(at), ...emit(x, load, [x.at(at)])]);
      }
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, (globalLoads.length * SECTION) / 4);
    const expected = moved(
      x,
      globalLoads.map(({ bytes }) => bytes),
    );
    return { args: { x, out: untouched(x.length) }, expected: { out: expected } };
  },
});

const widthBytes = widths.map(([count, kind]) => count * bytesOf[kind]);

/** Every width through shared memory, each thread reading what its neighbour wrote. */
const inShared = define({
  program: kernel(
    { name: 'loads_and_stores_shared', threads: THREADS, params: { x: 'u8*', out: 'u8*' } },
    (k, { x, out }) => {
      const room = k.shared(rows('u8', [1, SECTION * widths.length]));
      for (const [i, [count, kind]] of widths.entries()) {
        const [mine, theirs] = [k.thread, k.thread.xor(33)].map((t) => t.mul(widthBytes[i]!).add(i * SECTION));
        emit(x, memory.store('shared', count, kind), [
          room.at(mine!),
          ...emit(x, memory.load('global', count, kind), [x.at(mine!)]),
        ]);
        k.barSync();
        const back = emit(x, memory.load('shared', count, kind), [room.at(theirs!)]);
        emit(x, memory.store('global', count, kind), [out.at(theirs!), ...back]);
      }
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, (widths.length * SECTION) / 4);
    return { args: { x, out: untouched(x.length) }, expected: { out: moved(x, widthBytes) } };
  },
});

/** The same through the shared memory of the other CTA of a cluster of two. */
const inCluster = define({
  program: kernel(
    {
      name: 'loads_and_stores_cluster',
      threads: THREADS,
      cluster: 2,
      target: 'sm_90',
      params: { x: 'u8*', out: 'u8*' },
    },
    (k, { x, out }) => {
      const room = k.shared(rows('u8', [1, SECTION * widths.length]));
      const ofCta = k.clusterRank.mul(SECTION * widths.length);
      const [own, other] = [k.mapa(room, k.clusterRank), k.mapa(room, k.clusterRank.xor(1))];
      k.clusterSync();
      const places = widths.map((_, i) => k.thread.mul(widthBytes[i]!).add(i * SECTION));
      for (const [i, [count, kind]] of widths.entries())
        emit(x, memory.store('cluster', count, kind), [
          (i % 2 === 0 ? own : other).at(places[i]!),
          ...emit(x, memory.load('global', count, kind), [x.at(ofCta.add(places[i]!))]),
        ]);
      k.clusterSync();
      for (const [i, [count, kind]] of widths.entries())
        emit(x, memory.store('global', count, kind), [
          out.at(ofCta.add(places[i]!)),
          ...emit(x, memory.load('cluster', count, kind), [(i % 2 === 0 ? own : other).at(places[i]!)]),
        ]);
      k.clusterSync();
    },
  ),
  grid: [2],
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, (2 * widths.length * SECTION) / 4);
    return { args: { x, out: untouched(x.length) }, expected: { out: moved(x, [...widthBytes, ...widthBytes]) } };
  },
});

/** Places that index times size gives, up to the end of a buffer, for elements of every size. */
const addresses = define({
  program: kernel(
    { name: 'addresses', threads: THREADS, params: { x: 'b32*', places: 'b32*', out: 'b32*' } },
    (k, { x, places, out }) => {
      const place = k.ldGlobal(places.at(k.thread), 1)[0]!.asU32();
      for (const [i, elem] of (['u8', 'f16', 'f32', 'u64'] satisfies ElemType[]).entries()) {
        const view = new Global(elem, x.operand, x.home);
        // A word holds four, two, one or half an element.
        const index = i < 2 ? place.mul(4 >> i) : elemBytes[elem] === 4 ? place : place.shr(1);
        k.stGlobal(out.at(k.thread.add(i * THREADS)), [k.ldGlobal(view.at(index).at(8 / elemBytes[elem]), 1)[0]!]);
      }
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, 128);
    const first = random.integer(60);
    // Neighbours, so that lanes stay coalesced.
    const places = Uint32Array.from({ length: THREADS }, (_, i) => first + i);
    const at = (place: number): number => x[place + 2]!;
    const expected = Uint32Array.from({ length: 4 * THREADS }, (_, i) => {
      const place = places[i % THREADS]!;
      return at(i < 3 * THREADS ? place : place & ~1);
    });
    return { args: { x, places, out: untouched(4 * THREADS) }, expected: { out: expected } };
  },
});

const loadOrders = ['relaxed', 'acquire'] as const;
const storeOrders = ['relaxed', 'release'] as const;
const kinds = ['u32', 'f32'] as const;

/** Ordered accesses of one scope: each thread writes a word of its own and reads it back. */
function ordered(space: Space, scope: (typeof scopes)[number]): InstructionProgram {
  const pairs = loadOrders.flatMap((load, i) =>
    kinds.map((kind) => ({ load: memory.loadOrdered(space, kind, load, scope), kind, order: storeOrders[i]! })),
  );
  const clustered = space === 'cluster' || scope === 'cluster';
  const [ctas, perCta] = [clustered ? 2 : 1, pairs.length * THREADS];
  return define({
    program: kernel(
      {
        name: `ordered_${space}_${scope}`,
        threads: THREADS,
        cluster: ctas,
        target: clustered ? 'sm_90' : 'sm_80',
        params: { x: 'b32*', room: 'b32*', out: 'b32*' },
      },
      (k, { x, room, out }) => {
        const shared = space === 'global' ? null : k.shared(rows('b32', [1, perCta]));
        const ofCta = clustered ? k.clusterRank.mul(perCta) : k.thread.and(0);
        const places = pairs.map((_, i) => k.thread.add(i * THREADS));
        if (clustered) k.clusterSync();
        for (const [i, { load, kind, order }] of pairs.entries()) {
          const at =
            shared === null
              ? room.at(ofCta.add(places[i]!))
              : space === 'shared'
                ? shared.at(places[i]!)
                : k.mapa(shared, k.clusterRank.xor(1)).at(places[i]!);
          const word = k.ldGlobal(x.at(ofCta.add(places[i]!)), 1)[0]!;
          emit(x, memory.storeOrdered(space, kind, order, scope), [at, kind === 'f32' ? word.asF32() : word]);
          const back = emit(x, load, [at]);
          emit(x, memory.store('global', 1, kind === 'f32' ? 'f32' : 'b32'), [out.at(ofCta.add(places[i]!)), ...back]);
        }
        if (clustered) k.clusterSync();
      },
    ),
    grid: [ctas],
    outputs: ['out'],
    draw: (random) => {
      const x = words(random, ctas * perCta);
      return {
        args: { x, room: untouched(x.length), out: untouched(x.length) },
        expected: { out: x },
      };
    },
  });
}

const prefetches = define({
  program: kernel({ name: 'prefetches', threads: 32, params: { x: 'b32*', out: 'b32*' } }, (k, { x, out }) => {
    const at = x.at(k.thread);
    k.prefetch(at, 'L1');
    k.prefetch(at, 'L2');
    k.stGlobal(out.at(k.thread), [k.ldGlobal(at, 1)[0]!]);
  }),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, 32);
    return { args: { x, out: untouched(32) }, expected: { out: x } };
  },
});

export const memoryPrograms: readonly InstructionProgram[] = [
  inGlobal,
  inShared,
  inCluster,
  addresses,
  ...spaces.flatMap((space) => scopes.map((scope) => ordered(space, scope))),
  prefetches,
];
