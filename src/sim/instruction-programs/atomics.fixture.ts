// Programs for atomic operations of every function, type, order and scope. Each lane updates a word of its own, whose old value is then known;
// functions whose result does not depend on the order of arrival besides a word that all threads share.
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../../base/f16.ts';
import type { Random } from '../../base/random.ts';
import { rows } from '../../ptx/layout.ts';
import * as sync from '../../ptx/isa/sync.ts';
import { kernel } from '../../ptx/kernel.ts';
import type { Scope, Space } from '../../ptx/machine.ts';
import type { Op } from '../../ptx/op.ts';
import { F32 } from '../../ptx/values.ts';
import { define, emit, type InstructionProgram, untouched, wordOf } from './define.fixture.ts';
import { orders, reductions, scopes, spaces, updates } from './every-op.fixture.ts';

const THREADS = 64;
/** A word for each thread, and one for all of them. */
const CELLS = THREADS + 1;

interface Trial {
  readonly op: Op;
  readonly f: sync.AtomicFunction | 'cas';
  readonly type: sync.AtomicType;
}

/** Whether many threads may update one word, with one outcome: integers in any order; floats are given whole numbers, whose sums are exact. */
const isShared = ({ f }: Trial): boolean => f !== 'exch' && f !== 'cas';

function trials(space: Space, scope: Scope, types: readonly sync.AtomicType[]): readonly Trial[] {
  const wanted = <T extends readonly [sync.AtomicFunction, sync.AtomicType]>(all: readonly T[]): readonly T[] =>
    all.filter(([f, type]) => types.includes(type) && sync.isAtomic(space, f, type));
  return [
    ...orders.flatMap((order) =>
      wanted(updates).map(([f, type]) => ({ op: sync.atom(space, f, type, order, scope), f, type })),
    ),
    ...(['relaxed', 'release'] as const).flatMap((order) =>
      wanted(reductions).map(([f, type]) => ({ op: sync.red(space, f, type, order, scope), f, type })),
    ),
    ...(types.includes('u32')
      ? orders.map((order) => ({ op: sync.atomCas(space, order, scope), f: 'cas' as const, type: 'u32' as const }))
      : []),
  ];
}

// ---- what they do, in plain JavaScript

const word = new DataView(new ArrayBuffer(4));
function f32Of(bits: number): number {
  word.setUint32(0, bits);
  return word.getFloat32(0);
}
function bitsOf(x: number): number {
  word.setFloat32(0, x);
  return word.getUint32(0);
}

interface Half {
  readonly of: (bits: number) => number;
  readonly bits: (x: number) => number;
}
const half: Readonly<Record<'f16x2' | 'bf16x2', Half>> = {
  f16x2: { of: f16ToNumber, bits: numberToF16 },
  bf16x2: { of: bf16ToNumber, bits: numberToBf16 },
};

/** Global memory adds f32 without subnormals: what is one counts as a zero of its sign. */
const kept = (space: Space, x: number): number => (space === 'global' && Math.abs(x) < 2 ** -126 ? x * 0 : x);

function added(space: Space, type: sync.AtomicType, a: number, b: number): number {
  if (type === 'u32' || type === 's32') return (a + b) >>> 0;
  if (type === 'f32') return bitsOf(kept(space, Math.fround(kept(space, f32Of(a)) + kept(space, f32Of(b)))));
  const { of, bits } = half[type];
  const part = (shift: number): number => bits(of((a >>> shift) & 0xffff) + of((b >>> shift) & 0xffff)) << shift;
  return (part(0) | part(16)) >>> 0;
}

type Update = (old: number, value: number, expected: number) => number;
const updatesOf: Readonly<Record<Exclude<Trial['f'], 'add'>, Update>> = {
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  exch: (_, b) => b,
  cas: (a, b, expected) => (a === expected ? b : a),
};

function updated(space: Space, { f, type }: Trial, old: number, value: number, expected: number): number {
  if (f === 'add') return added(space, type, old, value);
  const [a, b] = type === 's32' ? [old | 0, value | 0] : [old, value];
  return updatesOf[f](a, b, expected) >>> 0;
}

/** A word of a type: any integer; floats that are finite, for an own word of any size, for a shared one whole numbers whose sums are exact. */
function drawn(random: Random, type: sync.AtomicType, shared: boolean): number {
  if (type === 'u32' || type === 's32') return random.integer(4) === 0 ? random.integer(3) : random.u32();
  const whole = random.integer(5) - 2;
  if (type === 'f32')
    return bitsOf(shared ? whole : random.normal() * 10 ** (random.integer(4) === 0 ? -38 : random.integer(40) - 20));
  const { bits } = half[type];
  const number = (): number => (shared ? random.integer(3) - 1 : random.normal() * 2 ** (random.integer(20) - 14));
  return (bits(number()) | (bits(number()) << 16)) >>> 0;
}

// ---- the programs

function atomics(name: string, space: Space, tried: readonly Trial[]): InstructionProgram {
  const ctas = space === 'cluster' ? 2 : 1;
  const perCta = tried.length * CELLS;
  const needsHopper = tried.some(({ op }) => op.needs !== 'sm_80');
  return define({
    program: kernel(
      {
        name,
        threads: THREADS,
        cluster: ctas,
        target: needsHopper ? 'sm_90' : 'sm_80',
        params: { cells: 'u32*', values: 'u32*', shared: 'u32*', expected: 'u32*', old: 'u32*' },
      },
      (k, { cells, values, shared, expected, old }) => {
        const rank = ctas === 1 ? k.thread.and(0) : k.clusterRank;
        const [ofCells, ofThreads] = [rank.mul(perCta), rank.mul(tried.length * THREADS)];
        const room = space === 'global' ? null : k.shared(rows('u32', [1, perCta]));
        const meet = (): void => (ctas === 2 ? k.clusterSync() : k.barSync());
        if (room !== null) {
          k.loop(k.thread, perCta, THREADS, (i) =>
            k.stShared(room.at(i), [k.ldGlobal(cells.at(ofCells.add(i)), 1)[0]!]),
          );
          meet();
        }
        const base = room === null ? cells : space === 'cluster' ? k.mapa(room, rank.xor(1)) : room;
        for (const [i, trial] of tried.entries()) {
          const { op, f, type } = trial;
          const at = ofThreads.add(k.thread).add(i * THREADS);
          const typed = (from: typeof values) => {
            const [loaded] = k.ldGlobal(from.at(at), 1);
            return type === 'f32' ? loaded!.asF32() : loaded!;
          };
          const sources = f === 'cas' ? [typed(expected), typed(values)] : [typed(values)];
          const [before] = emit(cells, op, [base.at(k.thread.add(i * CELLS)), ...sources]);
          if (before !== undefined) {
            const bits = type === 'f32' ? new F32(before, cells.home).asB32() : wordOf(cells, before);
            k.stGlobal(old.at(at), [bits]);
          }
          if (isShared(trial)) emit(cells, op, [base.at(i * CELLS + THREADS), typed(shared)]);
        }
        if (room !== null) {
          meet();
          k.loop(k.thread, perCta, THREADS, (i) =>
            k.stGlobal(cells.at(ofCells.add(i)), [k.ldShared(room.at(i), 1)[0]!]),
          );
        }
      },
    ),
    grid: [ctas],
    outputs: ['cells', 'old'],
    draw: (random) => {
      const cells = new Uint32Array(ctas * perCta);
      const [values, shared, expected] = [0, 1, 2].map(() => new Uint32Array(ctas * tried.length * THREADS));
      const old = untouched(values!.length);
      for (let i = 0; i < cells.length; i++)
        cells[i] = drawn(random, tried[Math.floor((i % perCta) / CELLS)]!.type, i % CELLS === THREADS);
      const [after, before] = [cells.slice(), old.slice()];
      for (let i = 0; i < old.length; i++) {
        const [cta, index] = [Math.floor(i / (tried.length * THREADS)), i % (tried.length * THREADS)];
        const trial = tried[Math.floor(index / THREADS)]!;
        // In a cluster each CTA works on the other's words.
        const first = (ctas === 2 ? 1 - cta : cta) * perCta + Math.floor(index / THREADS) * CELLS;
        const cell = first + (index % THREADS);
        values![i] = drawn(random, trial.type, false);
        shared![i] = drawn(random, trial.type, true);
        expected![i] = random.integer(2) === 0 ? cells[cell]! : random.u32();
        if (trial.op.dst.length > 0) before[i] = cells[cell]!;
        after[cell] = updated(space, trial, cells[cell]!, values![i]!, expected![i]!);
        if (isShared(trial)) after[first + THREADS] = updated(space, trial, after[first + THREADS]!, shared![i]!, 0);
      }
      return {
        args: { cells, values: values!, shared: shared!, expected: expected!, old },
        expected: { cells: after, old: before },
      };
    },
  });
}

export const atomicPrograms: readonly InstructionProgram[] = [
  ...spaces.flatMap((space) =>
    scopes.map((scope) =>
      atomics(`atomics_${space}_${scope}`, space, trials(space, scope, ['u32', 's32', 'f32', 'f16x2'])),
    ),
  ),
  ...(['global', 'shared'] as const).map((space) =>
    atomics(
      `atomics_bf16x2_${space}`,
      space,
      scopes.flatMap((scope) => trials(space, scope, ['bf16x2'])),
    ),
  ),
];
