// Sums that several warps, and several CTAs, have of the same outputs: added in f32 in an order that never changes. Nobody waits for another CTA.
import type { Layout } from '../../../ptx/layout.ts';
import { rows } from '../../../ptx/layout.ts';
import type { Global, Shared } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import { f32, type U32, u32, type Var } from '../../../ptx/values.ts';
import { CODE_BYTES, type Scheme } from '../layout.ts';
import type { Sums } from './products.ts';
import { type Place, stripOf, weightTile } from './stage.ts';
import { PARTS, type Stripes, type Tiling, tileSums } from './tiling.ts';

/** f32 words of a fragment of sums, four a lane. */
const FRAGMENT = 128;

export function clear(sums: Sums): void {
  for (const row of sums) for (const { values } of row) for (const value of values) value.set(f32(0));
}

const words = ({ values: [a, b, c, d] }: Sums[number][number]) => [a.asB32(), b.asB32(), c.asB32(), d.asB32()] as const;

/**
 * The second half of k to the first, through the codes of the strips in `stage`, which nobody but these two warps reads, and which are filled again only
 * after the next barrier of all. A strip holds the sums of 16 tokens, so more go in turns.
 */
export function addHalves(
  k: K,
  sums: Sums,
  stage: Shared<'b32'>,
  place: Place,
  { tiling, scheme }: { readonly tiling: Tiling; readonly scheme: Scheme },
): void {
  const tile = weightTile(tiling, scheme);
  const perTurn = CODE_BYTES / (4 * FRAGMENT);
  const at = (i: number, j: number): Shared<'b32'> =>
    stage.at(tile.at(stripOf(place, tiling, i), k.lane.mul(4).add(FRAGMENT * (j % perTurn))));
  for (let turn = 0; turn < tiling.tokens / 8; turn += perTurn) {
    const each = (use: (sum: Sums[number][number], at: Shared<'b32'>) => void): void => {
      for (const [i, row] of sums.entries())
        for (const [j, sum] of row.slice(turn, turn + perTurn).entries()) use(sum, at(i, j));
    };
    k.barSync();
    k.if(place.half.eq(1), () => each((sum, to) => k.stShared(to, words(sum))));
    k.barSync();
    k.if(place.half.eq(0), () =>
      each(({ values }, from) => {
        for (const [v, other] of k.ldShared(from, 4).entries()) values[v]!.set(values[v]!.add(other.asF32()));
      }),
    );
  }
}

export interface Workspace {
  /** [token tiles, CTAs, parts, sums of a tile] in the order of fragments. */
  readonly partials: Global<'f32'>;
  /** [token tiles, tiles]: CTAs that have handed over. */
  readonly counters: Global<'u32'>;
}

/** One word, by which a thread tells its CTA. */
export const messageTile: Layout<'u32'> = rows('u32', [1, 1]);

/** Whose stripes a tile lies in. */
interface Sharers {
  readonly first: U32;
  readonly last: U32;
}

export function sharersOf({ stripe, unitsPerTile }: Stripes, tile: U32): Sharers {
  const start = tile.mul(unitsPerTile);
  return { first: start.div(stripe), last: start.add(unitsPerTile - 1).div(stripe) };
}

/**
 * Makes `sums` those of the whole tile in the CTA that comes last, and sets `isLast` to 1 there, to 0 in the others. Each CTA writes its part to a place of its own and counts
 * itself; who finds all others counted adds all parts in the order of k, its own among them. So the order of addition does not depend on who is last, no
 * CTA waits, and the kernel is right however few CTAs run at a time.
 */
export function addParts(
  k: K,
  sums: Sums,
  tile: U32,
  { partials, counters }: Workspace,
  place: Place,
  { tiling, stripes, message }: { readonly tiling: Tiling; readonly stripes: Stripes; readonly message: Shared<'u32'> },
  isLast: Var<U32>,
): void {
  const { stripe, unitsPerTile, ctas, tiles } = stripes;
  const { first, last } = sharersOf(stripes, tile);
  const parts = rows('f32', [ctas * PARTS, tileSums(tiling)]);
  const fragments = sums.length * sums[0]!.length;
  const within = place.rowWarp.mul(fragments * FRAGMENT).add(k.lane.mul(4));
  const ofCta = (cta: U32): Global<'f32'> => {
    // A CTA begins with its first part, unless the tile begins earlier: then its first part is of this tile.
    const begins = cta.mul(stripe).ge(tile.mul(unitsPerTile));
    const part = cta.mul(PARTS).add(k.select(begins, u32(0), u32(1)));
    return partials.at(parts.at(k.cta.y.mul(parts.rows).add(part), within));
  };
  const each = (use: (sum: Sums[number][number], index: number) => void): void => {
    for (const [i, row] of sums.entries()) for (const [j, sum] of row.entries()) use(sum, i * row.length + j);
  };

  k.if(place.half.eq(0), () => {
    const mine = ofCta(k.cta.x);
    each((sum, index) => k.stGlobal(mine.at(index * FRAGMENT), words(sum)));
  });
  // The barrier hands the stores of all threads to the one that counts, which hands them on with what it adds.
  k.barSync();
  const counter = counters.at(k.cta.y.mul(tiles).add(tile));
  k.if(k.thread.eq(0), () => {
    const before = k.atomAdd(counter, u32(1), { order: 'acq_rel' });
    k.stShared(message, [before.asB32()]);
  });
  k.barSync();
  const before = k.ldShared(message, 1)[0]!.asU32();
  isLast.set(k.select(before.eq(last.sub(first)), u32(1), u32(0)));
  k.if(isLast.eq(1), () => {
    // All others are done with it; zero again for the next launch.
    k.if(k.thread.eq(0), () => k.stRelaxed(counter, 0));
    k.if(place.half.eq(0), () => {
      clear(sums);
      k.loop(first, last.add(1), 1, (cta) => {
        const theirs = ofCta(cta);
        each(({ values }, index) => {
          for (const [v, part] of k.ldGlobal(theirs.at(index * FRAGMENT), 4).entries())
            values[v]!.set(values[v]!.add(part.asF32()));
        });
      });
    });
  });
}
