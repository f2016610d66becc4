// A product as Hopper kernels make it, for tests and the benchmark: one warp copies boxes, a warpgroup multiplies them; mbarriers between.
import { kernel, tensor } from '../ptx/kernel.ts';
import { swizzled } from '../ptx/layout.ts';
import type { Program, TensorType } from '../ptx/program.ts';

export const PIPELINE_TILE = 64;
const STAGES = 3;
const BYTES = 2 * PIPELINE_TILE * PIPELINE_TILE * 2;

export type PipelineParams = {
  readonly A: TensorType<'f16'>;
  readonly B: TensorType<'f16'>;
  readonly C: 'f32*';
};

/** C[64, 64] = A[64, 64 tiles] . B[64, 64 tiles]^T in f16 with f32 sums. */
export function boxPipeline(tiles: number): Program<PipelineParams> {
  const box = tensor('f16', [PIPELINE_TILE, PIPELINE_TILE], 128);
  const tile = swizzled('f16', [PIPELINE_TILE, PIPELINE_TILE]);
  const params = { A: box, B: box, C: 'f32*' } as const;
  return kernel({ name: 'box_pipeline', threads: 160, target: 'sm_90a', params }, (k, { A, B, C }) => {
    const [left, right] = [k.shared(tile, STAGES), k.shared(tile, STAGES)];
    const [full, empty] = [k.mbarriers(STAGES), k.mbarriers(STAGES)];
    k.if(k.thread.eq(0), () => {
      for (let stage = 0; stage < STAGES; stage++) {
        k.mbarrierInit(full.at(stage), 1);
        k.mbarrierInit(empty.at(stage), 4);
      }
      k.fenceMBarrierInit();
    });
    k.barSync();
    k.if(
      k.warp.eq(4),
      () =>
        k.if(k.lane.eq(0), () =>
          k.loop(0, tiles, 1, (i) => {
            const [stage, turn] = [i.mod(STAGES), i.div(STAGES)];
            k.mbarrierWait(empty.at(stage), turn.add(1));
            k.mbarrierArriveExpectTx(full.at(stage), BYTES);
            const column = i.mul(PIPELINE_TILE);
            k.cpAsyncBulkTensor(left.at(stage.mul(tile.count)), A, [0, column], full.at(stage));
            k.cpAsyncBulkTensor(right.at(stage.mul(tile.count)), B, [0, column], full.at(stage));
          }),
        ),
      () => {
        const sums = k.wgmmaSums(PIPELINE_TILE);
        k.loop(0, tiles, 1, (i) => {
          const [stage, turn] = [i.mod(STAGES), i.div(STAGES)];
          k.mbarrierWait(full.at(stage), turn);
          k.wgmmaFence();
          for (let step = 0; step < 4; step++) {
            const [a, b] = [left, right].map((from) => k.slab(from.at(stage.mul(tile.count)), 32 * step));
            k.wgmma(sums, a!, b!);
          }
          k.wgmmaCommit();
          k.wgmmaWait(0);
          k.if(k.lane.eq(0), () => k.mbarrierArrive(empty.at(stage)));
        });
        for (const [register, sum] of sums.values.entries()) {
          const row = k.warp
            .mul(16)
            .add(k.lane.div(4))
            .add(register & 2 ? 8 : 0);
          const column = k.lane
            .mod(4)
            .mul(2)
            .add(8 * (register >> 2) + (register & 1));
          k.stF32(C.at(row.mul(PIPELINE_TILE).add(column)), sum);
        }
      },
    );
  });
}
