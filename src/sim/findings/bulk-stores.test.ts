// Planted mistakes with bulk stores: out of shared memory, by groups.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import { u32 } from '../../ptx/values.ts';
import { simulate, type Simulation } from '../simulate.ts';
import { finds, right } from './planted.fixture.ts';

const file = import.meta.filename;

interface Options {
  readonly fenced?: boolean;
  readonly barrier?: boolean;
  /** How it is waited for before shared memory is used again: not at all, until it is read, until it is written. */
  readonly waits?: 'no' | 'read' | 'all';
  readonly overwrites?: boolean;
  readonly offset?: number;
  /** Tells another CTA, which reads what was stored. */
  readonly signals?: boolean;
}

/** y = 0, 1, ... 63, by way of shared memory; then z = y + 1 by another CTA. */
function program({
  fenced = true,
  barrier = true,
  waits = 'all',
  overwrites = false,
  offset = 0,
  signals = false,
}: Options = {}) {
  const head = { name: 'out', threads: 64, target: 'sm_90', params: { y: 'u32*', z: 'u32*', flag: 'u32*' } } as const;
  return kernel(head, (k, { y, z, flag }) => {
    const tile = k.shared(rows('u32', [1, 96]));
    k.if(
      k.cta.x.eq(0),
      () => {
        k.stShared(tile.at(k.thread), [k.thread.asB32()]);
        if (fenced) k.fenceProxyAsync();
        if (barrier) k.barSync();
        k.if(k.thread.eq(0), () => {
          k.cpAsyncBulkStore(y.at(offset), tile, 256); // planted: the store
          k.cpAsyncBulkCommit();
          if (waits !== 'no') k.cpAsyncBulkWait(0, { read: waits === 'read' });
          if (signals) k.stRelease(flag, 1);
        });
        if (overwrites) {
          k.barSync();
          k.stShared(tile.at(k.thread), [u32(7).asB32()]); // planted: the next tile
        }
      },
      () => {
        if (!signals) return;
        k.while(
          () => k.ldAcquire(flag).eq(0),
          () => {},
        );
        const [word] = k.ldGlobal(y.at(k.thread), 1); // planted: the reader
        k.stGlobal(z.at(k.thread), [word!.asU32().add(1).asB32()]);
      },
    );
  });
}

const run =
  (options?: Options, y = new Uint32Array(68), z = new Uint32Array(64)) =>
  (seed: number): Simulation =>
    simulate(program(options), { grid: [2], args: { y: y.fill(99), z, flag: new Uint32Array(1) }, seed });

test('a bulk store writes what shared memory held, and may be waited for in two steps', () => {
  const expected = Uint32Array.from({ length: 64 }, (_, i) => i);
  for (const waits of ['read', 'all'] as const) {
    const y = new Uint32Array(68);
    right(run({ waits, overwrites: true }, y), () => assert.deepEqual(y.subarray(0, 64), expected));
  }
  const [y, z] = [new Uint32Array(68), new Uint32Array(64)];
  right(run({ signals: true }, y, z), () =>
    assert.deepEqual(
      z,
      expected.map((i) => i + 1),
    ),
  );
});

test('overwriting the source before the wait', () => {
  const planted = { file, name: 'the next tile', kind: 'unwaited-read', also: ['unwaited-read', 'race'] } as const;
  finds(planted, run({ waits: 'no', overwrites: true }));
});

test('a warp that ends before its store has read', () => {
  const details = finds({ file, name: 'the store', kind: 'unwaited-read' }, run({ waits: 'no' }));
  assert.match(details[0]!, /warp 0 ends before a bulk store has read/);
});

test('stores that are not fenced', () => {
  const details = finds({ file, name: 'the store', kind: 'missing-proxy-fence' }, run({ fenced: false }));
  assert.match(details[0]!, /reads shared byte \d+ asynchronously, which warp \d stored with no proxy fence since/);
});

test('stores of another warp without a barrier', () => {
  const also = ['race', 'uninitialised'] as const;
  finds({ file, name: 'the store', kind: 'race', also }, run({ barrier: false }));
});

test('telling others when only shared memory was read', () => {
  const planted = { file, name: 'the reader', kind: 'race', also: ['race'] } as const;
  finds(planted, run({ signals: true, waits: 'read' }));
});

test('an address that is no multiple of 16', () => {
  finds({ file, name: 'the store', kind: 'misaligned' }, run({ offset: 1 }));
});
