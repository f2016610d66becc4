// Every CPU operation against its float64 reference, on random shapes, on both levels of SIMD and on one and two threads.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { Cpu, type CpuCache } from './cpu.ts';
import type { ActivationBits } from './rounding.ts';
import { simdLevel, type SimdLevel } from './kernels.ts';
import { type Activation, loadW16, loadW4, type W4Source } from './matrix.ts';
import { rmsNorm, siluMultiply } from '../base/reference.ts';
import * as reference from './reference.ts';

const levels: readonly SimdLevel[] = simdLevel() === 'plain' ? ['plain'] : ['relaxed', 'pairs', 'plain'];
const seeds = fc.integer({ min: 0, max: 2 ** 31 });

function put(cpu: Cpu, x: Activation, values: ArrayLike<number>): void {
  const rows = values.length / x.width;
  for (let row = 0; row < rows; row++) {
    cpu.heap.floats(x.address, ((row + 1) * x.stride) / 4).set(
      Array.from({ length: x.width }, (_, i) => values[row * x.width + i]!),
      (row * x.stride) / 4,
    );
  }
}

function get(cpu: Cpu, y: Activation, rows: number): Float32Array {
  const all = cpu.heap.floats(y.address, (rows * y.stride) / 4);
  return Float32Array.from(
    { length: rows * y.width },
    (_, i) => all[(Math.floor(i / y.width) * y.stride) / 4 + (i % y.width)]!,
  );
}

function poison(cpu: Cpu, y: Activation, rows: number): void {
  cpu.heap.floats(y.address, (rows * y.stride) / 4).fill(1e30);
}

function randomW4(random: Random, rows: number, columns: number, group: number, asymmetric: boolean): W4Source {
  const words = Math.ceil(columns / 8);
  const groups = Math.ceil(columns / group);
  // Codes beyond the last column are noise on purpose: they must not count.
  return {
    rows,
    columns,
    group,
    packed: Uint32Array.from({ length: rows * words }, () => random.u32()),
    scales: Float32Array.from({ length: rows * groups }, () => Math.fround(0.01 + 0.02 * random.uniform())),
    zeroPoints: asymmetric ? Uint8Array.from({ length: rows * groups }, () => random.integer(16)) : null,
  };
}

/** The same matrix with the sign of every weight dropped: |code - zero| * scale. */
function absolute(w: W4Source): W4Source {
  const words = Math.ceil(w.columns / 8);
  const groups = Math.ceil(w.columns / w.group);
  const packed = w.packed.map((word, i) => {
    let result = 0;
    for (let n = 0; n < 8; n++) {
      const group = Math.min(groups - 1, Math.floor(((i % words) * 8 + n) / w.group));
      const zero = w.zeroPoints?.[Math.floor(i / words) * groups + group] ?? 8;
      result |= Math.abs(((word >>> (4 * n)) & 15) - zero) << (4 * n);
    }
    return result;
  });
  return { ...w, packed, zeroPoints: new Uint8Array(w.rows * groups) };
}

for (const simd of levels) {
  for (const threads of [1, 2]) {
    describe(`cpu, ${simd} SIMD, ${threads} thread(s)`, () => {
      // One pool for a whole block: a heap reserves 4 GiB of address space.
      const cpu = new Cpu({ threads, simd, context: 128, maxColumns: 512 });
      after(() => cpu[Symbol.dispose]());

      test('the 4-bit product equals its reference for any rows, columns, group, tokens and activation width', () => {
        fc.assert(
          fc.property(
            fc.record({
              seed: seeds,
              rows: fc.integer({ min: 1, max: 70 }),
              columns: fc.integer({ min: 1, max: 300 }),
              tokens: fc.oneof(fc.constant(1), fc.integer({ min: 2, max: 30 })),
              grouping: fc.constantFrom<number | 'channel'>(8, 24, 32, 64, 128, 'channel'),
              asymmetric: fc.boolean(),
              add: fc.boolean(),
              bits: fc.constantFrom<ActivationBits>(8, 16),
            }),
            ({ seed, rows, columns, tokens, grouping, asymmetric, add, bits }) => {
              const random = new Random(seed);
              const k = grouping === 'channel' ? columns : Math.ceil(columns / grouping) * grouping;
              const source = randomW4(random, rows, k, grouping === 'channel' ? k : grouping, asymmetric);
              const x = cpu.activation(tokens, k);
              const y = cpu.activation(tokens, rows);
              const values = random.fillNormal(new Float32Array(tokens * k));
              put(cpu, x, values);
              poison(cpu, y, tokens);
              const start = add ? random.fillNormal(new Float32Array(tokens * rows)) : new Float32Array(tokens * rows);
              if (add) put(cpu, y, start);
              cpu.linear(loadW4(cpu.heap, [source]), x, y, tokens, { add, bits });
              const product = get(cpu, y, tokens).map((value, i) => value - start[i]!);
              const expected = reference.w4Product(source, values, tokens);
              // Each activation is off by at most half a step; each weight passes that on. f32 sums add a little.
              const limit = bits === 16 ? 32639 : 127;
              const magnitudes = reference.w4Product(absolute(source), new Float32Array(tokens * k).fill(1), tokens);
              for (const [i, value] of expected.entries()) {
                const token = Math.floor(i / rows);
                const largest = values
                  .subarray(token * k, (token + 1) * k)
                  .reduce((a, v) => Math.max(a, Math.abs(v)), 0);
                const bound = magnitudes[i]! * largest * (0.5 / limit + 1e-6) + 1e-6 * Math.abs(start[i]!);
                assert.ok(
                  Math.abs(product[i]! - value) <= bound,
                  `token ${token}, row ${i % rows}: ${product[i]} instead of ${value} +- ${bound}`,
                );
              }
            },
          ),
          { numRuns: 120 },
        );
      });

      test('fused 4-bit matrices are the same as one after the other', () => {
        const random = new Random(5);
        const parts = [
          randomW4(random, 10, 96, 32, false),
          randomW4(random, 3, 96, 32, true),
          randomW4(random, 6, 96, 32, false),
        ];
        const x = cpu.activation(5, 96);
        put(cpu, x, random.fillNormal(new Float32Array(5 * 96)));
        const fused = cpu.activation(5, 19);
        cpu.linear(loadW4(cpu.heap, parts), x, fused, 5, { bits: 16 });
        const columns = parts.map((part) => {
          const y = cpu.activation(5, part.rows);
          cpu.linear(loadW4(cpu.heap, [part]), x, y, 5, { bits: 16 });
          return get(cpu, y, 5);
        });
        const joined = Float32Array.from({ length: 5 * 19 }, (_, i) => {
          const [token, row] = [Math.floor(i / 19), i % 19];
          return row < 10
            ? columns[0]![token * 10 + row]!
            : row < 13
              ? columns[1]![token * 3 + row - 10]!
              : columns[2]![token * 6 + row - 13]!;
        });
        assert.deepEqual(get(cpu, fused, 5), joined);
      });

      test('the 16-bit product equals its reference, subnormal weights included', () => {
        fc.assert(
          fc.property(
            fc.record({
              seed: seeds,
              rows: fc.integer({ min: 1, max: 40 }),
              columns: fc.integer({ min: 1, max: 90 }),
              tokens: fc.oneof(fc.constant(1), fc.integer({ min: 2, max: 15 })),
              dtype: fc.constantFrom<'F16' | 'BF16'>('F16', 'BF16'),
              deviation: fc.constantFrom(1, 0.02, 1e-5, 2000),
              add: fc.boolean(),
            }),
            ({ seed, rows, columns, tokens, dtype, deviation, add }) => {
              const random = new Random(seed);
              const bits = Uint16Array.from({ length: rows * columns }, () =>
                (dtype === 'F16' ? numberToF16 : numberToBf16)(random.normal() * deviation),
              );
              const weights = Float64Array.from(bits, dtype === 'F16' ? f16ToNumber : bf16ToNumber);
              const x = cpu.activation(tokens, columns);
              const y = cpu.activation(tokens, rows);
              const values = random.fillNormal(new Float32Array(tokens * columns));
              put(cpu, x, values);
              poison(cpu, y, tokens);
              const start = add
                ? random.fillNormal(new Float32Array(tokens * rows), deviation)
                : new Float32Array(tokens * rows);
              if (add) put(cpu, y, start);
              cpu.linear(
                loadW16(cpu.heap, 'w', rows, columns, dtype, (target) => target.set(bits)),
                x,
                y,
                tokens,
                { add },
              );
              const expected = reference
                .denseProduct(weights, rows, columns, values, tokens)
                .map((value, i) => value + start[i]!);
              const scale = deviation * Math.sqrt(columns * rows * tokens);
              const difference = Math.sqrt(get(cpu, y, tokens).reduce((sum, v, i) => sum + (v - expected[i]!) ** 2, 0));
              assert.ok(difference / scale < 1e-6, `relative error ${difference / scale}`);
            },
          ),
          { numRuns: 120 },
        );
      });

      test('embedding rows are exact, and a scaled table gives the same', () => {
        const random = new Random(1);
        const bits = Uint16Array.from({ length: 20 * 12 }, (_, i) =>
          i % 7 === 0 ? random.integer(0x400) : numberToF16(random.normal()),
        );
        const table = loadW16(cpu.heap, 'table', 20, 12, 'F16', (target) => target.set(bits));
        const y = cpu.activation(3, 12);
        cpu.embed(table, Uint32Array.of(19, 0, 7), y);
        const expected = Float32Array.from(
          [19, 0, 7].flatMap((id) => Array.from(bits.subarray(id * 12, id * 12 + 12), f16ToNumber)),
        );
        assert.deepEqual(get(cpu, y, 3), expected);
      });

      test('rms norm and gated activation equal their references', () => {
        fc.assert(
          fc.property(
            seeds,
            fc.integer({ min: 1, max: 70 }),
            fc.integer({ min: 1, max: 40 }),
            (seed, width, tokens) => {
              const random = new Random(seed);
              const x = cpu.activation(tokens, width);
              const y = cpu.activation(tokens, width);
              const values = random.fillNormal(new Float32Array(tokens * width), 3);
              const gain = random.fillNormal(new Float32Array(width));
              put(cpu, x, values);
              cpu.rmsNorm(x, cpu.vector(gain), 1e-5, y, tokens);
              assert.ok(relativeError(get(cpu, y, tokens), rmsNorm(values, gain, 1e-5)) < 1e-6);

              const half = 8 * Math.ceil(width / 8);
              const gateUp = cpu.activation(tokens, 2 * half);
              const out = cpu.activation(tokens, half);
              const both = random.fillNormal(new Float32Array(tokens * 2 * half), 5);
              put(cpu, gateUp, both);
              cpu.siluMultiply(gateUp, out, tokens);
              assert.ok(relativeError(get(cpu, out, tokens), siluMultiply(both, half)) < 1e-6);
            },
          ),
          { numRuns: 30 },
        );
      });

      test('the gated activation holds at the ends of the float range', () => {
        const x = cpu.activation(1, 16);
        const y = cpu.activation(1, 8);
        put(cpu, x, [-1e4, -100, -88, -1e-30, 0, 88, 1e4, 3e38, 1, 1, 1, 1, 1, 1, 1, 1]);
        cpu.siluMultiply(x, y, 1);
        const out = get(cpu, y, 1);
        for (const [i, expected] of [0, 0, 0, 0, 0, 88, 1e4, 3e38].entries())
          assert.ok(Math.abs(out[i]! - expected) <= 1e-6 * Math.abs(expected) + 1e-30, `${i}: ${out[i]}`);
      });

      test('rotation, cache and attention equal their references, in one pass or token by token', () => {
        fc.assert(
          fc.property(
            seeds,
            fc.constantFrom<readonly [number, number]>([4, 2], [3, 3], [6, 1]),
            fc.constantFrom(32, 64),
            fc.integer({ min: 1, max: 40 }),
            fc.integer({ min: 0, max: 30 }),
            (seed, [heads, kvHeads], headDim, tokens, before) => {
              const random = new Random(seed);
              const frequencies = Float64Array.from(
                { length: headDim / 2 },
                (_, i) => 1 / 10000 ** ((2 * i) / headDim),
              );
              const cache = makeCache(cpu, heads, kvHeads, headDim, 96, frequencies);
              const width = (heads + 2 * kvHeads) * headDim;
              const total = before + tokens;
              const values = random.fillNormal(new Float32Array(total * width));
              const outputs = cpu.activation(total, heads * headDim);
              let position = 0;
              for (const count of [before, tokens]) {
                if (count === 0) continue;
                const qkv = cpu.activation(count, width);
                put(cpu, qkv, values.subarray(position * width, (position + count) * width));
                cpu.ropeAndStore(qkv, cache, 0, position, count);
                cpu.attention(qkv, cache, 0, position, cpu.fromToken(outputs, position), count);
                position += count;
              }
              const part = (token: number, head: number): Float32Array =>
                values.subarray(token * width + head * headDim, token * width + (head + 1) * headDim);
              const expected: number[] = [];
              for (let token = 0; token < total; token++) {
                for (let head = 0; head < heads; head++) {
                  const kv = Math.floor(head / (heads / kvHeads));
                  const keys = Array.from({ length: total }, (_, at) =>
                    reference.rope(part(at, heads + kv), at, frequencies),
                  );
                  const vs = Array.from({ length: total }, (_, at) => part(at, heads + kvHeads + kv));
                  expected.push(
                    ...reference.attend(reference.rope(part(token, head), token, frequencies), keys, vs, token + 1),
                  );
                }
              }
              const error = relativeError(get(cpu, outputs, total), expected);
              assert.ok(error < 2e-6, `relative error ${error}`);
            },
          ),
          { numRuns: 12 },
        );
      });
    });
  }
}

function makeCache(
  cpu: Cpu,
  heads: number,
  kvHeads: number,
  headDim: number,
  capacity: number,
  frequencies: Float64Array,
): CpuCache {
  const bytes = kvHeads * capacity * headDim * 4;
  const table = (f: (angle: number) => number) =>
    cpu.vector(
      Float32Array.from({ length: (capacity * headDim) / 2 }, (_, i) =>
        f(Math.floor(i / (headDim / 2)) * frequencies[i % (headDim / 2)]!),
      ),
    );
  return {
    heads,
    kvHeads,
    headDim,
    capacity,
    keys: [cpu.heap.allocate(bytes)],
    values: [cpu.heap.allocate(bytes)],
    cosines: table(Math.cos),
    sines: table(Math.sin),
  };
}

test('weights that are not finite are refused by name', () => {
  using cpu = new Cpu({ threads: 1, context: 32, maxColumns: 32 });
  assert.throws(() => loadW16(cpu.heap, 'model.norm', 1, 8, 'F16', (t) => t.fill(0x7c00)), {
    code: 'weight-not-finite',
    message: /model\.norm/,
  });
  assert.throws(() => loadW16(cpu.heap, 'model.norm', 1, 8, 'BF16', (t) => t.fill(0x7f80)), {
    code: 'weight-not-finite',
  });
});

test('a group that is no multiple of 8 and a heap beyond 4 GiB are refused', () => {
  using cpu = new Cpu({ threads: 1, context: 32, maxColumns: 32 });
  const source = randomW4(new Random(0), 4, 24, 12, false);
  assert.throws(() => loadW4(cpu.heap, [source]), { code: 'group-unsupported' });
  assert.throws(() => cpu.heap.allocate(2 ** 32), { code: 'cpu-memory-exceeded' });
});
