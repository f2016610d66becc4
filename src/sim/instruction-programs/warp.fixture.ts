// Programs for what lanes of a warp tell each other, for who a thread is, and for the barriers of a CTA.
import type { Random } from '../../base/random.ts';
import { rows } from '../../ptx/layout.ts';
import * as sync from '../../ptx/isa/sync.ts';
import * as warp from '../../ptx/isa/warp.ts';
import { kernel } from '../../ptx/kernel.ts';
import { B32, f32, Pred } from '../../ptx/values.ts';
import { define, emit, type InstructionProgram, untouched, wordOf, words } from './define.fixture.ts';
import { folds } from './every-op.fixture.ts';

const THREADS = 64;
const modes = ['idx', 'bfly', 'up', 'down'] as const;

/** Where a lane's value comes from (PTX ISA 9.7.9.6, the whole warp as one segment). */
function sourceOf(mode: warp.ShuffleMode, lane: number, by: number): number {
  const distance = by & 31;
  const source = { idx: distance, bfly: lane ^ distance, up: lane - distance, down: lane + distance }[mode];
  return source < 0 || source > 31 ? lane : source;
}

const constantDistances = [0, 1, 16, 31];

/** Each mode by a distance of each lane's own, and by constants. */
const shuffles = define({
  program: kernel(
    { name: 'shuffles', threads: THREADS, params: { x: 'b32*', by: 'b32*', out: 'b32*' } },
    (k, { x, by, out }) => {
      const value = k.ldGlobal(x.at(k.thread), 1)[0]!;
      const distance = k.ldGlobal(by.at(k.thread), 1)[0]!;
      const distances = [distance, ...constantDistances.map((n) => new B32({ bits: n }, null))];
      for (const [i, mode] of modes.entries()) {
        for (const [j, n] of distances.entries()) {
          const [taken] = emit(x, warp.shuffle[mode], [value, n]);
          k.stGlobal(out.at(k.thread.add((i * distances.length + j) * THREADS)), [wordOf(x, taken!)]);
        }
      }
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const [x, by] = [words(random, THREADS), Uint32Array.from({ length: THREADS }, () => random.integer(40))];
    const expected = modes.flatMap((mode) =>
      [null, ...constantDistances].flatMap((n) =>
        [...x].map((_, t) => x[(t & ~31) + sourceOf(mode, t & 31, n ?? by[t]!)]!),
      ),
    );
    return {
      args: { x, by, out: untouched(expected.length) },
      expected: { out: Uint32Array.from(expected) },
    };
  },
});

const CASES = 8;
/** All, none, one, all but one, and random lanes. */
function masks(random: Random): readonly number[] {
  const one = (): number => 1 << random.integer(32);
  return [0, -1, one(), ~one(), random.u32(), random.u32(), one() | one(), ~(one() | one())];
}

const votes = define({
  program: kernel({ name: 'votes', threads: THREADS, params: { x: 'b32*', out: 'b32*' } }, (k, { x, out }) => {
    for (let i = 0; i < CASES; i++) {
      const holds = k
        .ldGlobal(x.at(k.thread.add(i * THREADS)), 1)[0]!
        .asU32()
        .ne(0);
      const as32 = (p: Pred): B32 => k.select(p, new B32({ bits: 1 }, null), new B32({ bits: 0 }, null));
      const results = [as32(k.voteAll(holds)), as32(k.voteAny(holds)), as32(k.voteUni(holds)), k.voteBallot(holds)];
      for (const [j, result] of results.entries())
        k.stGlobal(out.at(k.thread.add((i * results.length + j) * THREADS)), [result]);
    }
  }),
  outputs: ['out'],
  draw: (random) => {
    const cases = Array.from({ length: THREADS / 32 }, () => masks(random));
    const x = Uint32Array.from({ length: CASES * THREADS }, (_, i) => {
      const [c, t] = [Math.floor(i / THREADS), i % THREADS];
      return (cases[t >> 5]![c]! >>> (t & 31)) & 1;
    });
    const expected = Uint32Array.from({ length: 4 * CASES * THREADS }, (_, i) => {
      const mask = cases[(i % THREADS) >> 5]![Math.floor(i / (4 * THREADS))]!;
      const results = [mask === -1 ? 1 : 0, mask === 0 ? 0 : 1, mask === 0 || mask === -1 ? 1 : 0, mask];
      return results[Math.floor(i / THREADS) % 4]!;
    });
    return { args: { x, out: untouched(expected.length) }, expected: { out: expected } };
  },
});

const folded: Readonly<Record<warp.ReduceFunction, (a: bigint, b: bigint) => bigint>> = {
  add: (a, b) => a + b,
  min: (a, b) => (a < b ? a : b),
  max: (a, b) => (a > b ? a : b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
};

const reductions = define({
  program: kernel({ name: 'reductions', threads: THREADS, params: { x: 'b32*', out: 'b32*' } }, (k, { x, out }) => {
    const value = k.ldGlobal(x.at(k.thread), 1)[0]!;
    for (const [i, [f, type]] of folds.entries()) {
      const [result] = emit(x, warp.reduce(f, type), [value]);
      k.stGlobal(out.at(k.thread.add(i * THREADS)), [wordOf(x, result!)]);
    }
  }),
  outputs: ['out'],
  draw: (random) => {
    // Few bits set, so that and and or of 32 of them are not always the same.
    const [sparse, inverted] = [random.integer(2) === 0, random.integer(2) === 0];
    const x = words(random, THREADS).map((w) => {
      const bits = sparse ? w & random.u32() & random.u32() & random.u32() & random.u32() : w;
      return inverted ? ~bits : bits;
    });
    const expected = folds.flatMap(([f, type]) =>
      Array.from(x, (_, t) => {
        const lanes = Array.from(x.subarray(t & ~31, (t & ~31) + 32), (w) => BigInt(type === 's32' ? w | 0 : w));
        return Number(BigInt.asUintN(32, lanes.reduce(folded[f])));
      }),
    );
    return { args: { x, out: untouched(expected.length) }, expected: { out: Uint32Array.from(expected) } };
  },
});

/** Who a thread is, as digits, and the parameters of a launch. */
const who = define({
  program: kernel(
    {
      name: 'who',
      threads: THREADS,
      cluster: 2,
      target: 'sm_90',
      params: { u: 'u32', s: 's32', f: 'f32', out: 'u32*' },
    },
    (k, { u, s, f, out }) => {
      const { x, y, z } = k.cta;
      const grid = k.grid;
      const cta = z.mul(grid.y).add(y).mul(grid.x).add(x);
      const at = out.at(cta.mul(2 * THREADS).add(k.thread));
      const digits = [k.thread, x, y, z, grid.x, grid.y, grid.z, k.clusterRank];
      const who = digits.reduce((sum, digit, i) => (i === 0 ? digit : sum.mul(8).add(digit)));
      k.stGlobal(at, [who.asB32()]);
      k.stGlobal(at.at(THREADS), [u.xor(s.asU32()).xor(f.asB32().asU32()).asB32()]);
    },
  ),
  grid: [4, 3, 2],
  outputs: ['out'],
  draw: (random) => {
    const [u, s, f] = [random.u32(), random.u32() | 0, Math.fround(random.normal())];
    const [bits] = new Uint32Array(Float32Array.of(f).buffer);
    const expected = Uint32Array.from({ length: 24 * 2 * THREADS }, (_, i) => {
      const [cta, half, thread] = [Math.floor(i / (2 * THREADS)), Math.floor(i / THREADS) % 2, i % THREADS];
      const [x, y, z] = [cta % 4, Math.floor(cta / 4) % 3, Math.floor(cta / 12)];
      const digits = [thread, x, y, z, 4, 3, 2, x % 2];
      return half === 0 ? digits.reduce((sum, digit) => sum * 8 + digit) : u ^ s ^ bits!;
    });
    return { args: { u, s, f, out: untouched(expected.length) }, expected: { out: expected } };
  },
});

/** Words handed on: within each warp, between two pairs of warps, among all four, and from two warps to two that wait. */
const barriers = define({
  program: kernel({ name: 'barriers', threads: 128, params: { x: 'b32*', out: 'b32*' } }, (k, { x, out }) => {
    const room = k.shared(rows('b32', [1, 128]), 4);
    const value = k.ldGlobal(x.at(k.thread), 1)[0]!;
    const stage = (i: number) => room.at(k.thread.add(128 * i));
    const take = (i: number, from: number): void =>
      k.stGlobal(out.at(k.thread.add(128 * i)), [k.ldShared(room.at(k.thread.xor(from).add(128 * i)), 1)[0]!]);
    k.stShared(stage(0), [value]);
    k.syncWarp();
    take(0, 31);
    k.stShared(stage(1), [value]);
    k.barSync(15, 128);
    take(1, 127);
    k.stShared(stage(2), [value]);
    k.barSync();
    take(2, 96);
    // Warps 0 and 1 take from each other, at a barrier of their own; warp 2 tells warp 3 at another, without waiting.
    k.if(k.warp.lt(2), () => {
      k.stShared(stage(3), [value]);
      k.barSync(2, 64);
      take(3, 63);
    });
    k.if(k.warp.eq(2), () => {
      k.stShared(stage(3), [value]);
      k.barArrive(1, 64);
    });
    k.if(k.warp.eq(3), () => {
      k.barSync(1, 64);
      k.stGlobal(out.at(k.thread.add(3 * 128)), [k.ldShared(room.at(k.thread.sub(32).add(3 * 128)), 1)[0]!]);
    });
  }),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, 128);
    const from = (flip: number): number[] => [...x].map((_, t) => x[t ^ flip]!);
    const last = [...x].map((_, t) => (t < 64 ? x[t ^ 63]! : t < 96 ? 0xdeadbeef : x[t - 32]!));
    return {
      args: { x, out: untouched(512) },
      expected: { out: Uint32Array.from([...from(31), ...from(127), ...from(96), ...last]) },
    };
  },
});

/** One warpgroup gives registers back, two take them; nothing else may change. And a launch that overlaps with others. */
const registers = define({
  program: kernel(
    { name: 'registers_and_grids', threads: 384, target: 'sm_90a', params: { x: 'f32*', out: 'f32*' } },
    (k, { x, out }) => {
      k.griddepcontrolWait();
      const value = k.ldF32(x.at(k.thread));
      k.if(
        k.warpgroup.eq(0),
        () => {
          k.setmaxnreg('dec', 40);
          k.stF32(out.at(k.thread), value.add(f32(1)));
        },
        () => {
          k.setmaxnreg('inc', 232);
          k.stF32(out.at(k.thread), value.mul(f32(2)));
        },
      );
      k.griddepcontrolLaunchDependents();
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const x = random.fillNormal(new Float32Array(384));
    return {
      args: { x, out: new Float32Array(384) },
      expected: { out: x.map((v, t) => (t < 128 ? v + 1 : v * 2)) },
    };
  },
});

/**
 * Words handed on by a flag in global memory, from one CTA to the next (`gpu`), to the next of a cluster, or from one warp to another: by a release and an
 * acquire, and by relaxed accesses between fences.
 */
function messages(scope: 'cta' | 'cluster' | 'gpu', fenced: boolean): InstructionProgram {
  const ctas = scope === 'cta' ? 1 : 2;
  return define({
    program: kernel(
      {
        name: `messages_${scope}${fenced ? '_fenced' : ''}`,
        threads: scope === 'cta' ? 64 : 32,
        cluster: scope === 'cluster' ? 2 : 1,
        target: scope === 'cluster' ? 'sm_90' : 'sm_80',
        params: { x: 'b32*', box: 'b32*', flag: 'u32*', out: 'b32*' },
      },
      (k, { x, box, flag, out }) => {
        const sends = scope === 'cta' ? k.warp.eq(0) : k.cta.x.eq(0);
        k.if(
          sends,
          () => {
            k.stGlobal(box.at(k.lane), [k.ldGlobal(x.at(k.lane), 1)[0]!]);
            k.syncWarp();
            k.if(k.lane.eq(0), () => {
              if (fenced) {
                emit(x, sync.fence(scope), []);
                k.stRelaxed(flag, 1, scope);
              } else k.stRelease(flag, 1, scope);
            });
          },
          () => {
            k.while(
              () => (fenced ? k.ldRelaxed(flag, scope) : k.ldAcquire(flag, scope)).eq(0),
              () => {},
            );
            if (fenced) k.fence(scope);
            k.stGlobal(out.at(k.lane), [k.ldGlobal(box.at(k.lane), 1)[0]!]);
          },
        );
      },
    ),
    grid: [ctas],
    outputs: ['out'],
    draw: (random) => {
      const x = words(random, 32);
      return {
        args: { x, box: untouched(32), flag: new Uint32Array(1), out: untouched(32) },
        expected: { out: x },
      };
    },
  });
}

export const warpPrograms: readonly InstructionProgram[] = [shuffles, votes, reductions, who, barriers, registers];

export const messagePrograms: readonly InstructionProgram[] = (['cta', 'cluster', 'gpu'] as const).flatMap((scope) =>
  [false, true].map((fenced) => messages(scope, fenced)),
);
