// The scale of each group of a matrix: from its largest weight, or among smaller ones. The search runs on the CPU pool (cpu/assembly/rounding.ts).
import { type Address, offset } from '../cpu/heap.ts';
import type { Pool } from '../cpu/pool.ts';
import type { ScaleDtype } from '../formats/quantized.ts';
import type { Curvature } from './curvature.ts';
import { storedScale } from './scale.ts';
import { BLOCK, PANEL, type Work } from './solve-memory.ts';

/** How the scale of a group is found: from its largest weight, or among smaller ones by the squared error of its weights, or of what other columns cannot make up for. */
export type SolveClip = 'none' | 'mse' | 'gptq';

export interface Codes {
  readonly group: number | 'channel';
  readonly symmetric: boolean;
  readonly clip: SolveClip;
  readonly scaleDtype: ScaleDtype;
}

/** Fractions of the unclipped scale that are tried: 1, 0.99, ... 0.25 (MARLIN). */
const CANDIDATES = 76;
const STEP = 0.01;
/** Rows that a thread of the pool takes at once. */
export const ROW_GRAIN = 16;

/** Scales of all groups from the weights as they were: with an order of columns, groups are not met one after another. */
export function staticScales(pool: Pool, work: Work, weights: Float32Array, codes: Codes): void {
  const { heap } = pool;
  const { rows, columns, group, stride } = work;
  heap.scope(() => {
    const original = heap.allocate(4 * rows * stride);
    const own = heap.floats(original, rows * stride);
    for (let row = 0; row < rows; row++) own.set(weights.subarray(row * columns, (row + 1) * columns), row * stride);
    for (let start = 0; start < columns; start += group)
      search(pool, work, offset(original, 4 * start), start / group, codes, null);
  });
}

/** Scales of the group that begins at `start`, from its weights as they are by now. */
export function findScales(pool: Pool, work: Work, { u, columns }: Curvature, start: number, codes: Codes): void {
  const { group, panels } = work;
  // Only what a block holds can be weighed by its part of U.
  const weigh = codes.clip === 'gptq' && group <= BLOCK;
  if (weigh) pool.heap.floats(panels, group * group).set(inversePanels(u, columns, start, group));
  search(pool, work, offset(work.weights, 4 * start), start / group, codes, weigh ? panels : null);
}

function search(
  pool: Pool,
  work: Work,
  first: Address,
  group: number,
  { symmetric, clip, scaleDtype }: Codes,
  panels: Address | null,
): void {
  const { rows, columns, stride, scales, zeros } = work;
  const groups = columns / work.group;
  // Beyond a block, clipping by what others cannot make up for is not defined, and MARLIN does not clip.
  const clips = clip === 'mse' || panels !== null || (clip === 'gptq' && work.group <= BLOCK);
  pool.run(
    'searchScales',
    [
      first,
      4 * stride,
      work.group,
      Number(symmetric),
      clips ? CANDIDATES : 1,
      STEP,
      panels ?? 0,
      scales,
      zeros,
      groups,
      group,
    ],
    rows,
    ROW_GRAIN,
  );
  // Rounding goes by the scale that will be stored.
  const own = pool.heap.floats(scales, rows * groups);
  for (let at = group; at < own.length; at += groups) own[at] = own[at] === 0 ? 1 : storedScale(own[at]!, scaleDtype);
}

/** The inverse of the block of U from `start` on, in panels of 8 columns [count / 8][count][8]. */
function inversePanels(u: Float32Array, columns: number, start: number, count: number): Float32Array {
  const inverse = new Float64Array(count * count);
  for (let j = 0; j < count; j++) {
    inverse[j * count + j] = 1 / u[(start + j) * columns + start + j]!;
    for (let i = j - 1; i >= 0; i--) {
      let sum = 0;
      for (let k = i + 1; k <= j; k++) sum += u[(start + i) * columns + start + k]! * inverse[k * count + j]!;
      inverse[i * count + j] = -sum / u[(start + i) * columns + start + i]!;
    }
  }
  return Float32Array.from({ length: count * count }, (_, at) => {
    const [panel, inPanel] = [Math.floor(at / (PANEL * count)), at % (PANEL * count)];
    return inverse[Math.floor(inPanel / PANEL) * count + panel * PANEL + (inPanel % PANEL)]!;
  });
}
