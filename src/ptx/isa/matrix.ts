// Tensor-core instructions of a warp: ldmatrix, stmatrix, mma, mma.sp (PTX ISA 9.7.14.5).
import { bf16ToNumber, f16ToNumber } from '../../base/f16.ts';
import type { Machine } from '../machine.ts';
import type { Kind, Op } from '../op.ts';
import type { Instr } from '../program.ts';
import { fragmentA, fragmentB, fragmentC, type HalfPlace, metadataPlace } from './fragments.ts';
import { braced, once, repeat, warpOp } from './make.ts';

export type HalfType = 'f16' | 'bf16';
const toNumber: Readonly<Record<HalfType, (bits: number) => number>> = { f16: f16ToNumber, bf16: bf16ToNumber };
export const pairKind: Readonly<Record<HalfType, Kind>> = { f16: 'f16x2', bf16: 'bf16x2' };

/** Elements of a fragment in registers src[first], src[first + 1], ... */
function half(machine: Machine, instr: Instr, type: HalfType, first: number, at: HalfPlace): number {
  const word = machine.bits(instr.src[first + at.register]!, at.lane);
  return toNumber[type](at.upper ? word >>> 16 : word & 0xffff);
}

/** [16][16] of A in src[first ..]. */
export function readA(machine: Machine, instr: Instr, type: HalfType, first: number): Float32Array {
  const a = new Float32Array(256);
  for (let row = 0; row < 16; row++)
    for (let k = 0; k < 16; k++) a[row * 16 + k] = half(machine, instr, type, first, fragmentA(row, k));
  return a;
}

/** [8][depth] of B in src[first ..]: column after column. */
function readB(machine: Machine, instr: Instr, type: HalfType, first: number, depth: 16 | 32): Float32Array {
  const b = new Float32Array(8 * depth);
  for (let column = 0; column < 8; column++)
    for (let k = 0; k < depth; k++) b[column * depth + k] = half(machine, instr, type, first, fragmentB(k, column));
  return b;
}

/** Which k the i-th weight of a row is multiplied at. */
export type Places = (row: number, i: number) => number;
export const everyK: Places = (_, i) => i;

/**
 * Of a sparse product: of every four k two have a weight, at the places that metadata in src[index] gives. The others take no part: an infinity that B
 * holds there is never looked at.
 */
export function keptK(machine: Machine, instr: Instr, index: number, selector: 0 | 1): Places {
  return (row, kept) => {
    const { lane, bit } = metadataPlace(row, kept);
    return 4 * (kept >> 1) + ((machine.bits(instr.src[index]!, lane + 2 * selector) >>> bit) & 3);
  };
}

/** Adds A . B to the 16 x 8 sums in src[sums ..], into dst. Products are exact, sums in f32 in order of k; the chip's order is not documented. */
function multiply(
  machine: Machine,
  instr: Instr,
  a: Float32Array,
  placeOf: Places,
  b: Float32Array,
  sums: number,
): void {
  const depth = b.length / 8;
  for (let row = 0; row < 16; row++) {
    const places = Array.from({ length: 16 }, (_, i) => placeOf(row, i));
    for (let column = 0; column < 8; column++) {
      const at = fragmentC(row, column);
      let sum = machine.read(instr.src[sums + at.register]!, at.lane);
      for (const [i, k] of places.entries()) sum = Math.fround(sum + a[row * 16 + i]! * b[column * depth + k]!);
      machine.write(instr.dst[at.register]!, at.lane, sum);
    }
  }
}

/** D = A . B + D on one warp: A 16 x 16 by rows, B 16 x 8 by columns, D in f32. Sources: A (4), B (2), D (4). */
export function mma(type: HalfType): Op {
  return once(`mma.sync.aligned.m16n8k16.row.col.f32.${type}.${type}.f32`, (name) =>
    warpOp(
      {
        name,
        dst: repeat('f32', 4),
        src: [...repeat(pairKind[type], 6), ...repeat('f32', 4)],
        format: (d, s) => `${name} ${[d, s.slice(0, 4), s.slice(4, 6), s.slice(6)].map(braced).join(', ')};`,
      },
      (machine, instr) => {
        machine.converge(instr);
        machine.countTensor(2 * 16 * 8 * 16);
        multiply(machine, instr, readA(machine, instr, type, 0), everyK, readB(machine, instr, type, 4, 16), 6);
      },
    ),
  );
}

/**
 * The same over 32 k, where A keeps two of every four weights (2:4): sources A (4, the kept ones), B (4), D (4), metadata (1). The two places
 * of a four must ascend (ordered metadata). `selector`: which lanes of each four hold the metadata, 0: the first two, 1: the last two.
 */
export function mmaSparse(type: HalfType, selector: 0 | 1): Op {
  const spelling = `mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.${type}.${type}.f32`;
  return once(`${spelling} ${selector}`, (name) =>
    warpOp(
      {
        name,
        dst: repeat('f32', 4),
        src: [...repeat(pairKind[type], 8), ...repeat('f32', 4), 'b32'],
        version: 8.5,
        format: (d, s) =>
          `${spelling} ${[d, s.slice(0, 4), s.slice(4, 8), s.slice(8, 12)].map(braced).join(', ')}, ${s[12]}, 0x${selector};`,
      },
      (machine, instr) => {
        machine.converge(instr);
        machine.countTensor(2 * 16 * 8 * 32);
        const kept = keptK(machine, instr, 12, selector);
        multiply(machine, instr, readA(machine, instr, type, 0), kept, readB(machine, instr, type, 4, 32), 8);
      },
    ),
  );
}

/**
 * One, two or four 8 x 8 matrices of 16-bit elements: lane 8 m + r gives the address of row r of matrix m; lane t gets elements 2 (t % 4) and the
 * next of row t / 4. Transposed: of column t / 4.
 */
export function ldmatrix(count: 1 | 2 | 4, transposed = false): Op {
  return once(`ldmatrix.sync.aligned.m8n8.x${count}${transposed ? '.trans' : ''}.shared.b16`, (name) =>
    warpOp(
      {
        name,
        dst: repeat('b32', count),
        src: ['shared'],
        format: (d, [from]) => `${name} ${braced(d)}, [${from}];`,
      },
      (machine, instr) => {
        machine.converge(instr);
        machine.loadMatrices(instr, instr.src[0]!, instr.dst, transposed);
      },
    ),
  );
}

/** The way back. Sources: address, then a register a matrix. */
export function stmatrix(count: 1 | 2 | 4, transposed = false): Op {
  return once(`stmatrix.sync.aligned.m8n8.x${count}${transposed ? '.trans' : ''}.shared.b16`, (name) =>
    warpOp(
      {
        name,
        src: ['shared', ...repeat('b32', count)],
        needs: 'sm_90',
        version: 7.8,
        format: (_, [to, ...values]) => `${name} [${to}], ${braced(values)};`,
      },
      (machine, instr) => {
        machine.converge(instr);
        machine.storeMatrices(instr, instr.src[0]!, instr.src.slice(1), transposed);
      },
    ),
  );
}
