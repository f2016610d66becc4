// Planted mistakes with products of a warpgroup: their registers, their shared memory, their fences.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FragA } from '../../ptx/fragments.ts';
import { kernel } from '../../ptx/kernel.ts';
import { swizzled } from '../../ptx/layout.ts';
import type { Global, Shared } from '../../ptx/pointers.ts';
import type { K } from '../../ptx/trace.ts';
import { f32, type U32 } from '../../ptx/values.ts';
import { simulate, type Simulation } from '../simulate.ts';
import { finds, right } from './planted.fixture.ts';

const file = import.meta.filename;
const tile = swizzled('f16', [64, 64]);

interface Options {
  readonly fence?: boolean;
  readonly proxyFence?: boolean;
  readonly barrier?: boolean;
  readonly waits?: boolean;
  /** What happens between the product and its wait. */
  readonly touches?: 'sums' | 'weights' | 'tile' | 'nothing';
  /** A second product that follows a reading of the sums without a fence. */
  readonly again?: 'fenced' | 'unfenced';
}

function stage(k: K, x: Global<'f16'>, to: Shared<'f16'>): void {
  k.loop(k.thread.mul(8), 64 * 64, 128 * 8, (at) => {
    const [a, b, c, d] = k.ldGlobal(x.at(at), 4);
    k.stShared(to.at(tile.at(at.div(64), at.mod(64))), [a!, b!, c!, d!]);
  });
}

function fragment(k: K, from: Shared<'f16'>, row: U32, column: number): FragA {
  return k.ldmatrixA(from.at(tile.at(row.add(k.lane.mod(16)), k.lane.div(16).mul(8).add(column))));
}

/** One product of 64 x 8 over 16 k: A in registers, B the first 8 rows of the same tile. */
function program(options: Options = {}) {
  const { fence = true, proxyFence = true, barrier = true, waits = true, touches = 'nothing', again } = options;
  const head = { name: 'product', threads: 128, target: 'sm_90a', params: { x: 'f16*', y: 'f32*' } } as const;
  return kernel(head, (k, { x, y }) => {
    const shared = k.shared(tile);
    stage(k, x, shared);
    if (proxyFence) k.fenceProxyAsync();
    if (barrier) k.barSync();
    const a = fragment(k, shared, k.warp.mul(16), 0);
    const sums = k.wgmmaSums(8);
    if (fence) k.wgmmaFence();
    k.wgmma(sums, a, k.slab(shared)); // planted: the product
    k.wgmmaCommit();
    if (touches === 'sums') sums.values[0]!.set(f32(1)); // planted: a sum
    if (touches === 'weights') k.stF32(y.at(k.thread), a.values[0].asB32().asF32()); // planted: weights
    if (touches === 'tile') k.stShared(shared.at(k.thread.mul(2)), [k.thread.asB32()]); // planted: the tile
    if (waits) k.wgmmaWait(0);
    if (again !== undefined) {
      k.stF32(y.at(k.thread), sums.values[1]!);
      if (again === 'fenced') k.wgmmaFence();
      k.wgmma(sums, a, k.slab(shared, 32)); // planted: the next product
      k.wgmmaCommit();
      k.wgmmaWait(0);
    }
    if (waits) k.stF32(y.at(k.thread), sums.values[0]!);
  });
}

const run =
  (options?: Options) =>
  (seed: number): Simulation =>
    simulate(program(options), {
      grid: [1],
      args: { x: new Float16Array(64 * 64).fill(1), y: new Float32Array(128) },
      seed,
    });

test('a product that is fenced and waited for', () => {
  right(run());
  right(run({ again: 'fenced' }));
});

test('touching a sum before the wait', () => {
  const details = finds({ file, name: 'a sum', kind: 'unwaited-product' }, run({ touches: 'sums' }));
  assert.match(details[0]!, /mov\.f32 uses a register of a product that is under way/);
});

test('touching a register of A before the wait', () => {
  finds({ file, name: 'weights', kind: 'unwaited-product' }, run({ touches: 'weights' }));
});

test('overwriting the shared operand before the wait', () => {
  const also = ['race', 'missing-proxy-fence', 'unwaited-read'] as const;
  const details = finds({ file, name: 'the tile', kind: 'unwaited-read', also }, run({ touches: 'tile' }));
  assert.match(details[0]!, /writes shared byte \d+ while a product or bulk store may still read it/);
});

test('ending before the wait', () => {
  const details = finds({ file, name: 'the product', kind: 'unwaited-product' }, run({ waits: false }));
  assert.match(details[0]!, /ends while a product is under way/);
});

test('registers that are not fenced', () => {
  finds({ file, name: 'the product', kind: 'missing-product-fence' }, run({ fence: false }));
  // The rule of the PTX ISA is of any access: sums that were only read must be fenced, too.
  finds({ file, name: 'the next product', kind: 'missing-product-fence' }, run({ again: 'unfenced' }));
});

test('ordinary stores that are not fenced', () => {
  const details = finds({ file, name: 'the product', kind: 'missing-proxy-fence' }, run({ proxyFence: false }));
  assert.match(details[0]!, /reads shared byte \d+ asynchronously, which warp \d stored with no proxy fence since/);
});

test('ordinary stores of other warps without a barrier', () => {
  const also = ['race', 'uninitialised'] as const;
  finds({ file, name: 'the product', kind: 'race', also }, run({ barrier: false }));
});
