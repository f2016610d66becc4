// Global memory between CTAs: races, what orders accesses (release and acquire, fences, atomics, scopes), and loops that wait for ever.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Scope } from '../../ptx/machine.ts';
import { kernel } from '../../ptx/kernel.ts';
import { type Global } from '../../ptx/pointers.ts';
import { f32, type Pred, u32 } from '../../ptx/values.ts';
import type { K } from '../../ptx/trace.ts';
import { simulate, type Simulation } from '../simulate.ts';
import { finds, right } from './planted.fixture.ts';

const file = import.meta.filename;
const params = { data: 'f32*', flag: 'u32*' } as const;

/** How one CTA tells another that its data is there. */
interface Signal {
  readonly send: (k: K, flag: Global<'u32'>) => void;
  readonly seen: (k: K, flag: Global<'u32'>) => void;
}

/** CTA 0 writes a word and signals, CTA 1 waits for the signal, reads the word and writes another. */
function handOver({ send, seen }: Signal) {
  return kernel({ name: 'hand_over', threads: 32, target: 'sm_90', params }, (k, { data, flag }) => {
    k.if(
      k.cta.x.eq(0),
      () =>
        k.if(k.thread.eq(0), () => {
          k.stF32(data, f32(5));
          send(k, flag);
        }),
      () =>
        k.if(k.thread.eq(0), () => {
          seen(k, flag);
          const word = k.ldF32(data); // planted: the read
          k.stF32(data.at(1), word.add(1));
        }),
    );
  });
}

const run =
  (signal: Signal, data = new Float32Array(2)) =>
  (seed: number): Simulation =>
    simulate(handOver(signal), { grid: [2], args: { data: data.fill(0), flag: new Uint32Array(1) }, seed });

const spin = (k: K, read: () => ReturnType<K['ldRelaxed']>): void =>
  k.while(
    () => read().eq(0),
    () => {},
  );

const release = (scope?: Scope) => (k: K, flag: Global<'u32'>) => k.stRelease(flag, 1, scope);
const acquire = (scope?: Scope) => (k: K, flag: Global<'u32'>) => spin(k, () => k.ldAcquire(flag, scope));
const relaxedAfterFence = (k: K, flag: Global<'u32'>): void => {
  k.fence();
  k.stRelaxed(flag, 1);
};
const relaxedThenFence = (k: K, flag: Global<'u32'>): void => {
  spin(k, () => k.ldRelaxed(flag));
  k.fence();
};

describe('what hands data over', () => {
  const signals: Readonly<Record<string, Signal>> = {
    'a release and an acquire': { send: release(), seen: acquire() },
    'a fence before a relaxed store, and an acquire': { send: relaxedAfterFence, seen: acquire() },
    'a release, and a fence after relaxed loads': { send: release(), seen: relaxedThenFence },
    'relaxed accesses between fences': { send: relaxedAfterFence, seen: relaxedThenFence },
    'an addition that releases': {
      send: (k, flag) => k.redAdd(flag, u32(1), { order: 'release' }),
      seen: acquire(),
    },
    'an exchange that acquires': {
      send: release(),
      seen: (k, flag) => spin(k, () => k.atomExch(flag, u32(0), { order: 'acquire' })),
    },
    'a relaxed addition behind a release': {
      send: (k, flag) => {
        k.stRelease(flag, 1);
        k.redAdd(flag, u32(1));
      },
      seen: acquire(),
    },
  };
  for (const [name, signal] of Object.entries(signals)) {
    test(name, () => {
      const data = new Float32Array(2);
      right(run(signal, data), () => assert.deepEqual([...data], [5, 6]));
    });
  }
});

describe('what does not', () => {
  const signals: Readonly<Record<string, Signal>> = {
    'nothing at all': { send: () => {}, seen: () => {} },
    'relaxed accesses without fences': {
      send: (k, flag) => k.stRelaxed(flag, 1),
      seen: (k, flag) => spin(k, () => k.ldRelaxed(flag)),
    },
    'a release that nobody acquires': { send: release(), seen: (k, flag) => spin(k, () => k.ldRelaxed(flag)) },
    'an acquire of what nobody released': { send: (k, flag) => k.stRelaxed(flag, 1), seen: acquire() },
    'a relaxed store over a release': {
      send: (k, flag) => {
        k.stRelease(flag, 1);
        k.stRelaxed(flag, 2);
      },
      seen: (k, flag) =>
        k.while(
          () => k.ldAcquire(flag).ne(2),
          () => {},
        ),
    },
  };
  for (const [name, signal] of Object.entries(signals)) {
    test(name, () => {
      const also = ['race'] as const; // the other side of the race, where the read came first
      const details = finds({ file, name: 'the read', kind: 'race', also }, run(signal));
      for (const detail of details)
        assert.match(detail, /lane 0 of warp 0 reads byte 0 of a buffer, written by another CTA/);
    });
  }

  test('scopes that are too narrow: the flag races, and so does the data', () => {
    for (const [sent, taken] of [
      ['cta', 'gpu'],
      ['gpu', 'cta'],
      ['cluster', 'cluster'],
    ] as const) {
      const signal: Signal = { send: release(sent), seen: acquire(taken) };
      const details = finds({ file, name: 'the read', kind: 'race', also: ['race'] }, run(signal));
      assert.ok(details.length > 0);
    }
  });
});

describe('two CTAs and one word', () => {
  const counter = (scope: Scope) =>
    kernel({ name: 'counter', threads: 64, params: { flag: 'u32*' } }, (k, { flag }) => {
      k.redAdd(flag, u32(1), { scope }); // planted: the count
    });
  const count =
    (scope: Scope, flag = new Uint32Array(1)) =>
    (seed: number): Simulation =>
      simulate(counter(scope), { grid: [3], args: { flag: flag.fill(0) }, seed });

  test('atomics of the whole GPU add up', () => {
    const flag = new Uint32Array(1);
    right(count('gpu', flag), () => assert.equal(flag[0], 192));
  });

  test('atomics among a CTA race with those of another', () => {
    finds({ file, name: 'the count', kind: 'race' }, count('cta'));
  });

  test('ordinary stores race', () => {
    const program = kernel({ name: 'store', threads: 32, params }, (k, { data }) => {
      k.if(k.lane.eq(0), () => k.stF32(data, f32(1))); // planted: the store
    });
    const args = { data: new Float32Array(1), flag: new Uint32Array(1) };
    finds({ file, name: 'the store', kind: 'race' }, (seed) => simulate(program, { grid: [2], args, seed }));
  });

  test('16-bit stores of different CTAs to one word do not, whoever read its own half before', () => {
    const program = kernel({ name: 'halves', threads: 32, params: { x: 'f16*' } }, (k, { x }) =>
      k.if(k.lane.eq(0), () => {
        const half = k.ldB16(x.at(k.cta.x));
        k.stB16(x.at(k.cta.x), half);
      }),
    );
    const x = Float16Array.from([1, 2]);
    right((seed) => simulate(program, { grid: [2], args: { x }, seed }));
  });
});

describe('loops that wait for ever', () => {
  const args = (): { data: Float32Array; flag: Uint32Array } => ({
    data: new Float32Array(1),
    flag: Uint32Array.from([1]),
  });
  const soon = (program: Parameters<typeof simulate<typeof params>>[0], name: string): void => {
    const started = performance.now();
    const { findings } = simulate(program, { grid: [64], args: args() });
    assert.ok(performance.now() - started < 2000);
    const [detail] = finds({ file, name, kind: 'deadlock' }, () => ({
      ...simulate(program, { grid: [4], args: args() }),
    }));
    assert.match(detail!, /warp 0 of CTA \d, 0 at a loop in line \d+/);
    assert.equal(findings.length, 1);
  };

  test('a lock that nobody releases', () => {
    const program = kernel({ name: 'lock', threads: 128, params }, (k, { flag }) => {
      const closed = (): Pred => k.atomCas(flag, 0, 1, { order: 'acquire' }).ne(0);
      k.while(closed, () => {}); // planted: the lock
    });
    soon(program, 'the lock');
  });

  test('a flag that nobody sets', () => {
    const program = kernel({ name: 'flag', threads: 128, params }, (k, { flag }) => {
      const closed = (): Pred => k.ldAcquire(flag).eq(1);
      k.while(closed, () => {}); // planted: the flag
    });
    soon(program, 'the flag');
  });

  test('a long loop that only reads is none', () => {
    const program = kernel({ name: 'long', threads: 32, params }, (k, { data, flag }) => {
      const turns = k.var(u32(0));
      k.while(
        () => turns.lt(50_000),
        () => turns.set(turns.add(k.ldRelaxed(flag))),
      );
      k.if(k.lane.eq(0), () => k.stF32(data, f32(1)));
    });
    const { findings } = simulate(program, { grid: [1], args: args() });
    assert.deepEqual(findings, []);
  });

  test('locks that are released serve all, one after another', () => {
    const program = kernel({ name: 'critical', threads: 32, params }, (k, { data, flag }) =>
      k.if(k.lane.eq(0), () => {
        k.while(
          () => k.atomCas(flag.at(1), 0, 1, { order: 'acquire' }).ne(0),
          () => {},
        );
        k.stF32(data, k.ldF32(data).add(1));
        k.stRelease(flag.at(1), 0);
      }),
    );
    const data = new Float32Array(1);
    const once = (seed: number): Simulation =>
      simulate(program, { grid: [12], args: { data: data.fill(0), flag: new Uint32Array(2) }, seed });
    right(once, () => assert.equal(data[0], 12));
  });
});
