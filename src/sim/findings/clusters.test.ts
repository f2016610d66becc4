// Clusters: memory and mbarriers of another CTA, and what the barrier of the cluster hands over.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import { simulate, type Simulation } from '../simulate.ts';
import { finds, right } from './planted.fixture.ts';

const file = import.meta.filename;
const head = { threads: 64, cluster: 2, target: 'sm_90', params: { y: 'u32*' } } as const;

interface Options {
  readonly meets?: 'no' | 'relaxed' | 'yes';
  /** The barrier after the remote read, without which the other CTA may have ended. */
  readonly stays?: boolean;
}

/** y[cta][i] = what the other CTA of the cluster wrote to its shared memory. */
function exchange({ meets = 'yes', stays = true }: Options = {}) {
  return kernel({ name: 'exchange', ...head }, (k, { y }) => {
    const tile = k.shared(rows('u32', [1, 64]));
    k.stShared(tile.at(k.thread), [k.clusterRank.mul(100).add(k.thread).asB32()]);
    if (meets !== 'no') {
      k.clusterArrive({ relaxed: meets === 'relaxed' });
      k.clusterWait();
    }
    const [word] = k.ldRemote(k.mapa(tile, k.clusterRank.xor(1)).at(k.thread), 1); // planted: the remote read
    k.stGlobal(y.at(k.cta.x.mul(64).add(k.thread)), [word!]);
    if (stays) k.clusterSync();
  });
}

const run =
  (options?: Options, y = new Uint32Array(256)) =>
  (seed: number): Simulation =>
    simulate(exchange(options), { grid: [4], args: { y }, seed });

test('two CTAs exchange shared memory', () => {
  const y = new Uint32Array(256);
  const expected = y.map((_, i) => 100 * (1 - ((i >> 6) & 1)) + (i & 63));
  right(run({}, y), () => assert.deepEqual(y, expected));
});

test('a remote read without the barrier of the cluster', () => {
  const also = ['uninitialised', 'race', 'out-of-bounds'] as const;
  const details = finds({ file, name: 'the remote read', kind: 'race', also }, run({ meets: 'no' }));
  assert.match(details[0]!, /written by lane \d+ of warp \d of CTA [01] with nothing between/);
});

test('a relaxed arrival hands nothing over', () => {
  finds({ file, name: 'the remote read', kind: 'race' }, run({ meets: 'relaxed' }));
});

test('a remote read of a CTA that has ended', () => {
  const details = finds({ file, name: 'the remote read', kind: 'out-of-bounds' }, run({ stays: false }));
  assert.match(details[0]!, /of CTA [01], which has ended/);
});

interface RemoteArrival {
  readonly fenced?: boolean;
  readonly meets?: boolean;
  readonly arrives?: boolean;
}

/** CTA 1 stores into CTA 0 and arrives at its mbarrier; CTA 0 waits there and reads. */
function push({ fenced = true, meets = true, arrives = true }: RemoteArrival = {}) {
  return kernel({ name: 'push', ...head }, (k, { y }) => {
    const [tile, full] = [k.shared(rows('u32', [1, 64])), k.mbarriers(1)];
    k.if(k.thread.eq(0), () => {
      k.mbarrierInit(full, 64);
      if (fenced) k.fenceMBarrierInit();
    });
    // Relaxed is enough for mbarriers that were fenced.
    if (meets) {
      k.barSync();
      k.clusterArrive({ relaxed: true });
      k.clusterWait();
    }
    k.if(
      k.clusterRank.eq(1),
      () => {
        k.stRemote(k.mapa(tile, 0).at(k.thread), [k.thread.asB32()]);
        if (arrives) k.mbarrierArriveRemote(k.mapaMBarrier(full, 0)); // planted: the remote arrival
      },
      () => {
        k.mbarrierWait(full, 0); // planted: the wait
        const [word] = k.ldShared(tile.at(k.thread.xor(1)), 1);
        k.stGlobal(y.at(k.thread), [word!]);
      },
    );
    k.clusterSync();
  });
}

const runPush =
  (options?: RemoteArrival, y = new Uint32Array(64)) =>
  (seed: number): Simulation =>
    simulate(push(options), { grid: [2], args: { y }, seed });

test('remote stores are handed over by a remote arrival', () => {
  const y = new Uint32Array(64);
  right(runPush({}, y), () =>
    assert.deepEqual(
      y,
      y.map((_, i) => i ^ 1),
    ),
  );
});

test('an mbarrier that is not fenced before a relaxed arrival', () => {
  const planted = { file, name: 'the remote arrival', kind: 'race' } as const;
  assert.match(
    finds(planted, runPush({ fenced: false }))[0]!,
    /uses the mbarrier at shared byte 256, made by warp 0 of CTA 0/,
  );
});

test('an mbarrier of another CTA without the barrier of the cluster', () => {
  const also = ['race', 'barrier-misuse', 'deadlock', 'uninitialised'] as const;
  finds({ file, name: 'the remote arrival', kind: 'race', also }, runPush({ meets: false }));
});

test('a wait for remote arrivals that never come', () => {
  const details = finds({ file, name: 'the wait', kind: 'deadlock' }, runPush({ arrives: false }));
  assert.match(
    details[0]!,
    /warp 0 of CTA 0 of CTA 0, 0 at a wait for parity 0 .* which lacks 64 of 64 arrivals|at a wait/,
  );
});

test('arriving twice at the barrier of the cluster', () => {
  const program = kernel({ name: 'twice', ...head }, (k) => {
    k.clusterArrive();
    k.clusterArrive(); // planted: the second arrival
    k.clusterWait();
  });
  const planted = {
    file,
    name: 'the second arrival',
    kind: 'barrier-misuse',
    also: ['barrier-misuse', 'deadlock'],
  } as const;
  finds(planted, (seed) => simulate(program, { grid: [2], args: { y: new Uint32Array(1) }, seed }));
});
