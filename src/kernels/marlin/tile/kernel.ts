// y = x W^T with 4-bit weights on wgmma, for more than a few tokens: CTAs that stay for many tiles, a thread that copies ahead, warpgroups that
// turn codes into the A operand in registers while the product before is under way. sm_90a.
import { kernel, tensor } from '../../../ptx/kernel.ts';
import { rows, swizzled } from '../../../ptx/layout.ts';
import type { Program, TensorType } from '../../../ptx/program.ts';
import { u32, type U32 } from '../../../ptx/values.ts';
import { placeOf, Ring } from '../../persistent.ts';
import { SCALED_FACTOR } from '../codec.ts';
import { type Epilogue, epilogueName, outputChannels, pairsRefusal } from '../epilogue.ts';
import { type MatrixSize, STRIP_ROWS } from '../layout.ts';
import type { HalfType } from '../pack.ts';
import { exchange } from './exchange.ts';
import { arrivals, type Format, multiply } from './multiply.ts';
import { type Place, produce, type Stages } from './produce.ts';
import { type ChannelFacts, type Output, passTile, store } from './store.ts';
import {
  BOX_K,
  clusterOf,
  exchangeBytes,
  registers,
  rowsOf,
  stageBytes,
  stagesOfK,
  threadsOf,
  tilesOfRows,
  type TileTiling,
  tilingRefusal,
  WARPGROUP,
} from './tiling.ts';

/**
 * W: strips (layout.ts). X [m, k] in the kernel's type. factors: of PackedMatrix, one a channel. bias [n]: read only where the epilogue has one;
 * any buffer otherwise. Y [m, channels of the epilogue].
 */
export type TileParams = {
  readonly W: 'u8*';
  readonly X: TensorType<HalfType>;
  readonly factors: 'f32*';
  readonly bias: 'f32*';
  readonly Y: 'b32*';
  readonly m: 'u32';
};

export interface TileOptions {
  readonly size: MatrixSize;
  readonly format: Format;
  readonly tiling: TileTiling;
  readonly epilogue: Epilogue;
  /** The kernel gets ready before the one ahead in the stream has ended (programmatic dependent launch). Default false. */
  readonly overlap?: boolean;
}

const WARPS = WARPGROUP / 32;

/** The program for one matrix, any m. n and k are multiples of 8. Errors: RangeError with the reason of `tilingRefusal`. The grid is `tileGrid`. */
export function marlinTile({ size, format, tiling, epilogue, overlap = false }: TileOptions): Program<TileParams> {
  const refusal = tilingRefusal(size, tiling);
  if (refusal !== null) throw new RangeError(refusal);
  const unpaired = pairsRefusal(epilogue, size.n);
  if (unpaired !== null) throw new RangeError(unpaired);
  const { warpgroups, tokens, stages: slots, stageK, split, multicast, group } = tiling;
  const { type, scheme } = format;
  const cluster = clusterOf(tiling);
  const threads = threadsOf(tiling);
  const tileRows = tilesOfRows(size, tiling);
  const stageCount = stagesOfK(size, tiling);
  const head = {
    name: `marlin_tile_${type}_${size.n}_${size.k}_${epilogueName(epilogue)}`,
    threads,
    target: 'sm_90a',
    cluster,
    params: {
      W: 'u8*',
      X: tensor<HalfType>(type, [tokens / multicast, BOX_K], 128),
      factors: 'f32*',
      bias: 'f32*',
      Y: 'b32*',
      m: 'u32',
    },
  } as const;

  return kernel<TileParams>(head, (k, { W, X, factors, bias, Y, m }) => {
    // In this order nothing is lost to alignment: all but the strips are multiples of 1024 bytes, and barriers come last.
    const boxes = k.shared(swizzled<HalfType>(type, [tokens, BOX_K]), slots * (stageK / BOX_K));
    const staging = k.shared(passTile, warpgroups * WARPS);
    const room = split === 1 ? null : k.shared(rows('f32', [1, (exchangeBytes(tiling) * (split - 1)) / 4]));
    const stages: Stages = {
      tokens: boxes,
      weights: k.shared(rows('u8', [1, stageBytes(tiling, scheme).weights * slots])),
      full: k.mbarriers(slots),
      empty: k.mbarriers(slots),
    };
    k.if(k.thread.eq(0), () => {
      for (let slot = 0; slot < slots; slot++) {
        k.mbarrierInit(stages.full.at(slot), 1);
        k.mbarrierInit(stages.empty.at(slot), warpgroups * WARPS * arrivals(multicast));
      }
      k.fenceMBarrierInit();
    });
    if (cluster > 1) k.clusterSync();
    else k.barSync();
    if (overlap) {
      k.griddepcontrolLaunchDependents();
      k.griddepcontrolWait();
    }

    const rank = cluster === 1 ? u32(0) : k.clusterRank;
    /** Which of the CTAs with the same tokens, and which part of k. */
    const [shared, part] = multicast > 1 ? [rank, u32(0)] : [u32(0), rank];
    const bound = (of: U32): U32 => (split === 1 ? of.mul(stageCount) : of.mul(stageCount).div(split));
    const [from, to] = [bound(part), bound(part.add(1))];

    /** Runs `body` for each tile of this cluster: where this CTA's channels and the tokens begin. */
    const eachTile = (body: (place: Place) => void): void => {
      const [clusterId, clusters] = [k.cta.x.div(cluster), k.grid.x.div(cluster)];
      const tokenTiles = m.add(tokens - 1).div(tokens);
      const total = tokenTiles.mul(tileRows);
      const at = (tile: U32): Place => {
        const { row, column } = placeOf(tile, tileRows, tokenTiles, group);
        return { channel: row.mul(multicast).add(shared).mul(rowsOf(tiling)), token: column.mul(tokens) };
      };
      // Where k is split a cluster has one tile: its CTAs meet once.
      if (split > 1) {
        body(at(clusterId));
        return;
      }
      const tile = k.var(clusterId);
      k.while(
        () => tile.lt(total),
        () => {
          body(at(tile));
          tile.set(tile.add(clusters));
        },
      );
    };

    // The warp of a thread, told by one lane to all, so that the compiler knows it to be the same in all of them.
    const warp = k.shflIdx(k.warp, 0);
    k.if(
      warp.lt(WARPS),
      () => {
        k.setmaxnreg('dec', registers[warpgroups].copy);
        k.if(k.thread.eq(0), () => {
          const ring = new Ring(k, slots, 1);
          eachTile((place) => produce(k, { W, X }, stages, ring, place, [from, to], shared, { size, scheme, tiling }));
        });
        if (split > 1) k.clusterSync();
      },
      () => {
        k.setmaxnreg('inc', registers[warpgroups].product);
        const strip = warp.sub(WARPS);
        const ring = new Ring(k, slots, 0);
        const output: Output = { Y, m, n: outputChannels(epilogue, size.n) };
        const own = staging.at(strip.mul(passTile.count));
        eachTile(({ channel, token }) => {
          const first = channel.add(strip.mul(STRIP_ROWS));
          const facts = factsOf(first);
          const sums = k.wgmmaSums(tokens);
          multiply(k, sums, stages, ring, to.sub(from), strip, { format, tiling });
          if (room === null) {
            store(k, sums.values, facts, { channel: first, token }, output, own, epilogue);
            return;
          }
          const party = { split, rank, thread: k.thread.sub(WARPGROUP), threads: threads - WARPGROUP };
          const mine = exchange(k, sums.values, room, party, () => k.clusterSync());
          const begin = token.add(rank.mul(tokens / split));
          store(k, mine, facts, { channel: first, token: begin }, output, own, epilogue);
        });
      },
    );
    // No CTA may end while another still tells its barriers.
    if (multicast > 1) k.clusterSync();

    /** Of channels g and g + 8; behind the last one, of the last one. */
    function factsOf(first: U32): ChannelFacts {
      const whole = size.n % (rowsOf(tiling) * multicast) === 0;
      const [row, below] = [0, 8].map((on) => {
        const channel = first.add(k.lane.div(4)).add(on);
        return whole ? channel : channel.min(size.n - 1);
      });
      const factor = (channel: U32) => k.ldF32(factors.at(channel)).mul(SCALED_FACTOR[type]);
      return {
        factors: [factor(row!), factor(below!)],
        bias: epilogue.bias ? [k.ldF32(bias.at(row!)), k.ldF32(bias.at(below!))] : null,
      };
    }
  });
}
