// Tensor-core instructions of a warpgroup, which go on while the program does: wgmma, dense and sparse (PTX ISA 9.7.15). A in registers or
// shared memory, B in shared memory, both K-major. Each warp of the four is computed by itself: 16 of the 64 rows.
import type { Machine } from '../machine.ts';
import type { Kind, Op } from '../op.ts';
import type { Instr, Operand, Swizzle } from '../program.ts';
import { braced, once, repeat, warpOp } from './make.ts';
import { keptK, pairKind } from './matrix.ts';
import { bytesOf, gatherA, type MatrixType, multiply, valuesOf } from './operands.ts';

export type WgmmaType = MatrixType;

/** How a K-major operand lies in shared memory (PTX ISA 9.7.15.5.1.2). A row holds as many bytes of k as the swizzle spans; 16 without one. */
export interface MatrixLayout {
  readonly swizzle: Swizzle;
  /** From 8 rows to the next 8. */
  readonly strideBytes: number;
  /** Without a swizzle: from 16 bytes of k to the next; otherwise unused. */
  readonly leadingBytes: number;
}

export interface WgmmaShape {
  /** Columns of B and of the sums: 8, 16, ... 256. */
  readonly n: number;
  readonly type: WgmmaType;
  /** Null: A is in registers. */
  readonly a: MatrixLayout | null;
  readonly b: MatrixLayout;
  /** 2:4 weights in A, twice the k: which lanes of each four hold the metadata. */
  readonly sparse: 0 | 1 | null;
}

const layoutCode: Readonly<Record<Swizzle, number>> = { 0: 0, 128: 1, 64: 2, 32: 3 };

/** The upper word of a matrix descriptor: strides of 16 bytes in bits 0 .. 13, the swizzle in bits 30 and 31. */
export function descriptorHigh({ swizzle, strideBytes }: MatrixLayout): number {
  return (((strideBytes >> 4) & 0x3fff) | (layoutCode[swizzle] << 30)) >>> 0;
}

/** What is added to address / 16 for the lower word. */
export function descriptorLow({ swizzle, leadingBytes }: MatrixLayout): number {
  return (((swizzle === 0 ? leadingBytes : 16) >> 4) << 16) >>> 0;
}

/** Byte address of 16 bytes of k (`chunk`) of a row, as the chip finds it from the start address. */
function chunkAddress(
  start: number,
  { swizzle, strideBytes, leadingBytes }: MatrixLayout,
  row: number,
  chunk: number,
): number {
  if (swizzle === 0) return start + (row >> 3) * strideBytes + (row & 7) * 16 + chunk * leadingBytes;
  const linear = start + (row >> 3) * strideBytes + (row & 7) * swizzle + chunk * 16;
  return linear ^ (((linear >> 7) & (swizzle / 16 - 1)) << 4);
}

/** [rows][depth] numbers of an operand whose descriptor's lower word is in `low`. */
function readShared(
  machine: Machine,
  instr: Instr,
  low: Operand,
  layout: MatrixLayout,
  type: WgmmaType,
  [first, rows]: readonly [first: number, rows: number],
  depth: number,
): Float32Array {
  const start = (machine.read(low, 0) & 0x3fff) << 4;
  const bytes = bytesOf[type];
  const decoded = valuesOf(type);
  const values = new Float32Array(rows * depth);
  const chunks = (depth * bytes) / 16;
  const mask = bytes === 2 ? 0xffff : 0xff;
  const perWord = 4 / bytes;
  for (let row = 0; row < rows; row++) {
    for (let chunk = 0; chunk < chunks; chunk++) {
      const words = machine.readForMatrix(instr, chunkAddress(start, layout, first + row, chunk));
      let at = row * depth + (chunk * 16) / bytes;
      for (let word = 0; word < 4; word++)
        for (let i = 0; i < perWord; i++) values[at++] = decoded[(words[word]! >>> (8 * bytes * i)) & mask]!;
    }
  }
  return values;
}

/**
 * D = A . B (+ D): 64 x n sums in n / 2 registers a lane, over 32 bytes of k; over 64 where A is sparse. Sources: A (4 registers, or the lower word
 * of a descriptor), B's lower word, whether to add to D (0 or 1), metadata if sparse, D. Until the group is waited for, the registers of D
 * and A and the shared memory are in use.
 */
export function wgmma(shape: WgmmaShape): Op {
  const { n, type, a, b, sparse } = shape;
  if (!Number.isInteger(n / 8) || n < 8 || n > 256) throw new RangeError(`wgmma with n = ${n}: 8, 16, ... 256`);
  const bytes = bytesOf[type];
  const kept = 32 / bytes;
  const depth = sparse === null ? kept : 2 * kept;
  if (sparse !== null && bytes === 1) throw new RangeError('sparse products are of f16 and bf16');
  const spelling = `wgmma.mma_async${sparse === null ? '' : '.sp'}.sync.aligned.m64n${n}k${depth}.f32.${type}.${type}`;
  const aKind: Kind = type === 'f16' || type === 'bf16' ? pairKind[type] : 'b32';
  const aKinds: readonly Kind[] = a === null ? repeat(aKind, 4) : ['u32'];
  const at = aKinds.length;
  const sums = at + 2 + (sparse === null ? 0 : 1);
  const key = [spelling, a === null ? 'registers' : layoutText(a), layoutText(b), sparse ?? ''].join(' ');
  return once(key, (name) =>
    warpOp(
      {
        name,
        dst: repeat('f32', n / 2),
        src: [...aKinds, 'u32', 'u32', ...(sparse === null ? [] : (['b32'] as const)), ...repeat('f32', n / 2)],
        immediates: [at + 1],
        needs: 'sm_90a',
        version: sparse === null ? 8.0 : 8.2,
        inFlight: a === null ? [0, 1, 2, 3] : [],
        format: (d, s) => {
          const operands = [
            braced(d),
            a === null ? braced(s.slice(0, 4)) : '%a',
            '%b',
            ...(sparse === null ? [] : [s[at + 2]!, String(sparse)]),
            '%add',
            '1',
            '1',
            // Transposition exists for 16-bit types only; of A only where it is in shared memory.
            ...(bytes === 1 ? [] : a === null ? ['0'] : ['0', '0']),
          ];
          return [
            '{ .reg .pred %add; .reg .b64 %b;',
            `setp.ne.b32 %add, ${s[at + 1]}, 0;`,
            `mov.b64 %b, {${s[at]}, ${descriptorHigh(b)}};`,
            ...(a === null ? [] : [`.reg .b64 %a; mov.b64 %a, {${s[0]}, ${descriptorHigh(a)}};`]),
            `${spelling} ${operands.join(', ')}; }`,
          ].join(' ');
        },
      },
      (machine, instr) => {
        machine.converge(instr);
        const firstRow = ((machine.thread(0) >> 5) & 3) * 16;
        const left =
          a === null
            ? gatherA(machine, instr.src, 0, type)
            : readShared(machine, instr, instr.src[0]!, a, type, [firstRow, 16], kept);
        const keptAt = sparse === null ? null : keptK(machine, instr, at + 2, sparse);
        const right = readShared(machine, instr, instr.src[at]!, b, type, [0, n], depth);
        const adds = machine.read(instr.src[at + 1]!, 0) !== 0;
        machine.beginMatrix(instr, [...instr.dst, ...(a === null ? instr.src.slice(0, 4) : [])]);
        machine.countTensor(2 * 16 * n * depth);
        multiply(machine, { operands: instr.src, first: sums, adds }, left, right, depth, instr.dst, keptAt);
      },
    ),
  );
}

const layoutText = ({ swizzle, strideBytes, leadingBytes }: MatrixLayout): string =>
  `${swizzle}/${strideBytes}/${leadingBytes}`;

/** Before the first wgmma, and between other instructions on its registers and the next one. */
export const fenceMatrix: Op = warpOp(
  { name: 'wgmma.fence', needs: 'sm_90a', version: 8.0, format: () => 'wgmma.fence.sync.aligned;' },
  (machine, instr) => {
    machine.converge(instr);
    machine.fenceMatrix();
  },
);

/** Closes the group of products begun since the last commit. */
export const commitMatrix: Op = warpOp(
  { name: 'wgmma.commit_group', needs: 'sm_90a', version: 8.0, format: () => 'wgmma.commit_group.sync.aligned;' },
  (machine, instr) => {
    machine.converge(instr);
    machine.commitMatrix();
  },
);

/** Waits until at most `pending` groups are under way: then their registers and shared memory may be touched again. */
export function waitMatrix(pending: number): Op {
  return once(`wgmma.wait_group ${pending}`, (name) =>
    warpOp(
      { name, needs: 'sm_90a', version: 8.0, format: () => `wgmma.wait_group.sync.aligned ${pending};` },
      (machine, instr) => {
        machine.converge(instr);
        machine.waitMatrix(pending);
      },
    ),
  );
}
