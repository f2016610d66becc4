// Values: folding, the refusals of tsc, and what the builder refuses.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { f16ToNumber, numberToF16 } from '../base/f16.ts';
import * as m from './arithmetic.ts';
import { KernelError } from './builder.ts';
import { kernel } from './kernel.ts';
import { lowerHalf, upperHalf } from './isa/lane.ts';
import { rows, swizzled } from './layout.ts';
import { instructions } from './program.ts';
import { B32, half2, lut, u32 } from './values.ts';

const word = fc.integer({ min: 0, max: 0xffffffff });
const bitsOf = (value: { readonly operand: unknown }): number => {
  const { operand } = value;
  assert.ok(typeof operand === 'object' && operand !== null && 'bits' in operand);
  return Number(operand.bits);
};

describe('constants fold to what the instruction means', () => {
  test('integers wrap at 32 bits', () => {
    fc.assert(
      fc.property(word, word, (a, b) => {
        assert.equal(u32(a).add(b).known, (a + b) % 2 ** 32);
        assert.equal(u32(a).sub(b).known, (a - b + 2 ** 32) % 2 ** 32);
        assert.equal(u32(a).mul(b).known, Number((BigInt(a) * BigInt(b)) % 2n ** 32n));
        assert.equal(u32(a).div(b).known, b === 0 ? 0xffffffff : Math.floor(a / b));
        assert.equal(u32(a).mod(b).known, b === 0 ? 0xffffffff : a % b);
        assert.equal(u32(a).min(b).known, Math.min(a, b));
      }),
    );
  });

  test('lop3 is its truth table, computed by lut', () => {
    assert.equal(
      lut((a, b, c) => (a & b) | c),
      0xea,
    );
    fc.assert(
      fc.property(word, word, word, (a, b, c) =>
        assert.equal(
          bitsOf(
            new B32({ bits: a }, null).lop3(
              b,
              c,
              lut((x, y, z) => (x & y) | z),
            ),
          ),
          ((a & b) | c) >>> 0,
        ),
      ),
    );
  });

  test('a fused sum of halves rounds once: against exact rationals', () => {
    // Every f16 is an integer multiple of 2^-24, so a * b + c is one of 2^-48: exact in BigInt.
    const exact = (a: number, b: number, c: number): bigint =>
      BigInt(a * 2 ** 24) * BigInt(b * 2 ** 24) + BigInt(c * 2 ** 24) * 2n ** 24n;
    const finite = fc.integer({ min: 0, max: 0xffff }).map(f16ToNumber).filter(Number.isFinite);
    fc.assert(
      fc.property(finite, finite, finite, (a, b, c) => {
        const got = f16ToNumber(m.f16x2.fma(numberToF16(a), numberToF16(b), numberToF16(c)) & 0xffff);
        const want = exact(a, b, c);
        if (!Number.isFinite(got)) {
          assert.ok(want >= 65520n * 2n ** 48n || want <= -65520n * 2n ** 48n);
          return;
        }
        const distance = (x: number): bigint => {
          const d = BigInt(x * 2 ** 24) * 2n ** 24n - want;
          return d < 0n ? -d : d;
        };
        const bits = numberToF16(got);
        for (const neighbour of [bits - 1, bits + 1]) {
          const value = f16ToNumber(neighbour & 0xffff);
          if (Number.isFinite(value) && Math.sign(value) * Math.sign(got) >= 0)
            assert.ok(distance(got) <= distance(value), `${a} * ${b} + ${c} gave ${got}, ${value} is nearer`);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

test('operations of one spelling are not taken for each other', () => {
  const program = kernel({ name: 'halves', threads: 32, params: { x: 'b32*' } }, (k, { x }) => {
    const [word] = k.ldGlobal(x.at(k.lane), 1);
    const pair = word!.asF16x2();
    k.stGlobal(x.at(k.lane), [pair.upper().pairWith(pair.lower())]);
  });
  const ops = [...instructions(program.body)].map(({ op }) => op);
  assert.deepEqual([ops.includes(lowerHalf), ops.includes(upperHalf)], [true, true]);
});

describe('layouts', () => {
  test('run on numbers and place each element once', () => {
    for (const tile of [
      rows('f16', [8, 64]),
      rows('f16', [8, 64], 8),
      swizzled('f16', [16, 64]),
      swizzled('b32', [8, 32]),
    ]) {
      const places = new Set<number>();
      for (let r = 0; r < tile.rows; r++) for (let c = 0; c < tile.columns; c++) places.add(tile.index(r, c));
      assert.equal(places.size, tile.rows * tile.columns);
      assert.ok(Math.max(...places) < tile.count);
    }
  });

  test('a swizzle of rows shorter than 128 bytes is refused', () => {
    assert.throws(() => swizzled('f16', [8, 32]), RangeError);
  });
});

describe('what is refused while the kernel is built', () => {
  const head = { name: 'k', threads: 32, params: { x: 'f32*', n: 'u32' } } as const;

  test('a value made in an inner block and used outside names the line', () => {
    assert.throws(
      () =>
        kernel(head, (k, { x, n }) => {
          let inner = u32(0);
          k.if(n.lt(5), () => {
            inner = n.add(k.thread).mul(3);
          });
          k.stF32(x.at(inner), k.ldF32(x));
        }),
      (error: unknown) =>
        error instanceof KernelError &&
        error.code === 'value-out-of-scope' &&
        error.where.file.endsWith('values.test.ts'),
    );
  });

  test('an instruction that the chip does not have', () => {
    assert.throws(
      () =>
        kernel(head, (k, { x, n }) => {
          const pair = n.asB32().asBf16x2();
          k.stGlobal(x, [pair.add(pair).asB32()]);
        }),
      { code: 'instruction-unavailable' },
    );
  });

  test('names and sizes of kernels', () => {
    assert.throws(() => kernel({ ...head, name: 'a b' }, () => {}), TypeError);
    assert.throws(() => kernel({ ...head, threads: 40 }, () => {}), RangeError);
  });

  test('operators on values', () => {
    kernel(head, (_, { n }) => {
      // @ts-expect-error values have methods, not operators
      assert.throws(() => n * 2, TypeError);
      assert.throws(() => Number(n), TypeError);
    });
  });

  test('what tsc refuses', () => {
    // Never called: each line is an error that must stay one.
    const refused = (): void => {
      kernel(head, (k, { x, n }) => {
        const pair = half2(1);
        // @ts-expect-error a pair of halves is no integer
        n.add(pair);
        // @ts-expect-error a truth table is not any number
        n.asB32().lop3(1, 2, 0xea);
        // @ts-expect-error a predicate cannot steer a TypeScript if
        // oxlint-disable-next-line typescript/no-misused-promises, typescript/strict-boolean-expressions -- the mistake is the test
        if (n.lt(5)) return;
        // @ts-expect-error shared memory is wanted
        k.ldmatrixA(x);
        const acc = k.accumulator();
        const b = k.ldmatrixB(k.shared(rows('f16', [8, 16])));
        // @ts-expect-error a B fragment where A is wanted
        k.mma(acc, b, b);
        const [tile, barrier, sums] = [k.shared(rows('f16', [8, 64])), k.mbarriers(1), k.wgmmaSums(8)];
        // @ts-expect-error an mbarrier is no tile
        k.ldShared(barrier, 1);
        // @ts-expect-error a tile is no mbarrier
        k.mbarrierWait(tile, 0);
        // @ts-expect-error another CTA's memory is not one's own
        k.ldShared(k.mapa(tile, 1), 1);
        // @ts-expect-error and the other way round
        k.ldRemote(tile, 1);
        // @ts-expect-error a pointer is no matrix
        k.cpAsyncBulkTensor(tile, x, [0, 0], barrier);
        // @ts-expect-error elements of another type
        k.cpAsyncBulk(tile, x, 64, barrier);
        // @ts-expect-error wgmma takes B from shared memory
        k.wgmma(sums, k.ldmatrixA(tile), b);
        // @ts-expect-error kept weights without their places are no sparse fragment
        k.mmaSparse(acc, k.ldmatrixA(tile), [b, b]);
        // @ts-expect-error sums of a warp are not those of a warpgroup
        k.wgmma(acc, k.slab(tile), k.slab(tile));
        // @ts-expect-error 64 bits do not fit into 32
        n.add(n.toU64());
        // @ts-expect-error the two fragments are of different types
        k.mma(acc, k.ldmatrixA(k.shared(rows('bf16', [16, 16]))), b);
      });
    };
    assert.equal(typeof refused, 'function');
  });
});

test('operations of one name are not taken for each other: the halves of a word', () => {
  let same = true;
  kernel({ name: 'halves', threads: 32, params: { x: 'b32*' } }, (k, { x }) => {
    const pair = k.ldGlobal(x, 1)[0]!.asF16x2();
    same = pair.lower().operand === pair.upper().operand;
    assert.equal(pair.lower().operand, pair.lower().operand);
  });
  assert.equal(same, false);
});
