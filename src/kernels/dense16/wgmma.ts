// C = A B^T in f16 with f32 sums on wgmma: CTAs that stay for many tiles, a warp that copies boxes ahead, two warpgroups that multiply. sm_90a.
import type { WgmmaSums } from '../../ptx/fragments.ts';
import { kernel, tensor } from '../../ptx/kernel.ts';
import { swizzled } from '../../ptx/layout.ts';
import type { Program, TensorType } from '../../ptx/program.ts';
import type { K } from '../../ptx/trace.ts';
import { pairOfHalves, u32, type U32 } from '../../ptx/values.ts';
import { placeOf, release, Ring } from '../persistent.ts';
import type { Shape } from './kernel.ts';

export type WgmmaParams = {
  readonly A: TensorType<'f16'>;
  readonly B: TensorType<'f16'>;
  readonly C: TensorType<'f16'>;
};

export interface WgmmaTiling {
  /** Columns of C that a CTA computes at a time. Its rows are 128. */
  readonly columns: 64 | 128 | 256;
  /** Slots of the ring of tiles. */
  readonly stages: number;
  /** CTAs that share the columns of a tile, and so copy B once for all of them. */
  readonly cluster: 1 | 2;
  /** Rows of tiles that run next to each other, so that what they read of A and B is read again from the second-level cache. */
  readonly group: number;
}

/** 192 KB of tiles and 32 KB of C on its way out: all that a CTA can have. */
export const largeTiling: WgmmaTiling = { columns: 256, stages: 4, cluster: 2, group: 16 };

const ROWS = 128;
/** A row of a stage: 128 bytes, what a swizzle spans. */
const TILE_K = 64;
/** k of one product. */
const STEP_K = 16;
const WARPGROUP = 128;
const CONSUMERS = 2;
const CONSUMER_WARPS = 4 * CONSUMERS;
const THREADS = WARPGROUP * (1 + CONSUMERS);
/** Of C, on its way out: what a warpgroup stores at a time, twice, so that one can be filled while the other is read. */
const OUT_ROWS = 64;
const OUT_COLUMNS = 64;
const OUT_BUFFERS = 2;
/** The copying warpgroup needs few registers, so that the others can have 240: 128 of them are sums. */
const COPY_REGISTERS = 40;
const PRODUCT_REGISTERS = 232;

const outTile = swizzled('f16', [OUT_ROWS, OUT_COLUMNS]);

/** How many CTAs to launch: one for each multiprocessor, but no more than there are tiles. */
export function wgmmaGrid(shape: Shape, tiling: WgmmaTiling, multiprocessors: number): number {
  const { cluster } = tiling;
  const clusters = Math.min(Math.floor(multiprocessors / cluster), tileCount(shape, tiling).total);
  return clusters * cluster;
}

/** Rows and columns of tiles, a row being that of a cluster. */
function tileCount(
  { m, n }: Shape,
  { columns, cluster }: WgmmaTiling,
): { readonly rows: number; readonly total: number } {
  const rows = Math.ceil(m / (ROWS * cluster));
  return { rows, total: rows * Math.ceil(n / columns) };
}

/**
 * The program for one shape and tiling; the grid is `wgmmaGrid`, or any multiple of the cluster. A [m, k], B [n, k] and C [m, n] by rows; m and n are
 * any, k and n multiples of 8 (rows of 16 bytes). Errors: RangeError otherwise.
 */
export function dense16Wgmma(shape: Shape, tiling: WgmmaTiling = largeTiling): Program<WgmmaParams> {
  const { n, k: depth } = shape;
  const { columns, stages, cluster, group } = tiling;
  if (depth % 8 !== 0 || n % 8 !== 0) throw new RangeError(`rows of ${depth} or ${n} f16 are no multiple of 16 bytes`);
  const { rows: tileRows, total } = tileCount(shape, tiling);
  const steps = Math.ceil(depth / TILE_K);
  const [aTile, bTile] = [swizzled('f16', [ROWS, TILE_K]), swizzled('f16', [columns, TILE_K])];
  /** Each CTA of a cluster copies its part of B to all of them. */
  const bRows = columns / cluster;
  const stageBytes = (aTile.count + bTile.count) * 2;
  const params: WgmmaParams = {
    A: tensor('f16', [ROWS, TILE_K], 128),
    B: tensor('f16', [bRows, TILE_K], 128),
    C: tensor('f16', [OUT_ROWS, OUT_COLUMNS], 128),
  };
  const name = `dense16_wgmma_${shape.m}_${n}_${depth}`;

  return kernel({ name, threads: THREADS, target: 'sm_90a', cluster, params }, (k, { A, B, C }) => {
    const [sA, sB] = [k.shared(aTile, stages), k.shared(bTile, stages)];
    const sC = k.shared(outTile, CONSUMERS * OUT_BUFFERS);
    /** A stage is full once its bytes have come; empty once every consuming warp of the cluster has let go of it. */
    const [full, empty] = [k.mbarriers(stages), k.mbarriers(stages)];
    k.if(k.thread.eq(0), () => {
      for (let stage = 0; stage < stages; stage++) {
        k.mbarrierInit(full.at(stage), 1);
        k.mbarrierInit(empty.at(stage), CONSUMER_WARPS * cluster);
      }
      k.fenceMBarrierInit();
    });
    meet();

    const rank = cluster === 1 ? u32(0) : k.clusterRank;
    /** Runs `body` for each tile of this cluster, with the first row and column of this CTA's part of C. */
    const eachTile = (body: (row: U32, column: U32) => void): void => {
      const [clusterId, clusters] = [k.cta.x.div(cluster), k.grid.x.div(cluster)];
      const tile = k.var(clusterId);
      k.while(
        () => tile.lt(total),
        () => {
          const { row, column } = placeOf(tile, tileRows, total / tileRows, group);
          body(row.mul(cluster).add(rank).mul(ROWS), column.mul(columns));
          tile.set(tile.add(clusters));
        },
      );
    };

    // The warp of a thread, told by one lane to all, so that the compiler knows it to be the same in all of them.
    const warp = k.shflIdx(k.warp, 0);
    k.if(
      warp.lt(WARPGROUP / 32),
      () => {
        k.setmaxnreg('dec', COPY_REGISTERS);
        k.if(k.thread.eq(0), () => {
          const ring = new Ring(k, stages, 1);
          eachTile((row, column) =>
            k.loop(0, steps, 1, (step) => {
              const barrier = full.at(ring.stage);
              k.mbarrierWait(empty.at(ring.stage), ring.parity);
              k.mbarrierArriveExpectTx(barrier, stageBytes);
              const at = step.mul(TILE_K);
              k.cpAsyncBulkTensor(sA.at(ring.stage.mul(aTile.count)), A, [row, at], barrier);
              const part = ring.stage.mul(bTile.count).add(rank.mul(bRows * TILE_K));
              const bRow = column.add(rank.mul(bRows));
              k.cpAsyncBulkTensor(sB.at(part), B, [bRow, at], barrier, cluster === 1 ? {} : { multicast: 0b11 });
              ring.advance();
            }),
          );
        });
      },
      () => {
        k.setmaxnreg('inc', PRODUCT_REGISTERS);
        const consumer = warp.div(4).sub(1);
        const ring = new Ring(k, stages, 0);
        eachTile((row, column) => {
          const sums = k.wgmmaSums(columns);
          const multiply = (first: boolean): void => {
            k.mbarrierWait(full.at(ring.stage), ring.parity);
            const a = sA.at(ring.stage.mul(aTile.count).add(consumer.mul(OUT_ROWS * TILE_K)));
            const b = sB.at(ring.stage.mul(bTile.count));
            k.wgmmaFence();
            for (let at = 0; at < TILE_K; at += STEP_K)
              k.wgmma(sums, k.slab(a, 2 * at), k.slab(b, 2 * at), !(first && at === 0));
            k.wgmmaCommit();
          };
          // One tile of k is multiplied while the one before is waited for and its stage let go.
          multiply(true);
          const before = k.var<U32>(ring.stage);
          ring.advance();
          k.loop(1, steps, 1, () => {
            multiply(false);
            k.wgmmaWait(1);
            release(k, empty.at(before), cluster);
            before.set(ring.stage);
            ring.advance();
          });
          k.wgmmaWait(0);
          release(k, empty.at(before), cluster);
          store(sums, consumer, row, column);
        });
        k.cpAsyncBulkWait(0);
      },
    );
    // No CTA may end while another still tells its barriers.
    if (cluster > 1) k.clusterSync();

    function meet(): void {
      if (cluster > 1) k.clusterSync();
      else k.barSync();
    }

    /** Sums to f16 in shared memory, 64 columns at a time, and on in bulk. */
    function store({ values }: WgmmaSums, consumer: U32, row: U32, column: U32): void {
      const threads = k.thread.mod(WARPGROUP);
      const warpRow = threads.div(32).mul(16);
      const parts = columns / OUT_COLUMNS;
      // Buffers take turns, from tile to tile as well: so there are as many as divide the parts.
      const buffers = Math.min(OUT_BUFFERS, parts);
      for (let part = 0; part < parts; part++) {
        const buffer = consumer.mul(buffers).add(part % buffers);
        const out = sC.at(buffer.mul(outTile.count));
        // The thread that stores waits until this buffer was read; the others until it has.
        k.if(threads.eq(0), () => k.cpAsyncBulkWait(buffers - 1, { read: true }));
        syncWarpgroup(k, consumer);
        for (let pair = 0; pair < OUT_COLUMNS / 16; pair++) {
          const first = 4 * ((part * OUT_COLUMNS) / 8 + 2 * pair);
          const halves = (i: number) => pairOfHalves(values[first + 2 * i]!, values[first + 2 * i + 1]!).asB32();
          const [r, c] = [
            k.lane.mod(16),
            k.lane
              .div(16)
              .mul(8)
              .add(16 * pair),
          ];
          k.stmatrix(out.at(outTile.at(warpRow.add(r), c)), [halves(0), halves(1), halves(2), halves(3)]);
        }
        k.fenceProxyAsync();
        syncWarpgroup(k, consumer);
        k.if(threads.eq(0), () => {
          k.cpAsyncBulkTensorStore(C, [row.add(consumer.mul(OUT_ROWS)), column.add(part * OUT_COLUMNS)], out);
          k.cpAsyncBulkCommit();
        });
      }
    }
  });
}

/** The four warps of a consumer wait for each other: barriers 1 and 2. */
function syncWarpgroup(k: K, consumer: U32): void {
  for (let i = 0; i < CONSUMERS; i++) k.if(consumer.eq(i), () => k.barSync(1 + i, WARPGROUP));
}
