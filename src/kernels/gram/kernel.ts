// h += x^T x of f16 rows on mma.sync, with f32 sums: what second-order quantizers want of a linear's inputs. A CTA makes 64 x 64 sums, only those on the
// diagonal and above.
import { kernel } from '../../ptx/kernel.ts';
import { type Layout, rows } from '../../ptx/layout.ts';
import type { Global, Shared } from '../../ptx/pointers.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type B32, u32, type U32 } from '../../ptx/values.ts';
import { awaitInputs, type Overlap, PER_LOAD, requireMultiple, targetOf } from '../vectors.ts';

export interface GramShape extends Overlap {
  /** Of a row: a multiple of 8. */
  readonly width: number;
}

export type GramParams = {
  /** [tokens, width] */
  readonly x: 'f16*';
  /** [width, width]; what lies below the diagonal's tiles stays as it is. */
  readonly h: 'f32*';
  readonly tokens: 'u32';
};

const TILE = 64;
/** Tokens that are in shared memory at a time. */
const DEPTH = 32;
const WARPS = TILE / 16;
const THREADS = 32 * WARPS;

export function gramGrid({ width }: GramShape): readonly [columns: number, rows: number] {
  return [Math.ceil(width / TILE), Math.ceil(width / TILE)];
}

/** Grid: gramGrid. Errors: RangeError for another width. */
export function gram(shape: GramShape): Program<GramParams> {
  const { width } = shape;
  requireMultiple('the width', width, PER_LOAD);
  // Rows of an odd number of 16 bytes: eight of them, which ldmatrix reads together, lie in different banks.
  const tile = rows('f16', [DEPTH, TILE], PER_LOAD);
  const params: GramParams = { x: 'f16*', h: 'f32*', tokens: 'u32' };
  return kernel({ name: `gram_${width}`, threads: THREADS, target: targetOf(shape), params }, (k, { x, h, tokens }) => {
    const [left, right] = [k.shared(tile), k.shared(tile)];
    awaitInputs(k, shape);
    k.if(k.cta.x.ge(k.cta.y), () => {
      const [firstRow, firstColumn] = [k.cta.y.mul(TILE), k.cta.x.mul(TILE)];
      const warp = k.shflIdx(k.warp, 0);
      const sums = Array.from({ length: TILE / 8 }, () => k.accumulator());
      k.loop(0, tokens, DEPTH, (first) => {
        // What was read before has been used by all.
        k.barSync();
        fill(k, tile, left, x, { first, tokens, column: firstRow, width });
        fill(k, tile, right, x, { first, tokens, column: firstColumn, width });
        k.barSync();
        for (let step = 0; step < DEPTH / 16; step++) {
          // Both operands lie by tokens, which are the depth of the product: ldmatrix turns them.
          const token = k.lane
            .mod(8)
            .add(k.lane.div(16).mul(8))
            .add(16 * step);
          const row = warp.mul(16).add(k.lane.div(8).mod(2).mul(8));
          const [a, b, c, d] = turned(k, left.at(tile.at(token, row)));
          const fragment = k.fragA([a!, b!, c!, d!]);
          for (let pair = 0; pair < sums.length / 2; pair++) {
            const place = tile.at(
              k.lane.mod(16).add(16 * step),
              k.lane
                .div(16)
                .mul(8)
                .add(16 * pair),
            );
            const words = turned(k, right.at(place));
            k.mma(sums[2 * pair]!, fragment, k.fragB([words[0]!, words[1]!]));
            k.mma(sums[2 * pair + 1]!, fragment, k.fragB([words[2]!, words[3]!]));
          }
        }
      });
      const row = firstRow.add(warp.mul(16)).add(k.lane.div(4));
      const column = firstColumn.add(k.lane.mod(4).mul(2));
      for (const [j, { values }] of sums.entries()) {
        for (const below of [0, 1]) {
          const [i, at] = [row.add(8 * below), column.add(8 * j)];
          k.if(i.lt(width).and(at.lt(width)), () => {
            const to = h.at(i.mul(width).add(at));
            const before = k.ldGlobal(to, 2);
            const [a, b] = before.map((word, side) =>
              word
                .asF32()
                .add(values[2 * below + side]!)
                .asB32(),
            );
            k.stGlobal(to, [a!, b!]);
          });
        }
      }
    });
  });
}

/** Four matrices of 8 x 8, turned. */
function turned(k: K, from: Shared<'f16'>) {
  return k.ldmatrix(from, 4, { transposed: true }).map((word) => word.asF16x2());
}

/** A tile of x from token `first` and column `column` on; zeros beyond. */
function fill(
  k: K,
  tile: Layout<'f16'>,
  to: Shared<'f16'>,
  x: Global<'f16'>,
  {
    first,
    tokens,
    column,
    width,
  }: { readonly first: U32; readonly tokens: U32; readonly column: U32; readonly width: number },
): void {
  const perRow = TILE / PER_LOAD;
  for (let pass = 0; pass < (DEPTH * perRow) / THREADS; pass++) {
    const index = k.thread.add(pass * THREADS);
    const [row, part] = [index.div(perRow), index.mod(perRow).mul(PER_LOAD)];
    const [token, at] = [first.add(row), column.add(part)];
    const words = Array.from({ length: 4 }, () => k.var<B32>(u32(0).asB32()));
    k.if(token.lt(tokens).and(at.lt(width)), () => {
      for (const [i, word] of k.ldGlobal(x.at(token.mul(width).add(at)), 4).entries()) words[i]!.set(word);
    });
    k.stShared(to.at(tile.at(row, part)), [words[0]!, words[1]!, words[2]!, words[3]!]);
  }
}
