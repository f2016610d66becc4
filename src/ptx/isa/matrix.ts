// Tensor-core instructions of a warp: ldmatrix, stmatrix, mma, mma.sp (PTX ISA 9.7.14.5).
import type { Machine } from '../machine.ts';
import type { Kind, Op } from '../op.ts';
import type { Instr } from '../program.ts';
import { metadataPlace } from './fragments.ts';
import { braced, once, repeat, warpOp } from './make.ts';
import { gatherA, gatherB, type HalfType, multiply } from './operands.ts';

export type { HalfType } from './operands.ts';
export const pairKind: Readonly<Record<HalfType, Kind>> = { f16: 'f16x2', bf16: 'bf16x2' };

/**
 * Of a sparse product, for each row and each of its 16 weights the k that it is multiplied at: of every four k two have a weight, at the places that
 * metadata in src[index] gives. The others take no part: an infinity that B holds there is never looked at.
 */
export function keptK(machine: Machine, instr: Instr, index: number, selector: 0 | 1): Uint8Array {
  return Uint8Array.from({ length: 16 * 16 }, (_, i) => {
    const kept = i & 15;
    const { lane, bit } = metadataPlace(i >> 4, kept);
    return 4 * (kept >> 1) + ((machine.bits(instr.src[index]!, lane + 2 * selector) >>> bit) & 3);
  });
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
        const [a, b] = [gatherA(machine, instr.src, 0, type), gatherB(machine, instr.src, 4, type, 16)];
        multiply(machine, { operands: instr.src, first: 6, adds: true }, a, b, 16, instr.dst);
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
        const [a, b] = [gatherA(machine, instr.src, 0, type), gatherB(machine, instr.src, 4, type, 32)];
        multiply(machine, { operands: instr.src, first: 8, adds: true }, a, b, 32, instr.dst, kept);
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
