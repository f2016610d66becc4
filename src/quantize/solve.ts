// Rounds and prunes a matrix column by column, each column's loss made up for by those behind it: GPTQ (Frantar et al. 2022), SparseGPT (Frantar and
// Alistarh 2023), and both in one sweep. The heavy steps run on the CPU pool (cpu/assembly/rounding.ts). Knows no model and no file.
import { errors } from '../base/errors.ts';
import { type Address, offset } from '../cpu/heap.ts';
import type { Pool } from '../cpu/pool.ts';
import { packCodes, type QuantizedMatrix, type ScaleDtype, SYMMETRIC_ZERO } from '../formats/quantized.ts';
import type { Curvature } from './curvature.ts';
import { groupSize } from './rtn.ts';
import { scaleBits, storedScale } from './scale.ts';

/** How the scale of a group is found: from its largest weight, or among smaller ones by the squared error of its weights, or of what other columns cannot make up for. */
export type SolveClip = 'none' | 'mse' | 'gptq';

export interface SolveOptions {
  /** 4-bit codes, or null: weights stay as they are where they are not pruned. */
  readonly codes: {
    readonly group: number | 'channel';
    readonly symmetric: boolean;
    readonly clip: SolveClip;
    readonly scaleDtype: ScaleDtype;
  } | null;
  /** Whether two of each four columns become 0. */
  readonly prune: boolean;
}

export interface Solved {
  /** Null without codes. */
  readonly matrix: QuantizedMatrix | null;
  /** The weights that came out, [rows, columns], without codes; null where `matrix` tells them. */
  readonly weights: Float32Array | null;
  /** ||X (W - Q)^T|| / ||X W^T|| over the calibration inputs. */
  readonly relativeError: number;
}

/** Columns whose loss is handed on together. */
const BLOCK = 128;
/** Fractions of the unclipped scale that are tried: 1, 0.99, ... 0.25 (MARLIN). */
const CANDIDATES = 76;
const STEP = 0.01;
const PANEL = 8;
const ROW_GRAIN = 16;

/** `weights` [rows, columns] as `curvature` saw their inputs. Errors: 'group-invalid', 'group-unsupported', 'weight-not-finite', 'scale-overflow'. */
export function solve(
  pool: Pool,
  name: string,
  weights: Float32Array,
  curvature: Curvature,
  { codes, prune }: SolveOptions,
): Solved {
  const { columns, order } = curvature;
  const rows = weights.length / columns;
  const bad = weights.find((weight) => !Number.isFinite(weight));
  if (bad !== undefined) throw errors.weightNotFinite(name, bad);
  const group = codes === null ? columns : groupSize(codes.group, columns, name);
  if (group % PANEL !== 0) throw errors.groupUnsupported(group);
  if (prune && order !== null) throw errors.internal('columns are pruned in their own order only');
  return pool.heap.scope(() => {
    const work = newWork(pool, name, weights, curvature, group);
    const norm = normOf(pool, work, curvature);
    if (codes !== null && order !== null) staticScales(pool, work, weights, codes);
    const block = order === null ? blockOf(group) : BLOCK;
    let loss = 0;
    for (let start = 0; start < columns; start += block) {
      const count = Math.min(block, columns - start);
      if (codes !== null && order === null && start % group === 0) findScales(pool, work, curvature, start, codes);
      loss += roundBlock(pool, work, start, count, codes !== null, prune);
    }
    const relativeError = norm === 0 ? 0 : Math.sqrt(loss / norm);
    if (codes !== null) return { matrix: matrixOf(pool, work, codes, order), weights: null, relativeError };
    const pruned = inOrder(pool.heap.floats(work.weights, rows * work.stride), work, order);
    return { matrix: null, weights: pruned, relativeError };
  });
}

/** The largest block that ends where groups do. */
function blockOf(group: number): number {
  if (group <= BLOCK) return group;
  for (let block = BLOCK; block > PANEL; block -= PANEL) if (group % block === 0) return block;
  return PANEL;
}

interface Work {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly group: number;
  /** Floats from a row of weights or of U to the next. */
  readonly stride: number;
  /** [rows, stride], in the order of rounding. */
  readonly weights: Address;
  readonly u: Address;
  /** [rows, groups] */
  readonly scales: Address;
  readonly zeros: Address;
  /** [columns]: the group of the j-th column. */
  readonly groupOf: Address;
  /** [rows, columns] bytes. */
  readonly codes: Address;
  /** [rows, up to BLOCK] */
  readonly errors: Address;
  /** Inverse of a block of U. */
  readonly panels: Address;
}

function newWork({ heap }: Pool, name: string, weights: Float32Array, curvature: Curvature, group: number): Work {
  const { columns, order, u, dead } = curvature;
  const rows = weights.length / columns;
  const stride = PANEL * Math.ceil(columns / PANEL);
  const floats = (count: number): Address => heap.allocate(4 * count);
  const work: Work = {
    name,
    rows,
    columns,
    group,
    stride,
    weights: floats(rows * stride),
    u: floats(columns * stride),
    scales: floats(rows * (columns / group)),
    zeros: floats(rows * (columns / group)),
    groupOf: floats(columns),
    codes: heap.allocate(rows * columns),
    errors: floats(rows * BLOCK),
    panels: floats(BLOCK * BLOCK),
  };
  const own = heap.floats(work.weights, rows * stride);
  for (let row = 0; row < rows; row++) {
    const [to, from] = [row * stride, row * columns];
    if (order === null) own.set(weights.subarray(from, from + columns), to);
    else for (let j = 0; j < columns; j++) own[to + j] = weights[from + order[j]!]!;
    for (const j of dead) own[to + j] = 0;
  }
  fillRows(heap.floats(work.u, columns * stride), u, columns, stride);
  heap
    .words(work.groupOf, columns)
    .set(Uint32Array.from({ length: columns }, (_, j) => Math.floor((order?.[j] ?? j) / group)));
  heap.floats(work.scales, rows * (columns / group)).fill(1);
  heap.floats(work.zeros, rows * (columns / group)).fill(SYMMETRIC_ZERO);
  return work;
}

function fillRows(to: Float32Array, from: Float32Array, columns: number, stride: number): void {
  for (let i = 0; i * columns < from.length; i++) to.set(from.subarray(i * columns, (i + 1) * columns), i * stride);
}

/** tr(W H W^T): the squared norm of what the matrix gives for its calibration inputs. */
function normOf(pool: Pool, work: Work, { hessian }: Curvature): number {
  const { heap } = pool;
  const { rows, columns, stride } = work;
  return heap.scope(() => {
    const [h, dense, product] = [columns * stride, rows * columns, rows * stride].map((count) =>
      heap.allocate(4 * count),
    );
    fillRows(heap.floats(h!, columns * stride), hessian, columns, stride);
    const weights = heap.floats(work.weights, rows * stride);
    const own = heap.floats(dense!, rows * columns);
    for (let row = 0; row < rows; row++) own.set(weights.subarray(row * stride, row * stride + columns), row * columns);
    pool.run('subtractProduct', [dense!, columns, h!, 4 * stride, product!, 4 * stride, rows], stride / PANEL, 1);
    const minus = heap.floats(product!, rows * stride);
    let sum = 0;
    for (let row = 0; row < rows; row++)
      for (let j = 0; j < columns; j++) sum -= minus[row * stride + j]! * own[row * columns + j]!;
    return sum;
  });
}

type Codes = NonNullable<SolveOptions['codes']>;

/** Scales of all groups from the weights as they were: with an order of columns, groups are not met one after another. */
function staticScales(pool: Pool, work: Work, weights: Float32Array, codes: Codes): void {
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
function findScales(pool: Pool, work: Work, { u, columns }: Curvature, start: number, codes: Codes): void {
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

/** Rounds a block of columns and hands its losses on. Returns the squares of what could not be made up for. */
function roundBlock(pool: Pool, work: Work, start: number, count: number, codes: boolean, prune: boolean): number {
  const { heap } = pool;
  const { rows, columns, stride, group } = work;
  const diagonal = offset(work.u, 4 * (start * stride + start));
  pool.run(
    'roundBlock',
    [
      offset(work.weights, 4 * start),
      4 * stride,
      count,
      diagonal,
      4 * stride,
      Number(codes),
      Number(prune),
      work.scales,
      work.zeros,
      columns / group,
      offset(work.groupOf, 4 * start),
      offset(work.codes, start),
      columns,
      work.errors,
    ],
    rows,
    ROW_GRAIN,
  );
  const end = start + count;
  const rest = offset(work.u, 4 * (start * stride + end));
  if (end < columns)
    pool.run(
      'subtractProduct',
      [work.errors, count, rest, 4 * stride, offset(work.weights, 4 * end), 4 * stride, rows],
      (stride - end) / PANEL,
      1,
    );
  let loss = 0;
  for (const error of heap.floats(work.errors, rows * count)) loss += error * error;
  return loss;
}

/** Rows of [rows, stride] back in the matrix's own order, without padding. */
function inOrder(values: Float32Array, { rows, columns, stride }: Work, order: Uint32Array | null): Float32Array {
  const result = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++)
    for (let j = 0; j < columns; j++) result[row * columns + (order?.[j] ?? j)] = values[row * stride + j]!;
  return result;
}

function matrixOf(
  { heap }: Pool,
  { name, rows, columns, group, codes, scales, zeros }: Work,
  { symmetric, scaleDtype }: Codes,
  order: Uint32Array | null,
): QuantizedMatrix {
  const own = heap.bytes(codes, rows * columns);
  const ordered = new Uint8Array(rows * columns);
  for (let row = 0; row < rows; row++)
    for (let j = 0; j < columns; j++) ordered[row * columns + (order?.[j] ?? j)] = own[row * columns + j]!;
  const count = rows * (columns / group);
  return {
    rows,
    columns,
    group,
    packed: packCodes(ordered, rows, columns),
    scales: Uint16Array.from(heap.floats(scales, count), (scale) => scaleBits(name, scale, scaleDtype)),
    scaleDtype,
    zeroPoints: symmetric ? null : Uint8Array.from(heap.floats(zeros, count)),
  };
}
