// The next token from logits, a CTA a row: greedy, or drawn under temperature, top-k, top-p and min-p. Nothing is sorted: rules become one least
// logit, found by halving, and the draw is an argmax of noisy logits. What it does is read from device memory, so that one graph serves all.
import { kernel } from '../../ptx/kernel.ts';
import { rows } from '../../ptx/layout.ts';
import type { Global, Shared } from '../../ptx/pointers.ts';
import type { Program } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { type F32, f32, type Int, u32, type U32 } from '../../ptx/values.ts';
import {
  awaitInputs,
  laneSum,
  LOG2_E,
  type Overlap,
  requireMultiple,
  STATE_IDS,
  STATE_POSITION,
  STATE_TOKENS,
  stateOf,
  targetOf,
} from '../vectors.ts';
import type { DrawParameters } from './reference.ts';

export interface SamplingShape extends Overlap {
  readonly vocabulary: number;
  /** Elements from a row of logits to the next: a multiple of 4. */
  readonly pitch: number;
  /** For one row, the logits of a step's last token: makes the state that of the next step, which reads what was drawn. Default false. */
  readonly advance?: boolean;
}

export type SampleParams = {
  /** [rows, pitch] */
  readonly logits: 'f32*';
  /** As `drawWords` writes them. */
  readonly draw: 'u32*';
  /** [rows]: the token, or NO_TOKEN where a logit is NaN or infinite, or all are -infinite. */
  readonly tokens: 'u32*';
  /** The step. Without `advance`, row i belongs to the token at its position + i. */
  readonly state: 'u32*';
};

/** Told instead of a token. */
export const NO_TOKEN = 0xffffffff;

/** More would leave a thread fewer registers than it needs. */
const THREADS = 512;
const WARPS = THREADS / 32;
const VECTOR = 4;
/** Vectors that a thread has under way: with one, a pass over 128,256 logits waits 63 times for the L2 cache. */
const UNDER_WAY = 8;

const [TEMPERATURE, TOP_K, TOP_P, LEAST_BELOW, SEED_LOW, SEED_HIGH] = [0, 1, 2, 3, 4, 5] as const;
export const DRAW_WORDS = 6;

/** The parameters as the kernel reads them. */
export function drawWords({ temperature, topK, topP, minP, seed }: DrawParameters): Uint32Array {
  const words = new Uint32Array(DRAW_WORDS);
  const floats = new Float32Array(words.buffer);
  floats[TEMPERATURE] = temperature;
  words[TOP_K] = topK;
  floats[TOP_P] = topP;
  // A weight of at least minP is a logit at most this far below the largest.
  floats[LEAST_BELOW] = minP === 0 || temperature === 0 ? Infinity : -temperature * Math.log(minP);
  [words[SEED_LOW], words[SEED_HIGH]] = seed;
  return words;
}

/** Grid: [rows]. Errors: RangeError for another pitch. */
export function sample(shape: SamplingShape): Program<SampleParams> {
  const { vocabulary, pitch, advance = false } = shape;
  requireMultiple('the pitch', pitch, VECTOR);
  const params: SampleParams = { logits: 'f32*', draw: 'u32*', tokens: 'u32*', state: 'u32*' };
  const name = `sample_${vocabulary}${advance ? '_advance' : ''}`;
  return kernel({ name, threads: THREADS, target: targetOf(shape), params }, (k, { logits, draw, tokens, state }) => {
    const row = new Row(k, logits.at(k.cta.x.mul(pitch)), vocabulary);
    awaitInputs(k, shape);
    const word = (index: number) => k.ldGlobal(draw.at(index), 1)[0]!;
    const [temperature, topP] = [word(TEMPERATURE).asF32(), word(TOP_P).asF32()];
    const topK = word(TOP_K).asU32();
    const first = stateOf(k, state, STATE_POSITION);
    const position = advance ? first.add(stateOf(k, state, STATE_TOKENS)).sub(1) : first.add(k.cta.x);

    const largest = row.largest((logit) => logit);
    // What is too large to be a number, or none at all, has no rank below this.
    const finite = largest.rank.lt(RANK_OF_INFINITY).and(largest.rank.gt(RANK_OF_MINUS_INFINITY));
    const top = numberOf(largest.rank);
    const random = temperature.eq(0).not().and(finite);
    const least = k.var(rankOf(k, top.sub(word(LEAST_BELOW).asF32())));
    const kth = k.var(u32(0));
    k.if(random.and(topK.gt(0)).and(topK.lt(vocabulary)), () => kth.set(row.leastRank(topK.toF32(), () => f32(1))));
    k.if(random.and(topP.lt(1)), () => {
      const scale = temperature.rcp().mul(LOG2_E);
      const weightOf = (logit: F32, rank: U32): F32 => k.select(rank.ge(kth), logit.sub(top).mul(scale).exp2(), f32(0));
      const all = row.total((logit) => weightOf(logit, rankOf(k, logit)));
      least.set(least.max(row.leastRank(all.mul(topP), weightOf)));
    });
    least.set(least.max(kth));

    const token = k.var(largest.token);
    k.if(random, () => {
      const step = stepOf(word(SEED_LOW).asU32(), word(SEED_HIGH).asU32(), position);
      const noisy = row.largest((logit, id) =>
        k.select(rankOf(k, logit).ge(least), logit.sub(gumbel(k, step, id).mul(temperature)), f32(-Infinity)),
      );
      token.set(noisy.token);
    });
    k.if(k.thread.eq(0), () => {
      k.stGlobal(tokens.at(k.cta.x), [k.select(finite, token, u32(NO_TOKEN)).asB32()]);
      if (!advance) return;
      k.if(finite, () => {
        k.stGlobal(state.at(STATE_IDS), [token.asB32()]);
        k.stGlobal(state.at(STATE_POSITION), [position.add(1).asB32()]);
        k.stGlobal(state.at(STATE_TOKENS), [u32(1).asB32()]);
      });
    });
  });
}

/** Numbers in their order as unsigned integers; a NaN of the hardware is above all. */
function rankOf(k: K, x: F32): U32 {
  const bits = x.asB32();
  return bits.xor(k.select(x.asB32().asU32().ge(0x80000000), u32(0xffffffff), u32(0x80000000)).asB32()).asU32();
}

const RANK_OF_INFINITY = 0xff800000;
const RANK_OF_MINUS_INFINITY = 0x007fffff;

/** The way back. */
function numberOf(rank: U32): F32 {
  // The uppermost bit of a rank says that the number is not negative, and is not its own sign.
  const negative = rank.asB32().asU32().shr(31).sub(1);
  return rank.xor(negative.or(0x80000000)).asB32().asF32();
}

interface Best {
  readonly rank: U32;
  readonly token: U32;
}

/** A row of logits and what a CTA finds out about it; all threads take part, and all get the answer. */
class Row {
  private readonly k: K;
  private readonly logits: Global<'f32'>;
  private readonly vocabulary: number;
  private readonly words: Shared<'b32'>;

  constructor(k: K, logits: Global<'f32'>, vocabulary: number) {
    this.k = k;
    this.logits = logits;
    this.vocabulary = vocabulary;
    this.words = k.shared(rows('b32', [CANDIDATES.length, WARPS]));
  }

  /** Runs `body` for each logit of this thread. */
  private each(body: (logit: F32, id: U32) => void): void {
    const { k, vocabulary } = this;
    const [turn, start] = [VECTOR * THREADS, k.thread.mul(VECTOR)];
    const whole = Math.floor(vocabulary / (turn * UNDER_WAY)) * turn * UNDER_WAY;
    k.loop(start, whole, turn * UNDER_WAY, (first) => {
      const vectors = Array.from({ length: UNDER_WAY }, (_, i) =>
        k.ldGlobal(this.logits.at(first.add(i * turn)), VECTOR),
      );
      for (const [i, words] of vectors.entries())
        for (const [j, word] of words.entries()) body(word.asF32(), first.add(i * turn + j));
    });
    k.loop(start.add(whole), vocabulary, turn, (first) => {
      for (const [i, word] of k.ldGlobal(this.logits.at(first), VECTOR).entries()) {
        const id = first.add(i);
        if (vocabulary % VECTOR === 0) body(word.asF32(), id);
        else k.if(id.lt(vocabulary), () => body(word.asF32(), id));
      }
    });
  }

  /** The largest of `of` and where it is; of equals the first. */
  largest(of: (logit: F32, id: U32) => F32): Best {
    const { k } = this;
    const [rank, token] = [k.var(u32(0)), k.var(u32(NO_TOKEN))];
    this.each((logit, id) => {
      const its = rankOf(k, of(logit, id));
      const better = its.gt(rank);
      rank.set(k.select(better, its, rank));
      token.set(k.select(better, id, token));
    });
    const among = (best: Best): Best => {
      const most = k.reduxMax<U32>(best.rank);
      return { rank: most, token: k.reduxMin(k.select(best.rank.eq(most), best.token, u32(NO_TOKEN))) };
    };
    const ofWarp = among({ rank, token });
    k.barSync();
    k.if(k.lane.eq(0), () => {
      k.stShared(this.words.at(k.warp), [ofWarp.rank.asB32()]);
      k.stShared(this.words.at(k.warp.add(WARPS)), [ofWarp.token.asB32()]);
    });
    k.barSync();
    const read = (at: Int): U32 => k.ldShared(this.words.at(at), 1)[0]!.asU32();
    const warp = k.lane.mod(WARPS);
    return among({ rank: read(warp), token: read(warp.add(WARPS)) });
  }

  /**
   * The largest rank so that the weights of logits from it on sum up to `wanted`; 0 where all together do not. Two bits of it a pass, the highest
   * first: logits are compared with three ranks at once. Sums run in one order always.
   */
  leastRank(wanted: F32, weightOf: (logit: F32, rank: U32) => F32): U32 {
    const { k } = this;
    const found = k.var(u32(0));
    k.loop(0, 32 / BITS, 1, (pass) => {
      const shift = u32(32 - BITS).sub(pass.mul(BITS));
      const candidates = CANDIDATES.map((digit) => found.or(u32(digit).shl(shift)));
      const sums = candidates.map(() => k.var(f32(0)));
      this.each((logit) => {
        const rank = rankOf(k, logit);
        const weight = weightOf(logit, rank);
        for (const [i, sum] of sums.entries()) sum.set(sum.add(k.select(rank.ge(candidates[i]!), weight, f32(0))));
      });
      const ofWarp = sums.map((sum) => laneSum(k, sum));
      k.barSync();
      k.if(k.lane.eq(0), () => {
        for (const [i, sum] of ofWarp.entries()) k.stShared(this.words.at(k.warp.add(i * WARPS)), [sum.asB32()]);
      });
      k.barSync();
      const totals = sums.map((_, i) =>
        laneSum(k, k.ldShared(this.words.at(k.lane.mod(WARPS).add(i * WARPS)), 1)[0]!.asF32(), WARPS),
      );
      // The sums fall as ranks rise: the last that suffices stays.
      let next: U32 = found;
      for (const [i, total] of totals.entries()) next = k.select(wanted.le(total), candidates[i]!, next);
      found.set(next);
    });
    return found;
  }

  /** The sum of `of`, in one order always. */
  total(of: (logit: F32) => F32): F32 {
    const { k } = this;
    const sum = k.var(f32(0));
    this.each((logit) => sum.set(sum.add(of(logit))));
    const ofWarp = laneSum(k, sum);
    k.barSync();
    k.if(k.lane.eq(0), () => k.stShared(this.words.at(k.warp), [ofWarp.asB32()]));
    k.barSync();
    return laneSum(k, k.ldShared(this.words.at(k.lane.mod(WARPS)), 1)[0]!.asF32(), WARPS);
  }
}

const BITS = 2;
const CANDIDATES = [1, 2, 3] as const;

/** The finalizer of splitmix32. */
function mix(bits: U32): U32 {
  const times = (z: U32, shift: number, factor: number): U32 => z.xor(z.shr(shift)).mul(factor);
  const z = times(times(bits, 16, 0x21f0aaad), 15, 0x735a2d97);
  return z.xor(z.shr(15));
}

function stepOf(low: U32, high: U32, position: U32): U32 {
  return mix(mix(mix(low.add(0x9e3779b9)).xor(high)).add(position.mul(0x85ebca6b)));
}

/** ln(-ln(1 - u)) of a random u in (0, 1): minus a Gumbel variable. */
function gumbel(k: K, step: U32, id: U32): F32 {
  const u = mix(step.xor(id.mul(0x9e3779b9)))
    .shr(9)
    .toF32()
    .add(0.5)
    .mul(2 ** -23);
  // Near 0 the hardware's logarithm of 1 - u has no digits left: there its series, right to 2^-19.
  const series = u.mul(u.mul(u.mul(1 / 3).add(0.5)).add(1));
  const exponential = k.select(u.lt(1 / 64), series, f32(1).sub(u).log2().mul(-Math.LN2));
  return exponential.log2().mul(Math.LN2);
}
