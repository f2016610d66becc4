// silu(gate) * up (Shazeer 2020, SwiGLU) in f16 with f32 arithmetic: eight numbers a thread.
import { kernel } from '../../ptx/kernel.ts';
import type { Program } from '../../ptx/program.ts';
import type { F32 } from '../../ptx/values.ts';
import {
  awaitInputs,
  floatsOf,
  LOG2_E,
  type Overlap,
  PER_LOAD,
  requireMultiple,
  storeHalves,
  targetOf,
  within,
} from '../vectors.ts';

export interface ActivationShape extends Overlap {
  /** Of the result: a multiple of 8. */
  readonly width: number;
}

export type SiluMultiplyParams = {
  /** [tokens, 2 width]: gates, then ups. */
  readonly x: 'f16*';
  /** [tokens, width] */
  readonly y: 'f16*';
};

const THREADS = 128;

/** CTAs along a row. */
export function siluColumns(width: number): number {
  return Math.ceil(width / (THREADS * PER_LOAD));
}

/** Grid: [siluColumns(width), tokens]. Errors: RangeError for another width. */
export function siluMultiply(shape: ActivationShape): Program<SiluMultiplyParams> {
  const { width } = shape;
  requireMultiple('the width', width, PER_LOAD);
  const params: SiluMultiplyParams = { x: 'f16*', y: 'f16*' };
  return kernel(
    { name: `silu_multiply_${width}`, threads: THREADS, target: targetOf(shape), params },
    (k, { x, y }) => {
      awaitInputs(k, shape);
      const column = k.cta.x.mul(THREADS).add(k.thread).mul(PER_LOAD);
      within(k, column, width, siluColumns(width) * THREADS * PER_LOAD, () => {
        const row = k.cta.y.mul(width);
        const from = x.at(row.mul(2).add(column));
        const gates = floatsOf(k.ldGlobal(from, 4));
        const ups = floatsOf(k.ldGlobal(from.at(width), 4));
        storeHalves(
          k,
          y.at(row.add(column)),
          gates.map((gate, i) => silu(gate).mul(ups[i]!)),
        );
      });
    },
  );
}

/** x / (1 + e^-x): far below zero e^-x is infinite, and the result 0. */
function silu(x: F32): F32 {
  return x.mul(x.mul(-LOG2_E).exp2().add(1).rcp());
}
