// What the steps towards the paper's kernel have in common: operands, sizes, and how sums are stored. They are for reading: f16, groups of 128, zero point 8,
// eight tokens, whole strips.
import type { FragC } from '../../../ptx/fragments.ts';
import { type Layout, rows } from '../../../ptx/layout.ts';
import type { Global } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import type { U32 } from '../../../ptx/values.ts';
import { CODE_BYTES, type MatrixSize, type Scheme, STRIP_K, STRIP_ROWS, stripBytes } from '../layout.ts';

export const TOKENS = 8;
export const SCHEME: Scheme = { group: 128, zeroPoints: false };

const WORD = 4;
/** Words of a strip, and where its scales begin. */
export const STRIP_WORDS: number = stripBytes(SCHEME) / WORD;
export const SCALES: number = CODE_BYTES / WORD;

/** x [8, k], y [8, n] */
export type LevelParams = {
  readonly x: 'f16*';
  readonly strips: 'b32*';
  readonly factors: 'f32*';
  readonly y: 'f32*';
};
export const PARAMS: LevelParams = { x: 'f16*', strips: 'b32*', factors: 'f32*', y: 'f32*' };

/** Strips in the order of memory: a row tile after the other, each along k. Errors: RangeError unless strips fill the matrix. */
export function stripsOf({ n, k }: MatrixSize): Layout<'b32'> {
  if (n % STRIP_ROWS !== 0 || k % STRIP_K !== 0) throw new RangeError(`${n} x ${k} are no whole strips`);
  return rows('b32', [(n / STRIP_ROWS) * (k / STRIP_K), STRIP_WORDS]);
}

/** A lane has rows g and g + 8 of a row tile, and tokens 2c and 2c + 1; `powers` belong to what the codes were multiplied as. */
export function storeTile(
  k: K,
  { n }: MatrixSize,
  rowTile: U32,
  { values }: FragC,
  { factors, y }: { readonly factors: Global<'f32'>; readonly y: Global<'f32'> },
  powers: readonly [row: number, rowBelow: number],
): void {
  const out = rows('f32', [TOKENS, n]);
  for (const [i, sum] of values.entries()) {
    const below = i >> 1;
    const row = rowTile
      .mul(STRIP_ROWS)
      .add(k.lane.div(4))
      .add(8 * below);
    const token = k.lane
      .mod(4)
      .mul(2)
      .add(i % 2);
    k.stF32(y.at(out.at(token, row)), sum.mul(k.ldF32(factors.at(row)).mul(powers[below]!)));
  }
}
