// Programs that the tests of the simulator and of the printer share; some have a mistake planted on request.
import { kernel } from '../ptx/kernel.ts';
import { rows, swizzled } from '../ptx/layout.ts';
import type { Program } from '../ptx/program.ts';
import { f32 } from '../ptx/values.ts';

/** c = a + b over n elements. */
export const vectorAdd: Program<{ readonly a: 'f32*'; readonly b: 'f32*'; readonly c: 'f32*'; readonly n: 'u32' }> =
  kernel(
    { name: 'vector_add', threads: 256, params: { a: 'f32*', b: 'f32*', c: 'f32*', n: 'u32' } },
    (k, { a, b, c, n }) => {
      const i = k.cta.x.mul(256).add(k.thread);
      k.if(i.lt(n), () => k.stF32(c.at(i), k.ldF32(a.at(i)).add(k.ldF32(b.at(i)))));
    },
  );

/** y[0] = sum of x, y[1] = twice that; one warp, a loop and shuffles. */
export const warpSum: Program<{ readonly x: 'f32*'; readonly y: 'f32*'; readonly n: 'u32' }> = kernel(
  { name: 'warp_sum', threads: 32, params: { x: 'f32*', y: 'f32*', n: 'u32' } },
  (k, { x, y, n }) => {
    const total = k.var(k.ldF32(x.at(k.lane)));
    k.loop(32, n, 32, (i) => total.set(total.add(k.ldF32(x.at(i.add(k.lane))))));
    for (let mask = 16; mask >= 1; mask /= 2) total.set(total.add(k.shflBfly(total, mask)));
    k.if(
      k.lane.eq(0),
      () => k.stF32(y, total),
      () => k.if(k.lane.eq(1), () => k.stF32(y.at(1), total.mul(2))),
    );
  },
);

export interface TileOptions {
  readonly swizzle?: boolean;
  readonly barrier?: boolean;
}

/** C[16, 8] = A[16, 64] . B[8, 64]^T, staged through shared memory by four warps; one warp multiplies. */
export function tileProduct({ swizzle = true, barrier = true }: TileOptions = {}): Program<{
  readonly A: 'f16*';
  readonly B: 'f16*';
  readonly C: 'f32*';
}> {
  const K = 64;
  const shape = swizzle ? swizzled : rows;
  const [aTile, bTile] = [shape('f16', [16, K]), shape('f16', [8, K])];
  return kernel(
    { name: 'tile_product', threads: 128, params: { A: 'f16*', B: 'f16*', C: 'f32*' } },
    (k, { A, B, C }) => {
      const [sA, sB] = [k.shared(aTile), k.shared(bTile)];
      const at = k.thread.mul(8);
      const [row, column] = [at.div(K), at.mod(K)];
      const [a0, a1, a2, a3] = k.ldGlobal(A.at(at), 4);
      k.stShared(sA.at(aTile.at(row, column)), [a0!, a1!, a2!, a3!]);
      k.if(k.warp.lt(2), () => {
        const [b0, b1, b2, b3] = k.ldGlobal(B.at(at), 4);
        k.stShared(sB.at(bTile.at(row, column)), [b0!, b1!, b2!, b3!]);
      });
      if (barrier) k.barSync();
      k.if(k.warp.eq(0), () => {
        const acc = k.accumulator();
        for (let step = 0; step < K / 16; step++) {
          const column = k.lane
            .div(16)
            .mul(8)
            .add(16 * step);
          const a = k.ldmatrixA(sA.at(aTile.at(k.lane.mod(16), column))); // planted: the tile's fragment
          const b = k.ldmatrixB(
            sB.at(
              bTile.at(
                k.lane.mod(8),
                k.lane
                  .div(8)
                  .mod(2)
                  .mul(8)
                  .add(16 * step),
              ),
            ),
          );
          k.mma(acc, a, b);
        }
        const [r, c] = [k.lane.div(4), k.lane.mod(4).mul(2)];
        for (const [e, sum] of acc.values.entries())
          k.stF32(
            C.at(
              r
                .add(e >> 1 ? 8 : 0)
                .mul(8)
                .add(c)
                .add(e & 1),
            ),
            sum,
          );
      });
    },
  );
}

export interface PipelineOptions {
  /** Groups that may be under way while a stage is read; 1 is right for two stages, 2 reads what has not come. */
  readonly pending?: number;
  /** The barrier before a stage is filled again. */
  readonly barrier?: boolean;
}

/** y[i] = sum over `tiles` tiles of 128 f32 of x[tile][i], through two stages of shared memory filled by asynchronous copies ahead of their use. */
export function pipelinedSum(
  tiles: number,
  { pending = 1, barrier = true }: PipelineOptions = {},
): Program<{ readonly x: 'f32*'; readonly y: 'f32*' }> {
  const tile = rows('f32', [1, 128]);
  return kernel({ name: 'pipelined_sum', threads: 128, params: { x: 'f32*', y: 'f32*' } }, (k, { x, y }) => {
    const stages = k.shared(tile, 2);
    // A quarter of the threads copies 16 bytes each; every thread then reads what another one copied.
    const fetch = (index: number): void => {
      k.if(k.thread.lt(32), () => {
        const at = k.thread.mul(4);
        k.cpAsync(stages.at(at.add((index % 2) * 128)), x.at(at.add(index * 128))); // planted: the stage's copy
      });
      k.cpAsyncCommit();
    };
    const total = k.var(f32(0));
    fetch(0);
    for (let i = 0; i < tiles; i++) {
      if (i + 1 < tiles) fetch(i + 1);
      else k.cpAsyncCommit();
      k.cpAsyncWait(pending);
      k.barSync();
      const [word] = k.ldShared(stages.at(k.thread.xor(1).add((i % 2) * 128)), 1); // planted: the stage's read
      total.set(total.add(word!.asF32()));
      if (barrier) k.barSync();
    }
    k.stF32(y.at(k.thread.xor(1)), total);
  });
}
