// Rotary position embedding (Su et al. 2021): rotates queries in place, and keys into the cache beside the values. A thread takes eight pairs of a head.
import { kernel } from '../../ptx/kernel.ts';
import type { Program } from '../../ptx/program.ts';
import {
  awaitInputs,
  floatsOf,
  loadFloats,
  type Overlap,
  PER_LOAD,
  requireMultiple,
  STATE_POSITION,
  stateOf,
  storeHalves,
  targetOf,
  within,
} from '../vectors.ts';
import type { RopeShape } from './reference.ts';

export type { RopeShape } from './reference.ts';

export type RopeParams = {
  /** [tokens, heads + 2 kvHeads, headDim]: queries, keys, values. */
  readonly qkv: 'f16*';
  /** [kvHeads, context, headDim]: the keys of a head one after another, which is how attention reads them. */
  readonly keys: 'f16*';
  readonly values: 'f16*';
  /** [context, headDim / 2] */
  readonly cosines: 'f32*';
  readonly sines: 'f32*';
  /** The step: the first token stands at its position. */
  readonly state: 'u32*';
};

const THREADS = 128;

/** CTAs for a token. */
export function ropeColumns({ heads, kvHeads, headDim }: RopeShape): number {
  return Math.ceil(((heads + 2 * kvHeads) * headDim) / (2 * PER_LOAD * THREADS));
}

/** Grid: [ropeColumns(shape), tokens]. Errors: RangeError unless headDim is a multiple of 16. */
export function ropeAndStore(shape: RopeShape & Overlap): Program<RopeParams> {
  const { heads, kvHeads, headDim, context } = shape;
  requireMultiple('the head dimension', headDim, 2 * PER_LOAD);
  const half = headDim / 2;
  const perHead = half / PER_LOAD;
  const perToken = heads + 2 * kvHeads;
  const params: RopeParams = {
    qkv: 'f16*',
    keys: 'f16*',
    values: 'f16*',
    cosines: 'f32*',
    sines: 'f32*',
    state: 'u32*',
  };
  const name = `rope_${heads}_${kvHeads}_${headDim}_${context}`;
  return kernel(
    { name, threads: THREADS, target: targetOf(shape), params },
    (k, { qkv, keys, values, cosines, sines, state }) => {
      awaitInputs(k, shape);
      const index = k.cta.x.mul(THREADS).add(k.thread);
      within(k, index, perToken * perHead, ropeColumns(shape) * THREADS, () => {
        const [head, pair] = [index.div(perHead), index.mod(perHead).mul(PER_LOAD)];
        const at = stateOf(k, state, STATE_POSITION).add(k.cta.y);
        const own = qkv.at(k.cta.y.mul(perToken).add(head).mul(headDim).add(pair));
        const [low, high] = [k.ldGlobal(own, 4), k.ldGlobal(own.at(half), 4)];
        const place = (kvHead: typeof head) => kvHead.mul(context).add(at).mul(headDim).add(pair);
        k.if(
          head.ge(heads + kvHeads),
          () => {
            const to = values.at(place(head.sub(heads + kvHeads)));
            k.stGlobal(to, [low[0]!, low[1]!, low[2]!, low[3]!]);
            k.stGlobal(to.at(half), [high[0]!, high[1]!, high[2]!, high[3]!]);
          },
          () => {
            const angles = at.mul(half).add(pair);
            const table = (from: typeof cosines) => [
              ...loadFloats(k, from.at(angles)),
              ...loadFloats(k, from.at(angles.add(4))),
            ];
            const [cos, sin] = [table(cosines), table(sines)];
            const [a, b] = [floatsOf(low), floatsOf(high)];
            const first = a.map((x, i) => x.mul(cos[i]!).sub(b[i]!.mul(sin[i]!)));
            const second = b.map((x, i) => x.mul(cos[i]!).add(a[i]!.mul(sin[i]!)));
            const store = (to: typeof qkv): void => {
              storeHalves(k, to, first);
              storeHalves(k, to.at(half), second);
            };
            k.if(
              head.lt(heads),
              () => store(own),
              () => store(keys.at(place(head.sub(heads)))),
            );
          },
        );
      });
    },
  );
}
