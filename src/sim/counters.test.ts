// Counters of small programs against what a hand count says.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { kernel, tensor } from '../ptx/kernel.ts';
import { rows, swizzled } from '../ptx/layout.ts';
import type { ParamSpec, Program } from '../ptx/program.ts';
import { f32, u32 } from '../ptx/values.ts';
import type { Counters } from './counters.ts';
import { pipelinedSum, tileProduct, vectorAdd } from './programs.fixture.ts';
import { type Args, simulate } from './simulate.ts';

function count<S extends ParamSpec>(program: Program<S>, args: Args<S>, ctas = 1): Readonly<Counters> {
  return simulate(program, { grid: [ctas], args }).counters;
}

describe('global memory', () => {
  test('adding vectors: 12 bytes an element, 4 sectors a warp and vector', () => {
    const n = 500;
    const args = { a: new Float32Array(n), b: new Float32Array(n), c: new Float32Array(n), n };
    const counters = count(vectorAdd, args, 2);
    assert.deepEqual([counters.globalRead, counters.globalWritten], [8 * n, 4 * n]);
    // 15 warps are full; the last one has 20 lanes, 80 bytes, 3 sectors.
    assert.equal(counters.sectors, 3 * (15 * 4 + 3));
    assert.equal(counters.byKind['add.rn.f32'], 16);
    assert.equal(counters.byKind['ld.global.b32'] ?? counters.byKind['ld.global.f32'], 32);
    assert.equal(
      counters.instructions,
      Object.values(counters.byKind).reduce((a, b) => a + b),
    );
  });

  test('sectors are counted once a warp and access, wherever the lanes are', () => {
    const program = kernel({ name: 'strided', threads: 32, params: { x: 'f32*' } }, (k, { x }) => {
      k.stF32(x.at(k.lane.mul(8)), f32(1)); // 32 sectors
      k.stF32(x.at(k.lane.mul(2)), f32(1)); // 256 bytes: 8
      k.stF32(x.at(k.lane.add(1)), f32(1)); // 128 bytes across a sector's border: 5
      k.stF32(x.at(k.lane.xor(31)), f32(1)); // backwards: 4
    });
    const counters = count(program, { x: new Float32Array(256) });
    assert.deepEqual([counters.sectors, counters.globalWritten], [49, 4 * 128]);
  });

  test('an atomic reads and writes 4 bytes a lane', () => {
    const program = kernel({ name: 'sum', threads: 32, params: { x: 'u32*' } }, (k, { x }) => k.redAdd(x, u32(1)));
    const counters = count(program, { x: new Uint32Array(1) });
    assert.deepEqual([counters.globalRead, counters.globalWritten, counters.sectors], [128, 128, 1]);
  });
});

describe('shared memory', () => {
  test('a turn for 128 bytes without conflicts, and one more for each other word of a bank', () => {
    const program = kernel({ name: 'banks', threads: 32, params: { y: 'b32*' } }, (k, { y }) => {
      const tile = k.shared(rows('b32', [32, 32]));
      k.stShared(tile.at(k.lane), [k.lane.asB32()]); // 1
      k.stShared(tile.at(k.lane.mul(2)), [k.lane.asB32()]); // 2
      k.stShared(tile.at(k.lane.mul(32)), [k.lane.asB32()]); // 32
      const w = k.lane.asB32();
      k.stShared(tile.at(k.lane.mul(4)), [w, w, w, w]); // 4 phases
      k.syncWarp();
      k.stGlobal(y.at(k.lane), [k.ldShared(tile, 1)[0]!]); // 1: all lanes read one word
    });
    const counters = count(program, { y: new Int32Array(32) });
    assert.equal(counters.wavefronts, 1 + 2 + 32 + 4 + 1);
    assert.deepEqual([counters.sharedWritten, counters.sharedRead], [3 * 128 + 512, 128]);
  });

  test('ldmatrix takes a turn a matrix', () => {
    const args = { A: new Float16Array(1024), B: new Float16Array(512), C: new Float32Array(128) };
    const counters = count(tileProduct(), args);
    // 4 warps store A and 2 of them B, 16 bytes a lane; then 4 steps of 4 matrices of A and 2 of B.
    assert.equal(counters.wavefronts, 6 * 4 + 4 * 6);
    assert.deepEqual([counters.sharedWritten, counters.sharedRead], [3072, 4 * 6 * 128]);
    assert.equal(counters.tensorOperations, 2 * 16 * 8 * 64);
    assert.equal(counters.byKind['bar.sync'], 4);
  });
});

describe('copies', () => {
  test('cp.async counts as a read of global and a write of shared memory', () => {
    const args = { x: new Float32Array(5 * 128), y: new Float32Array(128) };
    const counters = count(pipelinedSum(5), args);
    assert.deepEqual([counters.globalRead, counters.sharedWritten], [5 * 512, 5 * 512]);
    assert.equal(counters.sharedRead, 5 * 512);
    assert.equal(counters.byKind['cp.async.cg.shared.global 16'], 5);
  });

  test('a bulk copy by its bytes, a box by what is inside the matrix', () => {
    const type = tensor('f16', [8, 64], 128);
    const head = { name: 'bulk', threads: 32, target: 'sm_90', params: { x: 'f16*', m: type, y: 'f16*' } } as const;
    const program = kernel(head, (k, { x, m, y }) => {
      const [line, box, full] = [k.shared(rows('f16', [1, 64])), k.shared(swizzled('f16', [8, 64])), k.mbarriers(1)];
      k.if(k.lane.eq(0), () => {
        k.mbarrierInit(full, 1);
        k.fenceMBarrierInit();
        k.mbarrierArriveExpectTx(full, 128 + 1024);
        k.cpAsyncBulk(line, x.at(8), 128, full); // from byte 16 on: 5 sectors
        k.cpAsyncBulkTensor(box, m, [6, 32], full); // 2 rows of 32 columns: 2 sectors each
        k.mbarrierWait(full, 0);
        k.cpAsyncBulkStore(y, line, 128); // 4 sectors
        k.cpAsyncBulkCommit();
        k.cpAsyncBulkWait(0);
      });
    });
    const m = { data: new Float16Array(512), rows: 8, columns: 64 };
    const counters = count(program, { x: new Float16Array(128), m, y: new Float16Array(64) });
    assert.deepEqual([counters.globalRead, counters.globalWritten], [128 + 128, 128]);
    assert.equal(counters.sectors, 5 + 4 + 4);
    assert.deepEqual([counters.sharedWritten, counters.sharedRead], [128 + 1024, 128]);
  });
});

test('loops and branches count what each warp runs', () => {
  const program = kernel({ name: 'turns', threads: 64, params: { n: 'u32' } }, (k, { n }) => {
    const sum = k.var(f32(0));
    k.loop(0, n, 1, () => k.if(k.warp.eq(0), () => sum.set(sum.add(1))));
  });
  const { byKind } = count(program, { n: 7 });
  assert.equal(byKind['add.rn.f32'], 7);
  assert.equal(byKind['setp.lt.u32'], 14);
});
