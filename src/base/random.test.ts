import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from './random.ts';

function draws(seed: number, count = 8): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => random.u32());
}

/** xoshiro128** from its published description, in arithmetic of unlimited width. */
function* published(state: readonly number[]): Generator<number> {
  const mask = 0xffffffffn;
  const rotate = (x: bigint, n: bigint): bigint => ((x << n) | (x >> (32n - n))) & mask;
  let [a = 0n, b = 0n, c = 0n, d = 0n] = state.map(BigInt);
  for (;;) {
    yield Number((rotate((b * 5n) & mask, 7n) * 9n) & mask);
    const shifted = (b << 9n) & mask;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotate(d, 11n);
  }
}

/** splitmix32's finalizer, in arithmetic of unlimited width. */
function finalize(bits: bigint): bigint {
  const mask = 0xffffffffn;
  let z = bits & mask;
  z = ((z ^ (z >> 16n)) * 0x21f0aaadn) & mask;
  z = ((z ^ (z >> 15n)) * 0x735a2d97n) & mask;
  return z ^ (z >> 15n);
}

describe('the stream', () => {
  test('is the published one, from the state that the seed fills', () => {
    for (const seed of [0, 1, 2 ** 32 - 1, 2 ** 32, 0x1234567890, Number.MAX_SAFE_INTEGER]) {
      const low = BigInt(seed) & 0xffffffffn;
      const words = [1n, 2n, 3n, 4n].map((k) => Number(finalize(low + k * 0x9e3779b9n)));
      const high = Number(finalize(BigInt(seed) >> 32n));
      const stream = published([words[0]!, (words[1]! ^ high) >>> 0, words[2]!, (words[3]! | 1) >>> 0]);
      assert.deepEqual(
        draws(seed, 100),
        Array.from({ length: 100 }, () => stream.next().value),
      );
    }
  });

  test('never changes: recorded seeds and results stay valid', () => {
    assert.deepEqual(draws(0, 4), [1789933344, 44971166, 2521392804, 3836935353]);
    assert.deepEqual(draws(42, 4), [660444221, 3652823732, 77678286, 922035873]);
  });

  test('differs between seeds, also where the upper half could cancel the lower', () => {
    assert.notDeepEqual(draws(1), draws(2));
    const low = (8 - (0x9e3779b9 % 8)) % 8;
    assert.notDeepEqual(draws(low), draws(4 * 2 ** 32 + low + 4));
  });
});

describe('what is drawn', () => {
  const COUNT = 200_000;

  test('uniform: in [0, 1), mean 1/2, variance 1/12', () => {
    const random = new Random(5);
    let [sum, squares] = [0, 0];
    for (let i = 0; i < COUNT; i++) {
      const u = random.uniform();
      assert.ok(u >= 0 && u < 1);
      sum += u;
      squares += (u - 0.5) ** 2;
    }
    // Six standard deviations of the mean are 0.0039.
    assert.ok(Math.abs(sum / COUNT - 0.5) < 0.0039);
    assert.ok(Math.abs(squares / COUNT - 1 / 12) < 0.001);
  });

  test('integer: every value of the range, equally often', () => {
    const random = new Random(6);
    const counts = new Float64Array(7);
    for (let i = 0; i < COUNT; i++) counts[random.integer(7)]! += 1;
    const expected = COUNT / 7;
    const chiSquared = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    assert.ok(chiSquared < 30, `chi squared ${chiSquared} for 6 degrees of freedom`);
    assert.equal(random.integer(1), 0);
  });

  test('normal: moments 0, 1, 0, 3; no infinities', () => {
    const values = new Random(7).fillNormal(new Float32Array(COUNT));
    const moment = (power: number): number => values.reduce((sum, x) => sum + x ** power, 0) / COUNT;
    assert.ok(values.every(Number.isFinite));
    assert.ok(Math.abs(moment(1)) < 0.014);
    assert.ok(Math.abs(moment(2) - 1) < 0.02);
    assert.ok(Math.abs(moment(3)) < 0.05);
    assert.ok(Math.abs(moment(4) - 3) < 0.15);
  });

  test('fillNormal scales by the deviation and returns its target', () => {
    const target = new Float32Array(5);
    assert.equal(new Random(8).fillNormal(target, 3), target);
    const random = new Random(8);
    assert.deepEqual(
      [...target],
      Array.from({ length: 5 }, () => Math.fround(random.normal() * 3)),
    );
  });
});
