// Memory that is only read, as fast as the chip can: the limit of every product with few tokens. What is read is summed, so that nothing can be left
// out. Two ways: 16-byte loads, and bulk copies into a ring.
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import type { Global } from '../../ptx/pointers.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type B32, u32, type U32, type Var } from '../../ptx/values.ts';

export const READ_THREADS = 256;
const VECTOR_BYTES = 16;

/** `sums`: one word a warp, together the sum of all words that were read. */
export type ReadParams = { readonly from: 'b32*'; readonly sums: 'b32*' };

export interface WideTiling {
  readonly ctas: number;
  /** Loads that a thread has under way. */
  readonly unroll: number;
}

/** `bytes`: a multiple of 16. */
export function readWide(bytes: number, { ctas, unroll }: WideTiling): Program<ReadParams> {
  const [vectors, turn] = [bytes / VECTOR_BYTES, ctas * READ_THREADS];
  const whole = Math.floor(vectors / (turn * unroll)) * turn * unroll;
  return kernel(
    { name: 'read_wide', threads: READ_THREADS, params: { from: 'b32*', sums: 'b32*' } },
    (k, { from, sums }) => {
      const first = k.cta.x.mul(READ_THREADS).add(k.thread);
      const sum = k.var<U32>(u32(0));
      const load = (vector: U32): readonly B32[] => k.ldGlobal(from.at(vector.mul(4)), 4, { readOnly: true });
      k.loop(first, whole, turn * unroll, (at) => {
        const loads = Array.from({ length: unroll }, (_, i) => load(at.add(i * turn)));
        for (const words of loads) add(sum, words);
      });
      k.loop(first.add(whole), vectors, turn, (at) => add(sum, load(at)));
      storeSum(k, sum, sums);
    },
  );
}

export interface BulkTiling {
  readonly ctas: number;
  /** Bytes of a copy: a multiple of 4096. */
  readonly chunk: number;
  /** Copies that a CTA has under way. */
  readonly stages: number;
}

/** `bytes`: a multiple of 16. */
export function readBulk(bytes: number, { ctas, chunk, stages }: BulkTiling): Program<ReadParams> {
  const chunks = Math.ceil(bytes / chunk);
  return kernel(
    { name: 'read_bulk', threads: READ_THREADS, target: 'sm_90', params: { from: 'b32*', sums: 'b32*' } },
    (k, { from, sums }) => {
      const ring = k.shared(rows('b32', [1, chunk / 4]), stages);
      const full = k.mbarriers(stages);
      const turns = u32(chunks + ctas - 1)
        .sub(k.cta.x)
        .div(ctas);
      const indexOf = (turn: U32): U32 => turn.mul(ctas).add(k.cta.x);
      const sizeOf = (turn: U32): U32 => u32(bytes).sub(indexOf(turn).mul(chunk)).min(chunk);
      const copy = (turn: U32, stage: U32): void => {
        const size = sizeOf(turn);
        k.mbarrierArriveExpectTx(full.at(stage), size);
        k.cpAsyncBulk(ring.at(stage.mul(chunk / 4)), from.at(indexOf(turn).mul(chunk / 4)), size, full.at(stage));
      };
      k.if(k.thread.eq(0), () => {
        for (let stage = 0; stage < stages; stage++) k.mbarrierInit(full.at(stage), 1);
        k.fenceMBarrierInit();
        for (let stage = 0; stage < stages; stage++) k.if(u32(stage).lt(turns), () => copy(u32(stage), u32(stage)));
      });
      k.barSync();
      const sum = k.var<U32>(u32(0));
      k.loop(0, turns, 1, (turn) => {
        const stage = turn.mod(stages);
        k.mbarrierWait(full.at(stage), turn.div(stages).and(1));
        const size = sizeOf(turn);
        for (let at = 0; at < chunk; at += READ_THREADS * VECTOR_BYTES) {
          const place = k.thread.mul(VECTOR_BYTES).add(at);
          k.if(place.lt(size), () => add(sum, k.ldShared(ring.at(stage.mul(chunk / 4).add(place.div(4))), 4)));
        }
        // All have read this stage before it is filled again.
        k.barSync();
        const next = turn.add(stages);
        k.if(k.thread.eq(0).and(next.lt(turns)), () => copy(next, stage));
      });
      storeSum(k, sum, sums);
    },
  );
}

function add(sum: Var<U32>, words: readonly B32[]): void {
  sum.set(words.reduce<U32>((total, word) => total.add(word.asU32()), sum));
}

function storeSum(k: K, sum: U32, sums: Global<'b32'>): void {
  let total = sum;
  for (const mask of [16, 8, 4, 2, 1]) total = total.add(k.shflBfly(total, mask));
  const warp = k.cta.x.mul(READ_THREADS / 32).add(k.warp);
  k.if(k.lane.eq(0), () => k.stGlobal(sums.at(warp), [total.asB32()]));
}

/** Words of `sums`. */
export const sumWords = ({ ctas }: { readonly ctas: number }): number => (ctas * READ_THREADS) / 32;
