// Where the streaming product takes its activations from: boxes that each warp copies for itself, or one token that all warps of a CTA share.
import { rows, swizzled } from '../../../ptx/layout.ts';
import type { Global, Tensor } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import { type B32, type F32, f32, type U32, u32 } from '../../../ptx/values.ts';
import { ctaSum, loadFloats, PER_LOAD } from '../../vectors.ts';
import type { RawHalves } from '../codec.ts';
import { type MatrixSize, STEP_K, STEPS, STRIP_K, stripsAlongK } from '../layout.ts';
import type { HalfType } from '../pack.ts';
import type { Activations, ActivationSource } from './product.ts';

/** Tokens in rows of 64 k, 128 bytes: how boxes come and ldmatrix reads without conflicts. */
export const BOX_K = 64;
const BOXES = STRIP_K / BOX_K;

/** Boxes of 8 or 16 tokens in the rings of the warps. */
export function boxes<T extends HalfType>(
  k: K,
  x: Tensor<HalfType>,
  { type, tokens, halves }: { readonly type: T; readonly tokens: number; readonly halves: RawHalves<T> },
): (slots: number) => ActivationSource<T> {
  return (slots) => {
    const tile = swizzled<HalfType>(type, [tokens, BOX_K]);
    const memory = k.shared(tile, BOXES * slots);
    const boxAt = (slot: U32, box: number) => memory.at(slot.mul(BOXES).add(box).mul(tile.count));
    return {
      stageBytes: BOXES * tile.count * 2,
      begin: () => {},
      copy: (block, slot, full) => {
        for (let box = 0; box < BOXES; box++)
          k.cpAsyncBulkTensor(boxAt(slot, box), x, [0, block.mul(STRIP_K).add(box * BOX_K)], full);
      },
      load: (_block, slot) => {
        const tiles = Array.from({ length: tokens / 8 }, (_, token) =>
          stepPairs(
            (pair) => {
              const column = (pair % 2) * 2 * STEP_K;
              const at = tile.at(k.lane.mod(8).add(8 * token), k.lane.div(8).mul(8).add(column));
              return k.ldmatrix(boxAt(slot, Math.floor(pair / 2)).at(at), 4);
            },
            halves,
            k,
          ),
        );
        return Array.from({ length: STEPS }, (_, step) => tiles.map((tile) => tile[step]!));
      },
    };
  };
}

/** Fragments of one token tile, by what ldmatrix gives for each two steps. */
function stepPairs<T extends HalfType>(
  load: (pair: number) => readonly B32[],
  halves: RawHalves<T>,
  k: K,
): Activations<T>[number] {
  return Array.from({ length: STEPS / 2 }, (_, pair) => {
    const [a, b, c, d] = load(pair);
    return [halves.fragB(k, a!, b!), halves.fragB(k, c!, d!)];
  }).flat();
}

/** What the one token goes through first: x * gain / sqrt(mean(x^2) + epsilon). */
export interface TokenNorm {
  /** [k] */
  readonly gain: Global<'f32'>;
  readonly epsilon: F32;
}

/** Gains that a thread loads before it waits for the kernels ahead; more would take registers of the product. */
const EARLY = 4;

/**
 * One token, [k] of 16 bits, or of f32 where it is to be normed: brought to shared memory once by all threads of the CTA. ldmatrix reads the same row eight times,
 * so that the fragment's other tokens are copies of it; what they give is never stored.
 */
export function oneToken<T extends HalfType>(
  k: K,
  x: Global<'u8'>,
  norm: TokenNorm | null,
  {
    type,
    size,
    threads,
    halves,
  }: { readonly type: T; readonly size: MatrixSize; readonly threads: number; readonly halves: RawHalves<T> },
): () => ActivationSource<T> {
  return () => {
    const length = stripsAlongK(size) * STRIP_K;
    const tile = rows<HalfType>(type, [1, length]);
    const memory = k.shared(tile);
    const places = Array.from({ length: Math.ceil(length / (PER_LOAD * threads)) }, (_, i) =>
      k.thread.add(i * threads).mul(PER_LOAD),
    );
    /** Zeros behind the end. */
    const each = (words: number, load: (at: U32) => readonly B32[]): readonly (readonly B32[])[] =>
      places.map((at, i) => {
        if ((i + 1) * PER_LOAD * threads <= size.k) return load(at);
        const kept = Array.from({ length: words }, () => k.var<B32>(u32(0).asB32()));
        k.if(at.lt(size.k), () => {
          for (const [j, word] of load(at).entries()) kept[j]!.set(word);
        });
        return kept;
      });
    const floats = (from: Global<'f32'>): readonly (readonly F32[])[] =>
      each(PER_LOAD, (at) =>
        [0, 4].flatMap((half) => loadFloats(k, from.at(at.add(half))).map((value) => value.asB32())),
      ).map((words) => words.map((word) => word.asF32()));
    const early = norm !== null && places.length <= EARLY ? floats(norm.gain) : null;
    const begin = (): void => {
      const vectors = norm === null ? each(PER_LOAD / 2, (at) => k.ldGlobal(x.as(type).at(at), 4)) : normed(norm);
      for (const [i, at] of places.entries()) {
        const [a, b, c, d] = vectors[i]!;
        const store = (): void => k.stShared(memory.at(at), [a!, b!, c!, d!]);
        if ((i + 1) * PER_LOAD * threads <= length) store();
        else k.if(at.lt(length), store);
      }
      k.barSync();
    };
    const normed = ({ gain, epsilon }: TokenNorm): readonly (readonly B32[])[] => {
      const values = floats(x.as('f32'));
      const squares = values.flat().reduce<F32>((sum, value) => value.fma(value, sum), f32(0));
      const factor = ctaSum(k, squares, threads)
        .mul(1 / size.k)
        .add(epsilon)
        .rsqrt();
      const gains = early ?? floats(gain);
      return values.map((vector, i) => {
        const scaled = vector.map((value, j) => value.mul(factor).mul(gains[i]![j]!));
        return Array.from({ length: PER_LOAD / 2 }, (_, j) => halves.pair(scaled[2 * j]!, scaled[2 * j + 1]!));
      });
    };
    return {
      stageBytes: 0,
      begin,
      copy: () => {},
      load: (block) => {
        const first = block.mul(STRIP_K).add(k.lane.div(8).mul(8));
        return stepPairs((pair) => k.ldmatrix(memory.at(first.add(pair * 2 * STEP_K)), 4), halves, k).map((step) => [
          step,
        ]);
      },
    };
  };
}
