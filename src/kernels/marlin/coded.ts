// Random 4-bit matrices, for examples and tests.
import { numberToBf16, numberToF16 } from '../../base/f16.ts';
import type { Random } from '../../base/random.ts';
import type { CodedMatrix } from './pack.ts';

export interface CodedOptions {
  readonly rows: number;
  readonly columns: number;
  /** Default: one a channel. */
  readonly group?: number;
  readonly zeroPoints?: boolean;
  readonly scaleDtype?: 'F16' | 'BF16';
}

/** Random codes, scales of 0.002 .. 0.02, zero points of 4 .. 11. */
export function randomCoded(random: Random, options: CodedOptions): CodedMatrix {
  const { rows, columns, group = columns, zeroPoints = false, scaleDtype = 'F16' } = options;
  const scaleCount = (rows * columns) / group;
  const toBits = scaleDtype === 'F16' ? numberToF16 : numberToBf16;
  return {
    rows,
    columns,
    group,
    packed: Uint32Array.from({ length: rows * Math.ceil(columns / 8) }, () => random.u32()),
    scales: Uint16Array.from({ length: scaleCount }, () => toBits(0.002 + 0.018 * random.uniform())),
    scaleDtype,
    zeroPoints: zeroPoints ? Uint8Array.from({ length: scaleCount }, () => 4 + random.integer(8)) : null,
  };
}
