// The copying thread of the 4-bit product on wgmma: strips of weights and boxes of tokens into the ring. Knows no codes and no products.
import type { Global, MBarrier, Shared, Tensor } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import type { Int, U32 } from '../../../ptx/values.ts';
import type { Ring } from '../../persistent.ts';
import { type MatrixSize, rowTiles, type Scheme, STRIP_K, STRIP_ROWS, stripBytes, stripsAlongK } from '../layout.ts';
import type { HalfType } from '../pack.ts';
import { BOX_K, depthOf, rowsOf, stageBytes, type TileTiling } from './tiling.ts';

/** The ring in shared memory. A stage is full once its bytes have come, empty once every warp that reads it has let go. */
export interface Stages {
  readonly weights: Shared<'u8'>;
  readonly tokens: Shared<HalfType>;
  readonly full: MBarrier;
  readonly empty: MBarrier;
}

export interface Sources {
  readonly W: Global<'u8'>;
  readonly X: Tensor<HalfType>;
}

/** What a CTA multiplies at a time: channels and tokens from these on. */
export interface Place {
  readonly channel: U32;
  readonly token: U32;
}

/** Fills the ring with k stages `from` .. `to` of a tile. `rank`: of the CTA among those that share tokens. */
export function produce(
  k: K,
  { W, X }: Sources,
  stages: Stages,
  ring: Ring,
  { channel, token }: Place,
  [from, to]: readonly [from: Int, to: Int],
  rank: U32,
  { size, scheme, tiling }: { readonly size: MatrixSize; readonly scheme: Scheme; readonly tiling: TileTiling },
): void {
  const { tokens, stageK, multicast, once } = tiling;
  const bytes = stageBytes(tiling, scheme);
  /** What is contiguous: a strip of rows through the k of a stage. */
  const run = depthOf(tiling) * stripBytes(scheme);
  const rowBytes = stripsAlongK(size) * stripBytes(scheme);
  const part = tokens / multicast;
  // Behind the last channel the last strip is copied again, so that each stage has the same bytes; nobody stores what becomes of it.
  const strip = channel.div(STRIP_ROWS);
  const whole = size.n % (rowsOf(tiling) * multicast) === 0;
  const rows = Array.from({ length: rowsOf(tiling) / STRIP_ROWS }, (_, i) => {
    const row = strip.add(i);
    return W.at((whole ? row : row.min(rowTiles(size) - 1)).mul(rowBytes));
  });

  k.loop(from, to, 1, (step) => {
    const barrier = stages.full.at(ring.stage);
    k.mbarrierWait(stages.empty.at(ring.stage), ring.parity);
    k.mbarrierArriveExpectTx(barrier, bytes.weights + bytes.tokens);
    const [weights, at] = [stages.weights.at(ring.stage.mul(bytes.weights)), step.mul(run)];
    for (const [i, row] of rows.entries())
      k.cpAsyncBulk(weights.at(i * run), row.at(at), run, barrier, once ? { evict: 'first' } : {});
    for (let box = 0; box < stageK / BOX_K; box++) {
      const first = ring.stage.mul(tokens * stageK).add(box * tokens * BOX_K);
      const target = stages.tokens.at(first.add(rank.mul(part * BOX_K)));
      const corner = [token.add(rank.mul(part)), step.mul(depthOf(tiling) * STRIP_K).add(box * BOX_K)] as const;
      k.cpAsyncBulkTensor(target, X, corner, barrier, multicast === 1 ? {} : { multicast: 2 ** multicast - 1 });
    }
    ring.advance();
  });
}
