// What second-order rounding needs to know of a matrix's inputs: H = X^T X, damped, factored, and the order in which columns are rounded
// (Frantar et al. 2022, GPTQ). Knows no model and no file.
import { errors } from '../base/errors.ts';
import { inverseFactor, NotPositive } from '../cpu/inverse-factor.ts';
import type { Pool } from '../cpu/pool.ts';

export interface CurvatureOptions {
  /** Part of the mean of H's diagonal that is added to it: 0.01 in GPTQ, 0.1 in the recipe of MARLIN. */
  readonly damp: number;
  /** Columns of the largest diagonal first. */
  readonly actOrder: boolean;
  /** Tokens that H was summed over, for an error. */
  readonly tokens: number;
}

export interface Curvature {
  readonly columns: number;
  /** The j-th column to be rounded is column order[j] of the matrix; null: as they stand. */
  readonly order: Uint32Array | null;
  /** H in that order, not damped, [columns, columns]. */
  readonly hessian: Float32Array;
  /** Upper triangular, H^-1 = U^T U, of the damped H in that order. */
  readonly u: Float32Array;
  /** Columns, in that order, whose inputs were always 0: their weights do nothing, and become 0. */
  readonly dead: readonly number[];
  /** What made the factor succeed: at least the one that was asked for. */
  readonly damp: number;
}

/** Dampening beyond the mean of the diagonal would be rounding to nearest in all but name. */
const MOST_DAMP = 1;

/** `hessian` [columns, columns] of the inputs of `module`. Errors: 'hessian-not-positive'. */
export function curvatureOf(
  pool: Pool,
  module: string,
  hessian: Float32Array,
  columns: number,
  { damp, actOrder, tokens }: CurvatureOptions,
): Curvature {
  const order = actOrder ? descending(hessian, columns) : null;
  const ordered = order === null ? hessian : permuted(hessian, columns, order);
  const dead = Array.from({ length: columns }, (_, i) => i).filter((i) => ordered[i * columns + i] === 0);
  const mean = traceOf(ordered, columns) / columns;
  for (let factor = damp; ; factor = 2 * Math.max(factor, 0.01)) {
    const added = new Float64Array(columns).fill(factor * mean);
    for (const i of dead) added[i]! += mean;
    try {
      return {
        columns,
        order,
        hessian: ordered,
        u: inverseFactor(pool, ordered, added, new Float32Array(columns ** 2)),
        dead,
        damp: factor,
      };
    } catch (error) {
      if (!(error instanceof NotPositive)) throw error;
      if (2 * Math.max(factor, 0.01) > MOST_DAMP) throw errors.hessianNotPositive(module, tokens, factor, error.pivot);
    }
  }
}

function traceOf(a: Float32Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[i * n + i]!;
  return sum;
}

/** Columns by their diagonal, the largest first; of equals the first. */
function descending(a: Float32Array, n: number): Uint32Array {
  const order = Array.from({ length: n }, (_, i) => i);
  return Uint32Array.from(order.toSorted((i, j) => a[j * n + j]! - a[i * n + i]! || i - j));
}

function permuted(a: Float32Array, n: number, order: Uint32Array): Float32Array {
  const result = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = order[i]! * n;
    for (let j = 0; j < n; j++) result[i * n + j] = a[row + order[j]!]!;
  }
  return result;
}
