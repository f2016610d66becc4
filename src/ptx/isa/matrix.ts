// Tensor-core instructions of a warp: ldmatrix and mma, with the fragment maps as functions (PTX ISA 9.7.14.5).
import { bf16ToNumber, f16ToNumber } from '../../base/f16.ts';
import type { Kind, Op } from '../op.ts';
import type { Machine } from '../machine.ts';
import type { Instr } from '../program.ts';

/** Where an element of the 16 x 16 A fragment lies: register 0..3, lane, upper half. */
export function fragmentA(
  row: number,
  k: number,
): { readonly register: number; readonly lane: number; readonly upper: boolean } {
  return { register: (row >> 3) + 2 * (k >> 3), lane: (row & 7) * 4 + ((k & 7) >> 1), upper: (k & 1) === 1 };
}

/** Where an element of the 16 x 8 B fragment (k, column) lies. */
export function fragmentB(
  k: number,
  column: number,
): { readonly register: number; readonly lane: number; readonly upper: boolean } {
  return { register: k >> 3, lane: column * 4 + ((k & 7) >> 1), upper: (k & 1) === 1 };
}

/** Where an element of the 16 x 8 f32 accumulator lies: register 0..3 and lane. */
export function fragmentC(row: number, column: number): { readonly register: number; readonly lane: number } {
  return { register: 2 * (row >> 3) + (column & 1), lane: (row & 7) * 4 + (column >> 1) };
}

export type HalfType = 'f16' | 'bf16';
const toNumber: Readonly<Record<HalfType, (bits: number) => number>> = { f16: f16ToNumber, bf16: bf16ToNumber };

/** D = A . B + D on one warp: A 16 x 16 by rows, B 16 x 8 by columns, D in f32. Products are exact, sums in f32 in order of k; the chip's order is not documented. */
export const mma: Readonly<Record<HalfType, Op>> = { f16: mmaOp('f16'), bf16: mmaOp('bf16') };

function mmaOp(type: HalfType): Op {
  const name = `mma.sync.aligned.m16n8k16.row.col.f32.${type}.${type}.f32`;
  const kind: Kind = type === 'f16' ? 'f16x2' : 'bf16x2';
  const value = toNumber[type];
  const half = (machine: Machine, instr: Instr, index: number, lane: number, upper: boolean): number => {
    const word = machine.read(instr.src[index]!, lane);
    return value(upper ? word >>> 16 : word & 0xffff);
  };
  return {
    name,
    dst: ['f32', 'f32', 'f32', 'f32'],
    src: [kind, kind, kind, kind, kind, kind, 'f32', 'f32', 'f32', 'f32'],
    registersOnly: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    needs: 'sm_80',
    version: 7.0,
    format: (d, s) =>
      `${name} {${d.join(', ')}}, {${s.slice(0, 4).join(', ')}}, {${s.slice(4, 6).join(', ')}}, {${s.slice(6).join(', ')}};`,
    meaning: {
      kind: 'warp',
      run(machine, instr) {
        machine.converge(instr);
        const a = new Float32Array(256);
        const b = new Float32Array(128);
        for (let k = 0; k < 16; k++) {
          for (let row = 0; row < 16; row++) {
            const at = fragmentA(row, k);
            a[row * 16 + k] = half(machine, instr, at.register, at.lane, at.upper);
          }
          for (let column = 0; column < 8; column++) {
            const at = fragmentB(k, column);
            b[column * 16 + k] = half(machine, instr, 4 + at.register, at.lane, at.upper);
          }
        }
        for (let row = 0; row < 16; row++) {
          for (let column = 0; column < 8; column++) {
            const at = fragmentC(row, column);
            let sum = machine.read(instr.src[6 + at.register]!, at.lane);
            for (let k = 0; k < 16; k++) sum = Math.fround(sum + a[row * 16 + k]! * b[column * 16 + k]!);
            machine.write(instr.dst[at.register]!, at.lane, sum);
          }
        }
      },
    },
  };
}

/** Two or four 8 x 8 matrices of 16-bit elements: lane 8 m + r gives the address of row r of matrix m; lane t gets elements 2 (t % 4) and the next of row t / 4. */
export const ldmatrix: Readonly<Record<2 | 4, Op>> = { 2: ldmatrixOp(2), 4: ldmatrixOp(4) };

function ldmatrixOp(count: 2 | 4): Op {
  const name = `ldmatrix.sync.aligned.m8n8.x${count}.shared.b16`;
  return {
    name,
    dst: Array.from({ length: count }, (): Kind => 'b32'),
    src: ['shared'],
    registersOnly: [0],
    needs: 'sm_80',
    version: 7.0,
    format: (d, [from]) => `${name} {${d.join(', ')}}, [${from}];`,
    meaning: {
      kind: 'warp',
      run(machine, instr) {
        machine.converge(instr);
        machine.loadMatrices(instr, instr.src[0]!, instr.dst);
      },
    },
  };
}
