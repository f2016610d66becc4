// The paper's kernel in our format: y = x W^T for few tokens, W in 4 bits, on mma.sync behind a ring of asynchronous copies; the work is cut into stripes,
// one a CTA. sm_80 and later.
import { kernel } from '../../../ptx/kernel.ts';
import type { Layout } from '../../../ptx/layout.ts';
import type { Global } from '../../../ptx/pointers.ts';
import type { Program } from '../../../ptx/program.ts';
import type { K } from '../../../ptx/trace.ts';
import { f32, type F32, type Int, type U32, u32 } from '../../../ptx/values.ts';
import { type Epilogue, epilogueName, ofPair, outputChannels, pairsRefusal, store } from '../epilogue.ts';
import { type MatrixSize, type Scheme, STRIP_ROWS } from '../layout.ts';
import type { HalfType } from '../pack.ts';
import { type Arithmetic, bf16Arithmetic, f16Arithmetic } from './arithmetic.ts';
import { multiplyStage, powersOf, type Sums, warpSums } from './products.ts';
import { addHalves, addParts, clear, messageTile, sharersOf } from './reduce.ts';
import {
  type Place,
  placeOf,
  readerOf,
  type Stage,
  stripFetcher,
  stripOf,
  tokenFetcher,
  tokenTile,
  type Unit,
  weightTile,
} from './stage.ts';
import { stripesOf, THREADS, type Tiling } from './tiling.ts';

export interface Ampere {
  readonly size: MatrixSize;
  readonly scheme: Scheme;
  /** Of x. */
  readonly type: HalfType;
  readonly tiling: Tiling;
  readonly epilogue: Epilogue;
  /** CTAs that the work of a token tile is cut for; there may be fewer (`grid`). */
  readonly ctas: number;
}

/** x [m, k] of `type`; strips, factors as packed; bias [n], not read without one; y [m, channels]; partials and counters as `workspaceOf` says, counters zero. */
export type AmpereParams = {
  readonly x: 'b16*';
  readonly strips: 'b32*';
  readonly factors: 'f32*';
  readonly bias: 'f32*';
  readonly y: 'u8*';
  readonly partials: 'f32*';
  readonly counters: 'u32*';
  readonly m: 'u32';
};

/** CTAs for m tokens: stripes, and token tiles, each of which reads the weights once. */
export function ampereGrid({ size, tiling, ctas }: Ampere, m: number): readonly [x: number, y: number] {
  return [stripesOf(size, tiling, ctas).ctas, Math.ceil(m / tiling.tokens)];
}

const nameOf = ({ size: { n, k }, scheme, type, tiling, epilogue, ctas }: Ampere): string => {
  const format = `${type}_g${scheme.group}${scheme.zeroPoints ? '_zero' : ''}`;
  return `marlin_ampere_${n}_${k}_${format}_${tiling.strips}x${tiling.tokens}x${tiling.stages}_${ctas}_${epilogueName(epilogue)}`;
};

/** The program for one matrix and any number of tokens. Errors: RangeError for fewer than 2 stages, or gates in rows that are no whole strips. */
export function ampere(of: Ampere): Program<AmpereParams> {
  if (of.tiling.stages < 2) throw new RangeError(`a ring of ${of.tiling.stages} stages: at least 2`);
  const refusal = pairsRefusal(of.epilogue, of.size.n);
  if (refusal !== null) throw new RangeError(refusal);
  return of.type === 'f16' ? build(of, f16Arithmetic) : build(of, bf16Arithmetic);
}

function build<T extends HalfType, V>(of: Ampere, arithmetic: Arithmetic<T, V>): Program<AmpereParams> {
  const { size, tiling } = of;
  const stripes = stripesOf(size, tiling, of.ctas);
  const { stages } = tiling;
  const params = {
    x: 'b16*',
    strips: 'b32*',
    factors: 'f32*',
    bias: 'f32*',
    y: 'u8*',
    partials: 'f32*',
    counters: 'u32*',
    m: 'u32',
  } as const;

  return kernel({ name: nameOf(of), threads: THREADS, params }, (k, p) => {
    const ring = ringOf(k, of);
    const message = k.shared(messageTile);
    const place = placeOf(k);
    const sums = warpSums(k, tiling);
    const firstToken = k.cta.y.mul(tiling.tokens);
    const [fetchStrips, fetchTokens] = [stripFetcher(k, p, of), tokenFetcher(k, p, firstToken, of)];
    const reader = readerOf(k, place, of);

    const first = k.cta.x.mul(stripes.stripe);
    const end = first.add(stripes.stripe).min(stripes.units);
    const unitOf = (unit: U32): Unit => ({
      tile: unit.div(stripes.unitsPerTile),
      alongK: unit.mod(stripes.unitsPerTile),
    });
    /** Begins to copy the unit `index` of the stripe, if there is one; the group is closed in any case, since groups are counted. */
    const fetch = (index: Int): void => {
      const unit = first.add(index);
      k.if(unit.lt(end), () => {
        const { weights, tokens } = ring(index);
        fetchStrips(unitOf(unit), weights);
        fetchTokens(unitOf(unit), tokens);
      });
      k.cpAsyncCommit();
    };

    for (let index = 0; index < stages - 1; index++) fetch(index);
    k.loop(0, end.sub(first), 1, (index) => {
      k.cpAsyncWait(stages - 2);
      // One barrier a stage serves twice: this one is there for all, and the one filled next has been read by all.
      k.barSync();
      fetch(index.add(stages - 1));
      const stage = ring(index);
      multiplyStage(k, arithmetic, sums, stage, reader, of);

      const unit = first.add(index);
      const { tile, alongK } = unitOf(unit);
      const isTileEnd = alongK.eq(stripes.unitsPerTile - 1);
      k.if(isTileEnd.or(unit.add(1).eq(end)), () => {
        addHalves(k, sums, stage.weights, place, of);
        const sharers = sharersOf(stripes, tile);
        const isLast = k.var(u32(1));
        k.if(sharers.first.ne(sharers.last), () =>
          addParts(k, sums, tile, p, place, { tiling, stripes, message }, isLast),
        );
        k.if(place.half.eq(0).and(isLast.eq(1)), () =>
          storeSums(k, of, sums, { ...p, tile, firstToken, place }, powersOf(arithmetic, tiling)),
        );
        clear(sums);
      });
    });
  });
}

/** The stages in shared memory; what unit `index` of a stripe is in. */
function ringOf(k: K, { tiling, scheme }: Ampere): (index: Int) => Stage {
  const [weightLayout, tokenLayout] = [weightTile(tiling, scheme), tokenTile(tiling)];
  const tokens = k.shared(tokenLayout, tiling.stages);
  const weights = k.shared(weightLayout, tiling.stages);
  const stageOf = (index: Int, { count }: Layout): U32 =>
    (typeof index === 'number' ? u32(index) : index).mod(tiling.stages).mul(count);
  return (index) => ({
    weights: weights.at(stageOf(index, weightLayout)),
    tokens: tokens.at(stageOf(index, tokenLayout)),
  });
}

interface Target {
  readonly factors: Global<'f32'>;
  readonly bias: Global<'f32'>;
  readonly y: Global<'u8'>;
  readonly m: U32;
  readonly tile: U32;
  readonly firstToken: U32;
  readonly place: Place;
}

/** Writes finished sums. A lane has rows g and g + 8 of each strip, and tokens 2c and 2c + 1 of each eight. */
function storeSums(
  k: K,
  { size, tiling, epilogue }: Ampere,
  sums: Sums,
  { y, factors, bias, m, tile, firstToken, place }: Target,
  powers: readonly [row: number, rowBelow: number],
): void {
  const channels = outputChannels(epilogue, size.n);
  const g = k.lane.div(4);
  /** What makes outputs of the sums of a row. */
  const finisher = (row: U32, power: number): ((sum: F32) => F32) => {
    const factor = k.ldF32(factors.at(row)).mul(power);
    const added = epilogue.bias ? k.ldF32(bias.at(row)) : f32(0);
    return (sum) => sum.fma(factor, added);
  };
  for (const [i, row] of sums.entries()) {
    const strip = tile.mul(tiling.strips).add(stripOf(place, tiling, i));
    const firstRow = strip.mul(STRIP_ROWS).add(g);
    /** Stores what `valueOf` makes of the sums [token of a pair] of each eight tokens. */
    const storeChannel = (channel: U32, valueOf: (values: Sums[number][number]['values'], odd: 0 | 1) => F32): void => {
      for (const [j, { values }] of row.entries()) {
        for (const odd of [0, 1] as const) {
          const token = firstToken.add(k.lane.mod(4).mul(2)).add(8 * j + odd);
          k.if(token.lt(m), () => store(k, epilogue, y, token.mul(channels).add(channel), valueOf(values, odd)));
        }
      }
    };
    const { pairs = 'none' } = epilogue;
    if (pairs !== 'none') {
      k.if(firstRow.lt(size.n), () => {
        const [upper, lower] = [finisher(firstRow, powers[0]), finisher(firstRow.add(8), powers[1])];
        const channel = strip.mul(STRIP_ROWS / 2).add(g);
        storeChannel(channel, (values, odd) => ofPair(pairs, upper(values[odd]), lower(values[odd === 0 ? 2 : 3])));
      });
    } else {
      for (const below of [0, 1] as const) {
        const channel = firstRow.add(8 * below);
        k.if(channel.lt(size.n), () => {
          const finish = finisher(channel, powers[below]);
          storeChannel(channel, (values, odd) => finish(values[2 * below + odd]!));
        });
      }
    }
  }
}
