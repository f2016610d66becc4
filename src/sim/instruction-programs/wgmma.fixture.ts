// Programs for the products of a warpgroup: of every shape of shapes.fixture.ts one product; and some of several steps and groups.
// Where elements lie is written down once more, as the PTX ISA says it (9.7.15.5), and not taken from isa/.
import * as isa from '../../ptx/isa/wgmma.ts';
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import type { Global, Shared } from '../../ptx/pointers.ts';
import { isReg, type Swizzle } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { Bf16x2, type F32, F16x2, type U32, type Var } from '../../ptx/values.ts';
import { define, emit, type InstructionProgram, noSums, type Tolerance } from './define.fixture.ts';
import { asA, sumsOfHalves } from './matrices.fixture.ts';
import { dot, formats, matrix, type Matrix, metadata, type Mood, packed, sparseMatrix } from './numbers.fixture.ts';
import { depthBytesOf, layoutOf, shapes } from './shapes.fixture.ts';

const THREADS = 128;
const ROWS = 64;

const sumsOfBytes: Tolerance = {
  relative: 33 * 2 ** -13,
  reason: 'of 8-bit floats Hopper cuts each of 33 addends off 13 bits below the largest',
};

/** Byte of shared memory at which 16 bytes of k of a row lie, from a start that the pattern fits. */
function chunkAt({ swizzle, strideBytes, leadingBytes }: isa.MatrixLayout, row: number, chunk: number): number {
  const group = Math.floor(row / 8) * strideBytes;
  if (swizzle === 0) return group + (row % 8) * 16 + chunk * leadingBytes;
  // Chunks of a row change places with the row's number, counted in rows of 128 bytes.
  const turn = Math.floor(((row % 8) * swizzle) / 128) % (swizzle / 16);
  return group + (row % 8) * swizzle + 16 * (chunk ^ turn);
}

/** A multiple of what a pattern spans. */
const imageBytes = (count: number, layout: isa.MatrixLayout): number =>
  Math.ceil(((count / 8) * layout.strideBytes) / 1024) * 1024;

/** Shared memory that holds a matrix in a layout, as words. */
function image(of: Matrix, layout: isa.MatrixLayout): Uint32Array {
  const { bytes } = formats[of.type];
  const memory = new Uint8Array(imageBytes(of.rows, layout));
  const values = new Uint8Array(packed(of.values, bytes).buffer);
  const rowBytes = of.depth * bytes;
  for (let row = 0; row < of.rows; row++)
    for (let chunk = 0; chunk < rowBytes / 16; chunk++)
      memory.set(
        values.subarray(row * rowBytes + 16 * chunk, row * rowBytes + 16 * chunk + 16),
        chunkAt(layout, row, chunk),
      );
  return new Uint32Array(memory.buffer);
}

/** Registers of A, [register][thread]: 16 rows a warp, as of mma; of 8-bit types four k to a word. */
function registersA(a: Matrix): Uint32Array {
  const registers = new Uint32Array(4 * THREADS);
  for (let warp = 0; warp < 4; warp++) {
    const of16 = formats[a.type].bytes === 2 ? asA(a, 16 * warp) : bytesOfA(a, 16 * warp);
    for (let i = 0; i < 4; i++) registers.set(of16.subarray(32 * i, 32 * i + 32), i * THREADS + 32 * warp);
  }
  return registers;
}

function bytesOfA({ depth, values }: Matrix, first: number): Uint32Array {
  return Uint32Array.from({ length: 128 }, (_, n) => {
    const [i, lane] = [n >> 5, n & 31];
    const at = (first + (lane >> 2) + 8 * (i & 1)) * depth + 4 * (lane & 3) + 16 * (i >> 1);
    return [0, 1, 2, 3].reduce((word, byte) => word | (values[at + byte]! << (8 * byte)), 0) >>> 0;
  });
}

/** [register][thread] of 64 x n sums of a . b + before. */
function sumsOf(a: Matrix, b: Matrix, before: Float32Array | null) {
  const count = (b.rows / 2) * THREADS;
  const [sums, scale] = [new Float32Array(count), new Float32Array(count)];
  for (let n = 0; n < count; n++) {
    const [i, thread] = [Math.floor(n / THREADS), n % THREADS];
    const row = 16 * (thread >> 5) + ((thread & 31) >> 2) + 8 * ((i >> 1) & 1);
    const column = 8 * (i >> 2) + 2 * (thread & 3) + (i & 1);
    const dotted = dot(a, row, b, column, before === null ? 0 : before[n]!);
    sums[n] = dotted.value;
    scale[n] = dotted.scale;
  }
  return { sums, scale };
}

/** Copies words to shared memory. */
function fill(k: K, to: Shared<'b32'>, from: Global<'b32'>, count: number): void {
  k.loop(k.thread, count, THREADS, (i) => k.stShared(to.at(i), [k.ldGlobal(from.at(i), 1)[0]!]));
}

function lowWord(from: Shared<'b32'>, layout: isa.MatrixLayout, advance = 0): U32 {
  return from.address.add(advance).shr(4).and(0x3fff).or(isa.descriptorLow(layout));
}

const registersOf = (sums: readonly Var<F32>[]) => sums.map(({ operand }) => operand).filter(isReg);

const nameOf = ({ n, type, a, b, sparse }: isa.WgmmaShape): string =>
  `wgmma_${type}_n${n}_a${a === null ? 'registers' : a.swizzle}_b${b.swizzle}${sparse === null ? '' : `_sparse${sparse}`}`;

/** One product; whether it adds to the sums is known at run time only. */
function product(shape: isa.WgmmaShape, mood: Mood): InstructionProgram {
  const { n, type, a: aLayout, b: bLayout, sparse } = shape;
  const { bytes } = formats[type];
  const [aBytes, bBytes] = [aLayout === null ? 0 : imageBytes(ROWS, aLayout), imageBytes(n, bLayout)];
  return define({
    program: kernel(
      {
        name: nameOf(shape),
        threads: THREADS,
        target: 'sm_90a',
        params: { a: 'b32*', b: 'b32*', c: 'f32*', metadata: 'b32*', adds: 'u32', out: 'f32*' },
      },
      (k, { a, b, c, metadata: meta, adds, out }) => {
        const roomB = k.shared(rows('b32', [1, bBytes / 4]));
        const roomA = aLayout === null ? null : k.shared(rows('b32', [1, aBytes / 4]));
        fill(k, roomB, b, bBytes / 4);
        if (roomA !== null) fill(k, roomA, a, aBytes / 4);
        k.fenceProxyAsync();
        k.barSync();
        const words = [0, 1, 2, 3].map((i) => k.ldGlobal(a.at(k.thread.add(i * THREADS)), 1)[0]!);
        const left = roomA === null || aLayout === null ? words : [lowWord(roomA, aLayout)];
        const { values: sums } = k.wgmmaSums(n);
        for (const [i, sum] of sums.entries()) sum.set(k.ldF32(c.at(k.thread.add(i * THREADS))));
        const metaWords = sparse === null ? [] : [k.ldGlobal(meta.at(k.thread), 1)[0]!];
        k.wgmmaFence();
        emit(a, isa.wgmma(shape), [...left, lowWord(roomB, bLayout), adds, ...metaWords, ...sums], registersOf(sums));
        k.wgmmaCommit();
        k.wgmmaWait(0);
        for (const [i, sum] of sums.entries()) k.stF32(out.at(k.thread.add(i * THREADS)), sum);
      },
    ),
    outputs: ['out'],
    tolerance: bytes === 1 ? sumsOfBytes : sumsOfHalves,
    draw: (random) => {
      const kept = 32 / bytes;
      const a = (sparse === null ? matrix : sparseMatrix)(random, type, ROWS, kept, mood);
      const b = matrix(random, type, n, depthBytesOf(shape) / bytes, mood);
      const c = random.fillNormal(new Float32Array((n / 2) * THREADS));
      const adds = random.integer(2);
      const { sums, scale } = sumsOf(a, b, adds === 0 ? null : c);
      const words = Array.from({ length: 4 }, (_, warp) => [...metadata(random, a, 16 * warp, sparse ?? 0)]);
      // Also where A is in shared memory its buffer holds what would be registers.
      const left = aLayout === null ? registersA(a) : image(a, aLayout);
      return {
        args: {
          a: left.length < 4 * THREADS ? Uint32Array.from([...left, ...new Uint32Array(4 * THREADS)]) : left,
          b: image(b, bLayout),
          c,
          metadata: Uint32Array.from(words.flat()),
          adds,
          out: noSums(sums.length),
        },
        expected: { out: sums },
        scale: { out: scale },
      };
    },
  });
}

const STEPS = 4;
const WIDTH = 24;

/** 64 k in four steps along the rows of a tile, by the faces of `k`, two sums under way: the first product of each begins its sum anew. */
function steps(type: 'f16' | 'bf16', inRegisters: boolean): InstructionProgram {
  const swizzle: Swizzle = 128;
  const layout = layoutOf(swizzle, 32 * STEPS);
  const [aWords, bWords] = [imageBytes(ROWS, layout) / 4, imageBytes(WIDTH, layout) / 4];
  return define({
    program: kernel(
      {
        name: `wgmma_steps_${type}_${inRegisters ? 'registers' : 'shared'}`,
        threads: THREADS,
        target: 'sm_90a',
        params: { a: 'b32*', fragments: 'b32*', b: 'b32*', out: 'f32*' },
      },
      (k, { a, fragments, b, out }) => {
        const roomA = k.shared(rows('b32', [1, aWords]));
        const roomB = k.shared(rows('b32', [1, bWords]), 2);
        fill(k, roomA, a, aWords);
        fill(k, roomB, b, 2 * bWords);
        k.fenceProxyAsync();
        k.barSync();
        const held = Array.from(
          { length: STEPS * 4 },
          (_, i) => k.ldGlobal(fragments.at(k.thread.add(i * THREADS)), 1)[0]!,
        );
        const sums = [k.wgmmaSums(WIDTH), k.wgmmaSums(WIDTH)];
        k.wgmmaFence();
        for (const [i, sum] of sums.entries()) {
          for (let step = 0; step < STEPS; step++) {
            const right = k.slabOf(type, roomB.at(i * bWords), layout, 32 * step);
            const [w0, w1, w2, w3] = held.slice(4 * step, 4 * step + 4);
            const four = [w0!, w1!, w2!, w3!] as const;
            if (!inRegisters) k.wgmma(sum, k.slabOf(type, roomA, layout, 32 * step), right, step > 0);
            else
              emit(
                a,
                isa.wgmma({ n: WIDTH, type, a: null, b: layout, sparse: null }),
                [
                  ...four.map((w) => (type === 'f16' ? new F16x2(w.operand, w.home) : new Bf16x2(w.operand, w.home))),
                  right.low,
                  { bits: step > 0 ? 1 : 0 },
                  ...sum.values,
                ],
                registersOf(sum.values),
              );
          }
          k.wgmmaCommit();
        }
        for (const [i, sum] of sums.entries()) {
          k.wgmmaWait(1 - i);
          for (const [j, value] of sum.values.entries())
            k.stF32(out.at(k.thread.add((i * sum.values.length + j) * THREADS)), value);
        }
      },
    ),
    outputs: ['out'],
    tolerance: { ...sumsOfHalves, relative: STEPS * sumsOfHalves.relative },
    draw: (random) => {
      const a = matrix(random, type, ROWS, 16 * STEPS, 0);
      const bs = [0, 1].map(() => matrix(random, type, WIDTH, 16 * STEPS, 0));
      const results = bs.map((b) => sumsOf(a, b, null));
      const fragments = Array.from({ length: STEPS }, (_, step) => [
        ...registersA({ ...a, depth: 16, values: stepOf(a, step) }),
      ]);
      return {
        args: {
          a: image(a, layout),
          fragments: Uint32Array.from(fragments.flat()),
          b: Uint32Array.from(bs.flatMap((b) => [...image(b, layout)])),
          out: noSums(WIDTH * THREADS),
        },
        expected: { out: Float32Array.from(results.flatMap(({ sums }) => [...sums])) },
        scale: { out: results.flatMap(({ scale }) => [...scale]) },
      };
    },
  });
}

/** 16 k of each row. */
function stepOf({ rows, depth, values }: Matrix, step: number): Uint32Array {
  return Uint32Array.from({ length: rows * 16 }, (_, i) => values[Math.floor(i / 16) * depth + 16 * step + (i % 16)]!);
}

const moods: readonly Mood[] = [0, 1, 2];

export const wgmmaPrograms: readonly InstructionProgram[] = [
  ...new Map(shapes.map((shape, i) => [nameOf(shape), product(shape, moods[i % moods.length]!)])).values(),
  ...(['f16', 'bf16'] as const).flatMap((type) => [steps(type, true), steps(type, false)]),
];
