// Rows of a 16-bit table by token id, widened to f32: eight numbers a thread.
import { kernel } from '../../ptx/kernel.ts';
import type { Program } from '../../ptx/program.ts';
import {
  awaitInputs,
  floatsOf,
  type Overlap,
  PER_LOAD,
  requireMultiple,
  STATE_IDS,
  stateOf,
  storeFloats,
  targetOf,
  within,
} from '../vectors.ts';

export interface EmbeddingShape extends Overlap {
  /** Of a row: a multiple of 8. */
  readonly width: number;
  readonly type: 'f16' | 'bf16';
}

export type EmbedParams = {
  /** [vocabulary, width] of f16 or bf16. */
  readonly table: 'b16*';
  /** The step: position, tokens, and from STATE_IDS on the token ids, each below the size of the vocabulary. */
  readonly state: 'u32*';
  /** [tokens, width] */
  readonly y: 'f32*';
};

const THREADS = 128;

/** CTAs along a row. */
export function embedColumns(width: number): number {
  return Math.ceil(width / (THREADS * PER_LOAD));
}

/** Grid: [embedColumns(width), tokens]. Errors: RangeError for another width. */
export function embed(shape: EmbeddingShape): Program<EmbedParams> {
  const { width, type } = shape;
  requireMultiple('the width', width, PER_LOAD);
  const params: EmbedParams = { table: 'b16*', state: 'u32*', y: 'f32*' };
  const name = `embed_${type}_${width}`;
  return kernel({ name, threads: THREADS, target: targetOf(shape), params }, (k, { table, state, y }) => {
    awaitInputs(k, shape);
    const column = k.cta.x.mul(THREADS).add(k.thread).mul(PER_LOAD);
    within(k, column, width, embedColumns(width) * THREADS * PER_LOAD, () => {
      const id = stateOf(k, state, k.cta.y.add(STATE_IDS));
      const values = floatsOf(k.ldGlobal(table.at(id.mul(width).add(column)), 4), type);
      const to = y.at(k.cta.y.mul(width).add(column));
      storeFloats(k, to, values.slice(0, 4));
      storeFloats(k, to.at(4), values.slice(4));
    });
  });
}
