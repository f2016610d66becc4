// Results of products of a warpgroup against float64: types, where A is, swizzles, widths, 2:4 weights. The host lays operands out by the
// layouts' formulas, which know nothing of descriptors.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { fragmentA, fragmentA8, metadataPlace } from '../ptx/isa/fragments.ts';
import type { MatrixLayout } from '../ptx/isa/wgmma.ts';
import { kernel } from '../ptx/kernel.ts';
import { rows, swizzled } from '../ptx/layout.ts';
import type { Global, Shared } from '../ptx/pointers.ts';
import type { Swizzle } from '../ptx/program.ts';
import type { K } from '../ptx/trace.ts';
import type { B32 } from '../ptx/values.ts';
import type { WgmmaSums } from '../ptx/fragments.ts';
import { type Codes, codings, draw, product, type Type } from './codes.fixture.ts';
import { right } from './findings/planted.fixture.ts';
import { describe as text } from './findings.ts';
import { boxPipeline, PIPELINE_TILE } from './pipeline.fixture.ts';
import { simulate } from './simulate.ts';

/** How `height` rows of `span` bytes (64 without a swizzle) lie, for the descriptor and byte by byte. */
function laid(
  swizzle: Swizzle,
  height: number,
): { layout: MatrixLayout; index: (row: number, byte: number) => number } {
  if (swizzle === 0) {
    // Blocks of 8 rows of 16 bytes; along k first here, so that both strides matter.
    const layout = { swizzle, strideBytes: 512, leadingBytes: 128 } as const;
    return { layout, index: (row, at) => (row >> 3) * 512 + (at >> 4) * 128 + (row & 7) * 16 + (at & 15) };
  }
  const tile = swizzled('u8', [height, swizzle], swizzle);
  return { layout: { swizzle, strideBytes: 8 * swizzle, leadingBytes: 16 }, index: (row, at) => tile.index(row, at) };
}

/** The bytes of an operand as they are to lie in shared memory. */
function image({ coding, rows: height, depth, bits }: Codes, index: (row: number, byte: number) => number): Uint8Array {
  const bytes = new Uint8Array(height * depth * coding.bytes);
  for (const [i, code] of bits.entries()) {
    const [row, at] = [Math.floor(i / depth), (i % depth) * coding.bytes];
    for (let b = 0; b < coding.bytes; b++) bytes[index(row, at + b)] = code >>> (8 * b);
  }
  return bytes;
}

function fill(k: K, to: Shared<'u8'>, from: Global<'u8'>, bytes: number): void {
  k.loop(k.thread.mul(16), bytes, 128 * 16, (at) => {
    const [a, b, c, d] = k.ldGlobal(from.at(at), 4);
    k.stShared(to.at(at), [a!, b!, c!, d!]);
  });
}

/** sums to y by rows, as the accumulator's layout says. */
function put(k: K, sums: WgmmaSums, y: Global<'f32'>): void {
  for (const [register, sum] of sums.values.entries()) {
    const row = k.warp
      .mul(16)
      .add(k.lane.div(4))
      .add(register & 2 ? 8 : 0);
    const column = k.lane
      .mod(4)
      .mul(2)
      .add(8 * (register >> 2) + (register & 1));
    k.stF32(y.at(row.mul(sums.n).add(column)), sum);
  }
}

interface Case {
  readonly type: Type;
  readonly n: number;
  readonly swizzle: Swizzle;
  readonly a: 'shared' | 'registers';
}

const head = { threads: 128, target: 'sm_90a' } as const;

/** y[64][n] = a . b^T over as many k as a swizzle spans, in steps of 32 bytes. Registers of A come by words: [warp][step][register][lane]. */
function program({ type, n, swizzle, a }: Case) {
  const span = swizzle === 0 ? 64 : swizzle;
  const params = { left: 'u8*', right: 'u8*', words: 'b32*', y: 'f32*' } as const;
  return kernel({ name: 'dense', ...head, params }, (k, { left, right, words, y }) => {
    const [A, B] = [k.shared(rows('u8', [64, span])), k.shared(rows('u8', [n, span]))];
    fill(k, A, left, 64 * span);
    fill(k, B, right, n * span);
    k.fenceProxyAsync();
    k.barSync();
    const [layoutA, layoutB] = [laid(swizzle, 64).layout, laid(swizzle, n).layout];
    const steps = span / 32;
    const registers = Array.from({ length: steps }, (_, step) =>
      [0, 1, 2, 3].map(
        (i) =>
          k.ldGlobal(
            words.at(
              k.warp
                .mul(steps)
                .add(step)
                .mul(128)
                .add(32 * i)
                .add(k.lane),
            ),
            1,
          )[0]!,
      ),
    );
    const sums = k.wgmmaSums(n);
    k.wgmmaFence();
    for (let step = 0; step < steps; step++) {
      const advance = swizzle === 0 ? step * 2 * layoutB.leadingBytes : step * 32;
      const [a0, a1, a2, a3] = registers[step]!;
      const slab = k.slabOf(type, B, layoutB, advance);
      if (a === 'shared') k.wgmma(sums, k.slabOf(type, A, layoutA, advance), slab, step > 0);
      else multiply(k, sums, [a0!, a1!, a2!, a3!], type, k.slabOf(type, B, layoutB, advance).low, layoutB, step > 0);
    }
    k.wgmmaCommit();
    k.wgmmaWait(0);
    put(k, sums, y);
  });
}

type Words = readonly [B32, B32, B32, B32];

function multiply(
  k: K,
  sums: WgmmaSums,
  [a, b, c, d]: Words,
  type: Type,
  low: ReturnType<K['slabOf']>['low'],
  layout: MatrixLayout,
  accumulate: boolean,
): void {
  const slab = <T extends Type>(of: T) => ({ role: 'slab', type: of, low, layout }) as const;
  if (type === 'f16')
    k.wgmma(sums, k.fragA([a.asF16x2(), b.asF16x2(), c.asF16x2(), d.asF16x2()]), slab('f16'), accumulate);
  else if (type === 'bf16')
    k.wgmma(sums, k.fragABf16([a.asBf16x2(), b.asBf16x2(), c.asBf16x2(), d.asBf16x2()]), slab('bf16'), accumulate);
  else k.wgmmaBytes(sums, [a, b, c, d], slab(type), accumulate);
}

/** The registers of A of 16 rows and 32 bytes of k: [register][lane], from row `top` and element `first` on. */
function registersOf({ coding, depth, bits }: Codes, top: number, first: number): Uint32Array {
  const words = new Uint32Array(128);
  for (let row = 0; row < 16; row++) {
    for (let k = 0; k < 32 / coding.bytes; k++) {
      const code = bits[(top + row) * depth + first + k]!;
      if (coding.bytes === 2) {
        const { register, lane, upper } = fragmentA(row, k);
        words[register * 32 + lane]! |= code << (upper ? 16 : 0);
      } else {
        const { register, lane, byte: at } = fragmentA8(row, k);
        words[register * 32 + lane]! |= code << (8 * at);
      }
    }
  }
  return words;
}

function run(one: Case): void {
  const { type, n, swizzle } = one;
  const random = new Random(n + swizzle);
  const span = swizzle === 0 ? 64 : swizzle;
  const [a, b] = [
    draw(type, 64, span / codings[type].bytes, random),
    draw(type, n, span / codings[type].bytes, random),
  ];
  const words = new Uint32Array(4 * (span / 32) * 128);
  for (let warp = 0; warp < 4; warp++) {
    for (let step = 0; step < span / 32; step++)
      words.set(registersOf(a, 16 * warp, (step * 32) / a.coding.bytes), (warp * (span / 32) + step) * 128);
  }
  const y = new Float32Array(64 * n).fill(Number.NaN);
  const args = { left: image(a, laid(swizzle, 64).index), right: image(b, laid(swizzle, n).index), words, y };
  const { findings, counters } = simulate(program(one), { grid: [1], args });
  assert.deepEqual(findings.filter(({ kind }) => kind !== 'bank-conflict' && kind !== 'uncoalesced').map(text), []);
  assert.ok(relativeError(y, product(a, b)) < 1e-6);
  assert.equal(counters.tensorOperations, 2 * 64 * n * a.depth);
}

describe('dense products', () => {
  const types: readonly Type[] = ['f16', 'bf16', 'e4m3', 'e5m2'];
  for (const type of types) {
    for (const a of ['shared', 'registers'] as const) {
      for (const swizzle of [128, 64, 32, 0] as const)
        test(`${type}, A in ${a}, swizzle ${swizzle}`, () => run({ type, a, swizzle, n: 16 }));
    }
  }
  for (const n of [8, 24, 64, 256]) test(`n = ${n}`, () => run({ type: 'f16', a: 'shared', swizzle: 128, n }));
});

describe('2:4 products', () => {
  for (const type of ['f16', 'bf16'] as const) {
    for (const selector of [0, 1] as const) {
      test(`${type}, metadata in lanes ${selector === 0 ? 'c = 0, 1' : 'c = 2, 3'}`, () => {
        const random = new Random(7 + selector);
        const [kept, b] = [draw(type, 64, 16, random), draw(type, 16, 32, random)];
        /** Where the two kept ones of each four stand: 0 .. 3, ascending. */
        const places = Array.from({ length: 64 * 8 }, () => {
          const [first, second] = [random.integer(4), random.integer(3)];
          return [
            Math.min(first, second + (second >= first ? 1 : 0)),
            Math.max(first, second + (second >= first ? 1 : 0)),
          ];
        }).flat();
        const bits = Array.from({ length: 64 * 32 }, () => 0);
        const metadata = new Uint32Array(128);
        for (let row = 0; row < 64; row++) {
          for (let i = 0; i < 16; i++) {
            const place = places[row * 16 + i]!;
            bits[row * 32 + 4 * (i >> 1) + place] = kept.bits[row * 16 + i]!;
            const { lane, bit } = metadataPlace(row & 15, i);
            metadata[(row >> 4) * 32 + lane + 2 * selector]! |= place << bit;
          }
        }
        const words = new Uint32Array(4 * 128);
        for (let warp = 0; warp < 4; warp++) words.set(registersOf(kept, 16 * warp, 0), warp * 128);
        const { layout, index } = laid(64, 16);
        const params = { right: 'u8*', words: 'b32*', metadata: 'b32*', y: 'f32*' } as const;
        const sparse = kernel({ name: 'sparse', ...head, params }, (k, args) => {
          const B = k.shared(rows('u8', [16, 64]));
          fill(k, B, args.right, 16 * 64);
          k.fenceProxyAsync();
          k.barSync();
          const [a0, a1, a2, a3] = [0, 1, 2, 3].map(
            (i) =>
              k.ldGlobal(
                args.words.at(
                  k.warp
                    .mul(128)
                    .add(32 * i)
                    .add(k.lane),
                ),
                1,
              )[0]!,
          );
          const [word] = k.ldGlobal(args.metadata.at(k.thread), 1);
          const sums = k.wgmmaSums(16);
          k.wgmmaFence();
          if (type === 'f16') {
            const a = k.fragA([a0!.asF16x2(), a1!.asF16x2(), a2!.asF16x2(), a3!.asF16x2()]);
            k.wgmmaSparse(sums, k.sparse(a, word!, selector), k.slabOf('f16', B, layout));
          } else {
            const a = k.fragABf16([a0!.asBf16x2(), a1!.asBf16x2(), a2!.asBf16x2(), a3!.asBf16x2()]);
            k.wgmmaSparse(sums, k.sparse(a, word!, selector), k.slabOf('bf16', B, layout));
          }
          k.wgmmaCommit();
          k.wgmmaWait(0);
          put(k, sums, args.y);
        });
        const y = new Float32Array(64 * 16).fill(Number.NaN);
        simulate(sparse, { grid: [1], args: { right: image(b, index), words, metadata, y } });
        assert.ok(relativeError(y, product({ ...kept, depth: 32, bits }, b)) < 1e-6);
      });
    }
  }
});

test('a pipeline of boxes and products, in any order of warps and copies', () => {
  const random = new Random(3);
  const columns = 5 * PIPELINE_TILE;
  const [a, b] = [draw('f16', PIPELINE_TILE, columns, random), draw('f16', PIPELINE_TILE, columns, random)];
  const matrix = ({ bits, rows: height }: Codes): { data: Uint16Array; rows: number; columns: number } => ({
    data: Uint16Array.from(bits),
    rows: height,
    columns,
  });
  const C = new Float32Array(PIPELINE_TILE ** 2);
  const [pipeline, expected] = [boxPipeline(5), product(a, b)];
  right(
    (seed) => simulate(pipeline, { grid: [1], args: { A: matrix(a), B: matrix(b), C: C.fill(0) }, seed }),
    () => assert.ok(relativeError(C, expected) < 1e-6),
  );
});
