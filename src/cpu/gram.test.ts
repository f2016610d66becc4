// Sums of x^T x and packed activations against their definitions, on every level of SIMD, for widths and tokens that fill no panel.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../base/random.ts';
import { Cpu } from './cpu.ts';
import { addGram, clearGram, newGram, readGram } from './gram.ts';
import { offset } from './heap.ts';
import type { Activation } from './matrix.ts';

const seed = Math.floor(Math.random() * 2 ** 32);

function fill(cpu: Cpu, x: Activation, values: Float32Array): void {
  for (let at = 0; at < values.length; at += x.width)
    cpu.heap.floats(offset(x.address, (at / x.width) * x.stride), x.width).set(values.subarray(at, at + x.width));
}

for (const simd of ['relaxed', 'plain'] as const) {
  describe(`${simd} SIMD (seed ${seed})`, () => {
    test('x^T x of any width and number of tokens, added up', () => {
      const random = new Random(seed);
      using cpu = new Cpu({ threads: 1, context: 32, maxColumns: 8, simd });
      for (let run = 0; run < 12; run++) {
        const [width, tokens] = [8 * (1 + random.integer(12)), 1 + random.integer(300)];
        const x = cpu.activation(tokens, width);
        const gram = newGram(cpu.heap, width, tokens);
        const expected = new Float64Array(width * width);
        const squares = new Float64Array(width);
        const add = (): void => {
          // Columns of very different sizes, one of them zero.
          const values = Float32Array.from({ length: tokens * width }, (_, i) =>
            i % width === 3 ? 0 : random.normal() * 10 ** ((i % width) % 5),
          );
          fill(cpu, x, values);
          addGram(cpu.pool, gram, x, tokens);
          for (let t = 0; t < tokens; t++)
            for (let i = 0; i < width; i++) {
              squares[i]! += values[t * width + i]! ** 2;
              for (let j = 0; j < width; j++)
                expected[i * width + j]! += values[t * width + i]! * values[t * width + j]!;
            }
        };
        add();
        add();
        const sums = readGram(cpu.heap, gram);
        for (let i = 0; i < width; i++)
          for (let j = 0; j < width; j++) {
            const error = Math.abs(sums[i * width + j]! - expected[i * width + j]!);
            const size = Math.sqrt(squares[i]! * squares[j]!);
            assert.ok(error <= 1e-3 * size, `${width} x ${tokens}, (${i}, ${j}): off by ${error} of ${size}`);
          }
        clearGram(cpu.heap, gram);
        assert.ok(readGram(cpu.heap, gram).every((sum) => sum === 0));
      }
    });

    test('packed activations are off by half a step at most, and packing what comes back changes nothing', () => {
      const random = new Random(seed);
      using cpu = new Cpu({ threads: 1, context: 32, maxColumns: 8, simd });
      for (const [tokens, width] of [
        [5, 256],
        [3, 200],
        [1, 8],
      ] as const) {
        const x = cpu.activation(tokens, width);
        const values = random.fillNormal(new Float32Array(tokens * width), 3);
        values.fill(0, 0, Math.min(width, 128));
        fill(cpu, x, values);
        const packed = cpu.heap.allocate(cpu.packedBytes(tokens, width));
        cpu.packRows(x, tokens, packed);
        const bytes = cpu.heap.bytes(packed, cpu.packedBytes(tokens, width)).slice();
        cpu.unpackRows(packed, x, tokens);
        for (let token = 0; token < tokens; token++) {
          const own = cpu.heap.floats(offset(x.address, token * x.stride), width);
          for (let start = 0; start < width; start += 128) {
            const before = values.subarray(token * width + start, token * width + Math.min(start + 128, width));
            const step = Math.max(...before.map(Math.abs)) / 127;
            for (const [i, value] of before.entries())
              assert.ok(Math.abs(own[start + i]! - value) <= 0.5001 * step, `${value} came back as ${own[start + i]}`);
          }
        }
        cpu.packRows(x, tokens, packed);
        assert.deepEqual(cpu.heap.bytes(packed, bytes.length).slice(), bytes);
      }
    });
  });
}

test('what a scope allocates is taken back, and zero when it is handed out again', () => {
  using cpu = new Cpu({ threads: 1, context: 32, maxColumns: 8 });
  const { heap } = cpu;
  const before = heap.used;
  const first = heap.scope(() => {
    const address = heap.allocate(100);
    heap.bytes(address, 100).fill(7);
    return address;
  });
  assert.equal(heap.used, before);
  assert.throws(() =>
    heap.scope(() => {
      heap.allocate(8);
      throw new Error('on the way');
    }),
  );
  assert.equal(heap.used, before);
  const again = heap.allocate(100);
  assert.equal(again, first);
  assert.ok(heap.bytes(again, 100).every((byte) => byte === 0));
});
