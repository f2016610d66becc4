// Rounds and prunes a matrix column by column, each column's loss made up for by those behind it: GPTQ (Frantar et al. 2022), SparseGPT (Frantar and
// Alistarh 2023), and both in one sweep. The heavy steps run on the CPU pool (cpu/assembly/rounding.ts). Knows no model and no file.
import { errors } from '../base/errors.ts';
import { offset } from '../cpu/heap.ts';
import type { Pool } from '../cpu/pool.ts';
import { packCodes, type QuantizedMatrix } from '../formats/quantized.ts';
import type { Curvature } from './curvature.ts';
import { groupSize } from './rtn.ts';
import { scaleBits } from './scale.ts';
import { type Codes, findScales, ROW_GRAIN, staticScales } from './scale-search.ts';
import { BLOCK, fillRows, newWork, PANEL, type Work } from './solve-memory.ts';

export interface SolveOptions {
  /** 4-bit codes, or null: weights stay as they are where they are not pruned. */
  readonly codes: Codes | null;
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
  const group = groupOfCodes(codes, columns, name);
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

/** Columns of a group; all of them without codes. Errors: 'group-invalid', 'group-unsupported' where panels of 8 do not fill one. */
export function groupOfCodes(codes: Pick<Codes, 'group'> | null, columns: number, name: string): number {
  const group = codes === null ? columns : groupSize(codes.group, columns, name);
  if (group % PANEL !== 0) throw errors.groupUnsupported(group);
  return group;
}

/** The largest block that ends where groups do. */
function blockOf(group: number): number {
  if (group <= BLOCK) return group;
  for (let block = BLOCK; block > PANEL; block -= PANEL) if (group % block === 0) return block;
  return PANEL;
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
