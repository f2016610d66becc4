// Programs for the tensor cores of a warp: ldmatrix, stmatrix, mma, mma.sp. Where an element lies in a fragment is written down here once more, as
// the PTX ISA says it (9.7.14.5), and not taken from isa/fragments.ts.
import type { Random } from '../../base/random.ts';
import * as isa from '../../ptx/isa/matrix.ts';
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import { F32 } from '../../ptx/values.ts';
import { define, emit, type InstructionProgram, noSums, type Tolerance, untouched, words } from './define.fixture.ts';
import { counts, halves } from './every-op.fixture.ts';
import { dot, matrix, type Matrix, metadata, type Mood, sparseMatrix } from './numbers.fixture.ts';

export const sumsOfHalves: Tolerance = {
  relative: 33 * 2 ** -23,
  reason: 'tensor cores align up to 33 addends to the largest and cut each off below 2^-23 of it',
};

const flags = [false, true] as const;
const MATRIX_BYTES = 128;

/** 8 x 8 matrices of 16-bit elements as bytes: element (r, c) of the words that lanes hold of them, lane 4 r + c / 2; by columns where transposed. */
function turned(matrices: Uint16Array, transposed: boolean): Uint16Array {
  return matrices.map((_, i) => {
    const [m, r, c] = [i >> 6, (i >> 3) & 7, i & 7];
    return matrices[transposed ? m * 64 + c * 8 + r : i]!;
  });
}

const pieces = counts.flatMap((count) => flags.map((transposed) => ({ count, transposed })));

/** Registers of each ldmatrix in turn to memory, as rows of the matrix they would be. */
const loads = define({
  program: kernel({ name: 'ldmatrix', threads: 32, params: { x: 'b32*', out: 'b32*' } }, (k, { x, out }) => {
    const room = k.shared(rows('b16', [32, 8]));
    for (let i = 0; i < 4; i++)
      k.stShared(room.at(k.lane.add(32 * i).mul(2)), [k.ldGlobal(x.at(k.lane.add(32 * i)), 1)[0]!]);
    k.syncWarp();
    for (const [i, { count, transposed }] of pieces.entries()) {
      const words = k.ldmatrix(room.at(k.lane.mod(8 * count).mul(8)), count, { transposed });
      for (const [j, word] of words.entries()) k.stGlobal(out.at(k.lane.add(32 * (4 * i + j))), [word]);
    }
  }),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, MATRIX_BYTES);
    const expected = untouched(pieces.length * MATRIX_BYTES);
    for (const [i, { count, transposed }] of pieces.entries()) {
      const all = new Uint32Array(turned(new Uint16Array(x.buffer), transposed).buffer);
      expected.set(all.subarray(0, 32 * count), i * MATRIX_BYTES);
    }
    return { args: { x, out: untouched(expected.length) }, expected: { out: expected } };
  },
});

const stores = define({
  program: kernel(
    { name: 'stmatrix', threads: 32, target: 'sm_90', params: { x: 'b32*', out: 'b32*' } },
    (k, { x, out }) => {
      const room = k.shared(rows('b16', [32, 8]));
      for (const [i, { count, transposed }] of pieces.entries()) {
        const values = Array.from({ length: count }, (_, j) => k.ldGlobal(x.at(k.lane.add(32 * j)), 1)[0]!);
        emit(x, isa.stmatrix(count, transposed), [room.at(k.lane.mod(8 * count).mul(8)), ...values]);
        k.syncWarp();
        for (let j = 0; j < count; j++)
          k.stGlobal(out.at(k.lane.add(32 * (4 * i + j))), [k.ldShared(room.at(k.lane.add(32 * j).mul(2)), 1)[0]!]);
        k.syncWarp();
      }
    },
  ),
  outputs: ['out'],
  draw: (random) => {
    const x = words(random, MATRIX_BYTES);
    const expected = untouched(pieces.length * MATRIX_BYTES);
    for (const [i, { count, transposed }] of pieces.entries()) {
      const all = new Uint32Array(turned(new Uint16Array(x.buffer), transposed).buffer);
      expected.set(all.subarray(0, 32 * count), i * MATRIX_BYTES);
    }
    return { args: { x, out: untouched(expected.length) }, expected: { out: expected } };
  },
});

// ---- fragments, register i of a lane: groups of four lanes are rows (A, sums) or columns (B)

const row = (lane: number, i: number): number => (lane >> 2) + 8 * (i & 1);

/** 16 rows from `first` on and 16 k of a matrix as A: 4 registers of 32 lanes. */
export function asA({ depth, values }: Matrix, first: number): Uint32Array {
  return Uint32Array.from({ length: 128 }, (_, n) => {
    const [i, lane] = [n >> 5, n & 31];
    const at = (first + row(lane, i)) * depth + 2 * (lane & 3) + 8 * (i >> 1);
    return (values[at]! | (values[at + 1]! << 16)) >>> 0;
  });
}

/** 8 rows of the transpose of B and all k: a register for each 8 of them. */
function asB({ depth, values }: Matrix): Uint32Array {
  return Uint32Array.from({ length: depth * 4 }, (_, n) => {
    const [i, lane] = [n >> 5, n & 31];
    const at = (lane >> 2) * depth + 2 * (lane & 3) + 8 * i;
    return (values[at]! | (values[at + 1]! << 16)) >>> 0;
  });
}

const TRIALS = 6;
const SUMS = 128;

/** For each trial the 16 x 8 sums as registers: 4 of 32 lanes, rows g and g + 8, two columns a lane. */
function products(all: readonly { a: Matrix; b: Matrix; c: Float32Array }[]) {
  const [sums, scale] = [new Float32Array(all.length * SUMS), new Float32Array(all.length * SUMS)];
  for (const [trial, { a, b, c }] of all.entries()) {
    for (let n = 0; n < SUMS; n++) {
      const [i, lane] = [n >> 5, n & 31];
      const dotted = dot(a, row(lane, i >> 1), b, 2 * (lane & 3) + (i & 1), c[n]!);
      sums[trial * SUMS + n] = dotted.value;
      scale[trial * SUMS + n] = dotted.scale;
    }
  }
  return { sums, scale };
}

const moodOf = (trial: number): Mood => (trial < 2 ? 0 : trial < 4 ? 1 : 2);
const joined = (parts: readonly Uint32Array[]): Uint32Array => Uint32Array.from(parts.flatMap((part) => [...part]));

function sumsBefore(random: Random, trial: number): Float32Array {
  return trial === 0 ? new Float32Array(SUMS) : random.fillNormal(new Float32Array(SUMS), trial);
}

function mma(type: isa.HalfType, selector: 0 | 1 | null): InstructionProgram {
  const op = selector === null ? isa.mma(type) : isa.mmaSparse(type, selector);
  const bRegisters = selector === null ? 2 : 4;
  return define({
    program: kernel(
      {
        name: selector === null ? `mma_${type}` : `mma_sparse_${type}_${selector}`,
        threads: 32,
        params: { a: 'b32*', b: 'b32*', c: 'f32*', metadata: 'b32*', out: 'f32*' },
      },
      (k, { a, b, c, metadata: meta, out }) => {
        for (let trial = 0; trial < TRIALS; trial++) {
          const fragment = (from: typeof a, count: number) =>
            Array.from({ length: count }, (_, i) => k.ldGlobal(from.at(k.lane.add(32 * (trial * count + i))), 1)[0]!);
          const sums = [0, 1, 2, 3].map((i) => k.ldF32(c.at(k.lane.add(trial * SUMS + 32 * i))));
          const sources = [...fragment(a, 4), ...fragment(b, bRegisters), ...sums];
          const results = emit(a, op, selector === null ? sources : [...sources, ...fragment(meta, 1)]);
          for (const [i, reg] of results.entries())
            k.stF32(out.at(k.lane.add(trial * SUMS + 32 * i)), new F32(reg, a.home));
        }
      },
    ),
    outputs: ['out'],
    tolerance: sumsOfHalves,
    draw: (random) => {
      const drawn = Array.from({ length: TRIALS }, (_, trial) => {
        const make = selector === null ? matrix : sparseMatrix;
        return {
          a: make(random, type, 16, 16, moodOf(trial)),
          b: matrix(random, type, 8, 8 * bRegisters, moodOf(trial)),
          c: sumsBefore(random, trial),
        };
      });
      const { sums, scale } = products(drawn);
      return {
        args: {
          a: joined(drawn.map(({ a }) => asA(a, 0))),
          b: joined(drawn.map(({ b }) => asB(b))),
          c: Float32Array.from(drawn.flatMap(({ c }) => [...c])),
          metadata: joined(drawn.map(({ a }) => metadata(random, a, 0, selector ?? 0))),
          out: noSums(sums.length),
        },
        expected: { out: sums },
        scale: { out: scale },
      };
    },
  });
}

export const matrixPrograms: readonly InstructionProgram[] = [
  loads,
  stores,
  ...halves.flatMap((type) => ([null, 0, 1] as const).map((selector) => mma(type, selector))),
];
