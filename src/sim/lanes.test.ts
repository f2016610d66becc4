// What lanes tell each other, and what they change in turn, against plain loops: shuffles, votes, reductions, matrices, atomics.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bf16ToNumber } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { kernel } from '../ptx/kernel.ts';
import { rows, swizzled } from '../ptx/layout.ts';
import type { K } from '../ptx/trace.ts';
import { type B32, u32, type U32 } from '../ptx/values.ts';
import { right, SEEDS } from './findings/planted.fixture.ts';
import { simulate } from './simulate.ts';

const random = new Random(11);
const x = Uint32Array.from({ length: 32 }, () => random.u32());
const lanes = Array.from({ length: 32 }, (_, lane) => lane);
const signed = (word: number): number => word | 0;

/** What `body` makes of each lane's word. */
function each(body: (k: K, word: B32) => U32 | B32): Uint32Array {
  const program = kernel({ name: 'lanes', threads: 32, params: { x: 'u32*', y: 'u32*' } }, (k, args) => {
    const made = body(k, k.ldGlobal(args.x.at(k.lane), 1)[0]!);
    k.stGlobal(args.y.at(k.lane), [made.dtype === 'b32' ? made : made.asB32()]);
  });
  const y = new Uint32Array(32);
  assert.deepEqual(simulate(program, { grid: [1], args: { x, y } }).findings, []);
  return y;
}

const same = (value: number): Uint32Array => new Uint32Array(32).fill(value >>> 0);

test('words of their own: upper halves of products, multiply and add, order of signed numbers, bf16', () => {
  assert.deepEqual(
    each((_, word) => word.asU32().mulHi(word.asU32())),
    x.map((word) => Number((BigInt(word) * BigInt(word)) >> 32n)),
  );
  assert.deepEqual(
    each((_, word) => word.asU32().mad(3, 7)),
    x.map((word) => Math.imul(word, 3) + 7),
  );
  assert.deepEqual(
    each((k, word) => k.select(word.asU32().asS32().le(0), u32(1), u32(0))),
    x.map((word) => Number(signed(word) <= 0)),
  );
  const program = kernel({ name: 'widened', threads: 32, params: { from: 'bf16*', to: 'f32*' } }, (k, { from, to }) =>
    k.stF32(to.at(k.lane), k.ldB16(from.at(k.lane)).bf16ToF32()),
  );
  const [from, to] = [x.map((word) => word & 0x7f7f), new Float32Array(32)];
  assert.deepEqual(simulate(program, { grid: [1], args: { from: Uint16Array.from(from), to } }).findings, []);
  assert.deepEqual([...to], [...from].map(bf16ToNumber));
});

describe('shuffles', () => {
  const from: Readonly<Record<string, readonly [(k: K, word: B32) => B32, (lane: number) => number]>> = {
    'up by 3': [(k, word) => k.shflUp(word, 3), (lane) => (lane < 3 ? lane : lane - 3)],
    'down by 5': [(k, word) => k.shflDown(word, 5), (lane) => (lane > 26 ? lane : lane + 5)],
    'across 17': [(k, word) => k.shflBfly(word, 17), (lane) => lane ^ 17],
    'from lane 9': [(k, word) => k.shflIdx(word, 9), () => 9],
    'each from its own': [(k, word) => k.shflIdx(word, k.lane.mul(7).mod(32)), (lane) => (lane * 7) % 32],
  };
  for (const [name, [body, source]] of Object.entries(from))
    test(name, () =>
      assert.deepEqual(
        each(body),
        Uint32Array.from(lanes, (lane) => x[source(lane)]!),
      ),
    );
});

test('votes', () => {
  const odd = (word: B32): ReturnType<U32['eq']> => word.asU32().mod(2).eq(1);
  assert.deepEqual(
    each((k, word) => k.voteBallot(odd(word))),
    same(lanes.reduce((mask, l) => mask | ((x[l]! & 1) << l), 0)),
  );
  const flag = (k: K, p: ReturnType<U32['eq']>): U32 => k.select(p, k.lane.mul(0).add(1), k.lane.mul(0));
  const cases = [
    [0, 32],
    [31, 32],
    [32, 32],
    [0, 0],
  ] as const;
  for (const [first, end] of cases) {
    const holds = lanes.filter((lane) => lane >= first && lane < end).length;
    const inside = (k: K): ReturnType<U32['eq']> => k.lane.ge(first).and(k.lane.lt(end));
    assert.deepEqual(
      each((k) => flag(k, k.voteAll(inside(k)))),
      same(holds === 32 ? 1 : 0),
    );
    assert.deepEqual(
      each((k) => flag(k, k.voteAny(inside(k)))),
      same(holds > 0 ? 1 : 0),
    );
    assert.deepEqual(
      each((k) => flag(k, k.voteUni(inside(k)))),
      same(holds === 32 || holds === 0 ? 1 : 0),
    );
  }
});

test('reductions', () => {
  const all = [...x];
  assert.deepEqual(
    each((k, word) => k.reduxAdd(word.asU32())),
    same(all.reduce((a, b) => (a + b) | 0)),
  );
  assert.deepEqual(
    each((k, word) => k.reduxMin(word.asU32())),
    same(Math.min(...all)),
  );
  assert.deepEqual(
    each((k, word) => k.reduxMax(word.asU32())),
    same(Math.max(...all)),
  );
  assert.deepEqual(
    each((k, word) => k.reduxMin(word.asU32().asS32()).asU32()),
    same(Math.min(...all.map(signed))),
  );
  assert.deepEqual(
    each((k, word) => k.reduxMax(word.asU32().asS32()).asU32()),
    same(Math.max(...all.map(signed))),
  );
  assert.deepEqual(
    each((k, word) => k.reduxAnd(word.or(1))),
    same(all.reduce((a, b) => a & (b | 1), -1)),
  );
  assert.deepEqual(
    each((k, word) => k.reduxOr(word.and(0xffff))),
    same(all.reduce((a, b) => a | (b & 0xffff), 0)),
  );
  assert.deepEqual(
    each((k, word) => k.reduxXor(word)),
    same(all.reduce((a, b) => a ^ b)),
  );
});

describe('matrices of 8 x 8 halves', () => {
  for (const [stored, loaded] of [
    [false, false],
    [true, true],
    [true, false],
    [false, true],
  ] as const) {
    test(`${stored ? 'transposed' : 'plain'} to shared memory, ${loaded ? 'transposed' : 'plain'} back`, () => {
      const layout = swizzled('b16', [32, 64]);
      const program = kernel(
        { name: 'matrices', threads: 32, target: 'sm_90', params: { x: 'u32*', y: 'u32*' } },
        (k, args) => {
          const tile = k.shared(layout);
          const words = k.ldGlobal(args.x.at(k.lane.mul(4)), 4);
          const row = tile.at(layout.at(k.lane, k.lane.mul(0)));
          k.stmatrix(row, [words[0]!, words[1]!, words[2]!, words[3]!], { transposed: stored });
          k.syncWarp();
          const [a, b, c, d] = k.ldmatrix(row, 4, { transposed: loaded });
          k.stGlobal(args.y.at(k.lane.mul(4)), [a!, b!, c!, d!]);
        },
      );
      const given = Uint16Array.from({ length: 256 }, () => random.integer(65536));
      const y = new Uint16Array(256);
      right((seed) => simulate(program, { grid: [1], args: { x: given, y }, seed }));
      const place = (matrix: number, r: number, c: number): number => (r * 4 + (c >> 1)) * 8 + matrix * 2 + (c & 1);
      for (let matrix = 0; matrix < 4; matrix++) {
        for (let r = 0; r < 8; r++) {
          for (let c = 0; c < 8; c++) {
            const [from, to] = [place(matrix, r, c), stored === loaded ? place(matrix, r, c) : place(matrix, c, r)];
            assert.equal(y[to], given[from], `matrix ${matrix}, row ${r}, column ${c}`);
          }
        }
      }
    });
  }
});

describe('atomics', () => {
  const values = Int32Array.from({ length: 128 }, () => random.u32() | 0);
  const of = (f: (old: number, value: number) => number): number => values.reduce((old, value) => f(old, value) | 0, 0);

  test('sums, least and greatest of all threads, in global and in shared memory', () => {
    const program = kernel({ name: 'all', threads: 128, params: { x: 's32*', y: 's32*', z: 's32*' } }, (k, args) => {
      const word = k.ldGlobal(args.x.at(k.thread), 1)[0]!.asU32();
      k.redAdd(args.y, word);
      k.atomMin(args.y.at(1), word.asS32());
      k.atomMax(args.y.at(2), word.asS32());
      const sums = k.shared(rows('u32', [1, 4]));
      k.if(k.thread.lt(4), () => k.stShared(sums.at(k.thread), [k.thread.mul(0).asB32()]));
      k.barSync();
      k.redAdd(sums, word);
      k.atomMin(sums.at(1), word.asS32());
      k.atomMax(sums.at(2), word.asS32());
      k.barSync();
      k.if(k.thread.lt(3), () => k.stGlobal(args.z.at(k.thread), [k.ldShared(sums.at(k.thread), 1)[0]!]));
    });
    const expected = [of((a, b) => a + b), of(Math.min), of(Math.max)];
    for (const seed of SEEDS) {
      const [y, z] = [new Int32Array(3), new Int32Array(3)];
      assert.deepEqual(simulate(program, { grid: [1], args: { x: values, y, z }, seed }).findings, []);
      assert.deepEqual([[...y], [...z]], [expected, expected]);
    }
  });

  test('every thread gets another ticket, and an exchange gives what was there', () => {
    const program = kernel({ name: 'tickets', threads: 64, params: { y: 'u32*', last: 'u32*' } }, (k, { y, last }) => {
      const ticket = k.atomAdd(last, k.thread.mul(0).add(1));
      k.stGlobal(y.at(ticket), [k.cta.x.mul(64).add(k.thread).asB32()]);
      k.atomExch(last.at(1), ticket);
    });
    const [y, last] = [new Uint32Array(192), new Uint32Array(2)];
    assert.deepEqual(simulate(program, { grid: [3], args: { y, last }, seed: 3 }).findings, []);
    assert.deepEqual(
      y.toSorted(),
      Uint32Array.from({ length: 192 }, (_, i) => i),
    );
    assert.equal(last[0], 192);
  });

  test('pairs of halves add up one by one', () => {
    const program = kernel({ name: 'pairs', threads: 32, params: { x: 'f16*', y: 'f16*' } }, (k, args) => {
      k.redAdd(args.y, k.ldGlobal(args.x.at(k.lane.mul(2)), 1)[0]!.asF16x2());
    });
    const pairs = Float16Array.from({ length: 64 }, (_, i) => (i & 1 ? 0.5 : i));
    const y = new Float16Array(2);
    assert.deepEqual(simulate(program, { grid: [1], args: { x: pairs, y } }).findings, []);
    assert.deepEqual([...y], [992, 16]);
  });
});
