// Sums of the 4-bit product on wgmma to memory: scaled a channel, turned to rows of tokens. A warp stores its 16 channels by itself, so that no
// barrier is needed. Knows nothing of how sums came about.
import type { Layout } from '../../../ptx/layout.ts';
import { swizzled } from '../../../ptx/layout.ts';
import type { Global, Shared } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import { type B32, type F32, pairOfBf16, pairOfHalves, type U32 } from '../../../ptx/values.ts';
import { type Epilogue, ofPair, type Pairs } from '../epilogue.ts';
import { STRIP_ROWS } from '../layout.ts';
import { PASS_TOKENS } from './tiling.ts';

export interface Output {
  readonly Y: Global<'b32'>;
  /** Rows and columns of Y. */
  readonly m: U32;
  readonly n: number;
}

/** Channels g and g + 8 of a lane's. */
export interface ChannelFacts {
  readonly factors: readonly [F32, F32];
  readonly bias: readonly [F32, F32] | null;
}

/** Tokens by 16 channels on their way out; rows of 32 bytes, whose chunks change places so that nothing conflicts. */
export const passTile: Layout<'f16'> = swizzled('f16', [PASS_TOKENS, STRIP_ROWS], 32);

const BLOCK = 8;
const PER_CHUNK = 8;

/** Where a warp's sums go. */
interface Place {
  readonly channel: U32;
  readonly token: U32;
}

/**
 * Stores sums of a warp's 16 channels of W from `channel` on, and tokens from `token` on: four sums for each block of eight tokens, as wgmma leaves
 * them. Pairs become 8 channels of Y. `staging`: the warp's own shared memory for one `passTile`.
 */
export function store(
  k: K,
  sums: readonly F32[],
  facts: ChannelFacts,
  { channel, token }: Place,
  output: Output,
  staging: Shared<'f16'>,
  epilogue: Epilogue,
): void {
  const scaled = sums.map((sum, i) => scale(sum, facts, (i >> 1) & 1));
  const { pairs = 'none' } = epilogue;
  const finished = pairs === 'none' ? scaled : paired(pairs, scaled);
  const place = { channel: pairs === 'none' ? channel : channel.div(2), token };
  const eights = pairs === 'none' ? 2 : 1;
  if (epilogue.output === 'f32' || epilogue.output === 'add-f32')
    storeSingles(k, finished, eights, place, output, epilogue.output === 'add-f32');
  else storeHalves(k, finished, eights, place, output, staging, epilogue.output);
}

function scale(sum: F32, { factors, bias }: ChannelFacts, below: number): F32 {
  const factor = below === 0 ? factors[0] : factors[1];
  if (bias === null) return sum.mul(factor);
  return sum.fma(factor, below === 0 ? bias[0] : bias[1]);
}

/** Of four sums, upper rows of two tokens and lower ones, two. */
function paired(pairs: Exclude<Pairs, 'none'>, sums: readonly F32[]): F32[] {
  return sums.flatMap((sum, i) => ((i & 2) === 0 ? [ofPair(pairs, sum, sums[i + 2]!)] : []));
}

/** How many eights of channels a warp stores; a block of eight tokens has two sums a lane for each. */
type Eights = 1 | 2;

/** Straight from the registers: eight lanes hold eight channels of a token, a sector of 32 bytes. */
function storeSingles(
  k: K,
  sums: readonly F32[],
  eights: Eights,
  { channel, token }: Place,
  { Y, m, n }: Output,
  add: boolean,
): void {
  const [row, column] = [k.lane.div(4), k.lane.mod(4).mul(2)];
  for (const [i, sum] of sums.entries()) {
    const [block, eight] = [Math.floor(i / (2 * eights)), (i >> 1) % eights];
    const at = token.add(column).add(BLOCK * block + (i & 1));
    const to = channel.add(row).add(8 * eight);
    k.if(at.lt(m).and(to.lt(n)), () => {
      const place = Y.at(at.mul(n).add(to));
      const before = add ? k.ldGlobal(place, 1)[0]!.asF32() : null;
      k.stGlobal(place, [(before === null ? sum : before.add(sum)).asB32()]);
    });
  }
}

/** In passes of 32 tokens: pairs of tokens become columns of eight channels, which go out 16 bytes a lane. */
function storeHalves(
  k: K,
  sums: readonly F32[],
  eights: Eights,
  { channel, token }: Place,
  { Y, m, n }: Output,
  staging: Shared<'f16'>,
  type: 'f16' | 'bf16',
): void {
  const pair = (i: number): B32 => (type === 'f16' ? pairOfHalves : pairOfBf16)(sums[i]!, sums[i + 1]!).asB32();
  const tokens = (sums.length / (2 * eights)) * BLOCK;
  const row = k.lane.mod(16);
  for (let first = 0; first < tokens; first += PASS_TOKENS) {
    const inPass = Math.min(PASS_TOKENS, tokens - first);
    for (let at = 0; at < inPass; at += BLOCK) {
      const i = ((first + at) / BLOCK) * 2 * eights;
      const to = passTile.at(row.mod(BLOCK).add(at), eights === 1 ? 0 : row.div(BLOCK).mul(PER_CHUNK));
      k.stmatrix(staging.at(to), eights === 1 ? [pair(i)] : [pair(i), pair(i + 2)], { transposed: true });
    }
    k.syncWarp();
    const chunks = inPass * eights;
    for (let chunk = 0; chunk < chunks; chunk += 32) {
      const mine = k.lane.add(chunk);
      const [at, column] = [mine.div(eights), mine.mod(eights).mul(PER_CHUNK)];
      const [y, to] = [token.add(first).add(at), channel.add(column)];
      const inside = y.lt(m).and(to.lt(n));
      k.if(chunks - chunk < 32 ? inside.and(at.lt(inPass)) : inside, () => {
        const [a, b, c, d] = k.ldShared(staging.at(passTile.at(at, column)), 4);
        k.stGlobal(Y.at(y.mul(n).add(to).div(2)), [a!, b!, c!, d!]);
      });
    }
    k.syncWarp();
  }
}
