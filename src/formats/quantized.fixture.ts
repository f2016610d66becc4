// Test support, used by tests only: random quantized matrices of any kind.
import { numberToBf16, numberToF16 } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { packCodes, type QuantizedMatrix, type ScaleDtype } from './quantized.ts';

/** What a random matrix is like. */
export interface MatrixShape {
  readonly rows: number;
  readonly columns: number;
  readonly group: number;
  /** Zero points between, one of them `high`; null: symmetric. */
  readonly zeros: { readonly low: number; readonly high: number } | null;
  /** Columns belong to groups in a random order. */
  readonly scattered: boolean;
  readonly scaleDtype: ScaleDtype;
  readonly seed: number;
}

/** Random codes, scales, zero points and order of groups. */
export function randomMatrix({
  rows,
  columns,
  group,
  zeros,
  scattered,
  scaleDtype,
  seed,
}: MatrixShape): QuantizedMatrix {
  const random = new Random(seed);
  const groups = columns / group;
  const codes = Uint8Array.from({ length: rows * columns }, () => random.integer(16));
  const toBits = scaleDtype === 'F16' ? numberToF16 : numberToBf16;
  const zeroPoints =
    zeros === null
      ? null
      : Uint8Array.from({ length: rows * groups }, () => zeros.low + random.integer(zeros.high - zeros.low + 1));
  // Not every zero point may happen to be 8, which would be symmetric.
  if (zeroPoints !== null) zeroPoints[0] = zeros!.high;
  const order = Array.from({ length: columns }, (_, k) => k);
  for (let k = columns - 1; k > 0; k--) {
    const other = random.integer(k + 1);
    [order[k], order[other]] = [order[other]!, order[k]!];
  }
  const groupOf = Uint32Array.from(order, (k) => Math.floor(k / group));
  const trivial = groupOf.every((g, k) => g === Math.floor(k / group));
  return {
    rows,
    columns,
    group,
    packed: packCodes(codes, rows, columns),
    scales: Uint16Array.from({ length: rows * groups }, () => toBits(0.001 + random.uniform())),
    scaleDtype,
    zeroPoints,
    ...(scattered && !trivial ? { groupOf } : {}),
  };
}
