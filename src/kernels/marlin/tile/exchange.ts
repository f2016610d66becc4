// How the CTAs of a cluster that share the k of a tile add up their sums: each gets its part of the tokens from all others, and adds in an order that
// never changes.
import type { Shared } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import { f32, type F32, type U32 } from '../../../ptx/values.ts';

/** Sums of a lane for eight tokens. */
const BLOCK_SUMS = 4;

/** Who exchanges: a CTA of `split`, and a thread of `threads` that hold sums. */
export interface Party {
  readonly split: number;
  readonly rank: U32;
  readonly thread: U32;
  readonly threads: number;
}

/**
 * Sums of all k for the part of the tokens that is this CTA's: of b sums, b / split. `room`: shared memory for those of split - 1 other CTAs. All
 * threads of the cluster must meet (k.clusterSync) in `meet`, also those that hold no sums.
 */
export function exchange(
  k: K,
  sums: readonly F32[],
  room: Shared<'f32'>,
  { split, rank, thread, threads }: Party,
  meet: () => void,
): readonly F32[] {
  const part = sums.length / split;
  /** Where sums i .. i + 3 of a part lie that come from the CTA of a slot: neighbouring threads side by side. */
  const place = (slot: U32 | number, i: number): U32 =>
    thread
      .add((i / BLOCK_SUMS) * threads)
      .add(typeof slot === 'number' ? slot * (part / BLOCK_SUMS) * threads : slot.mul((part / BLOCK_SUMS) * threads));
  const mine = Array.from({ length: part }, () => k.var(f32(0)));

  for (let owner = 0; owner < split; owner++) {
    const theirs = sums.slice(owner * part, (owner + 1) * part);
    k.if(
      rank.eq(owner),
      () => {
        for (const [i, sum] of theirs.entries()) mine[i]!.set(sum);
      },
      () => {
        // An owner's slots are those of the other ranks in order.
        const slot = k.select(rank.lt(owner), rank, rank.sub(1));
        const to = k.mapa(room.at(place(slot, 0).mul(BLOCK_SUMS)), owner);
        for (let i = 0; i < part; i += BLOCK_SUMS) {
          const [a, b, c, d] = theirs.slice(i, i + BLOCK_SUMS).map((sum) => sum.asB32());
          k.stRemote(to.at(i * threads), [a!, b!, c!, d!]);
        }
      },
    );
  }
  meet();
  for (let slot = 0; slot < split - 1; slot++) {
    for (let i = 0; i < part; i += BLOCK_SUMS) {
      const words = k.ldShared(room.at(place(slot, i).mul(BLOCK_SUMS)), 4);
      for (const [j, word] of words.entries()) mine[i + j]!.set(mine[i + j]!.add(word.asF32()));
    }
  }
  return mine;
}
