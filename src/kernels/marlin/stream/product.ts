// The streaming product itself: every warp streams its own strips through a ring of its own, filled by bulk copies, and multiplies them by mma.sync; warps
// meet once, at the end, to add what they have of the same rows in a fixed order. Knows not where activations come from.
import type { FragB, FragC } from '../../../ptx/fragments.ts';
import { rows } from '../../../ptx/layout.ts';
import type { Global, MBarrier } from '../../../ptx/pointers.ts';
import type { K } from '../../../ptx/trace.ts';
import { f32, type F32, type Int, u32, type U32, type Var } from '../../../ptx/values.ts';
import { type RawHalves, rawCodec } from '../codec.ts';
import { type Epilogue, ofPair, outputChannels, store } from '../epilogue.ts';
import {
  CODE_BYTES,
  groupBytes,
  groupsOf,
  HALF_STRIP_BYTES,
  type MatrixSize,
  PAIR_BYTES,
  ROW_PAIRS_BYTES,
  rowTiles,
  type Scheme,
  STEP_K,
  STEPS,
  STRIP_ROWS,
  stripBytes,
  stripsAlongK,
  VECTOR_BYTES,
  VECTOR_STEPS,
} from '../layout.ts';
import { type HalfType, SYMMETRIC_ZERO } from '../pack.ts';
import { type StreamTiling, tilesOf, tokenTilesOf, warpsOf } from './tiling.ts';

/** Fragments of a block of 128 k: [step][token tile]. */
export type Activations<T extends HalfType> = readonly (readonly FragB<T>[])[];

/** Where a warp's activations come from. */
export interface ActivationSource<T extends HalfType> {
  /** Bytes of them in a stage of the ring, for its barrier. */
  readonly stageBytes: number;
  /** What is to be done once, when the kernels ahead have ended. All threads call it. */
  begin(): void;
  /** Begins to copy those of a block into a stage of this warp's. One lane calls it. */
  copy(block: U32, slot: U32, full: MBarrier): void;
  /** Those of a block, which lie in a stage. */
  load(block: U32, slot: U32): Activations<T>;
}

export interface StreamFormat<T extends HalfType> {
  readonly type: T;
  readonly halves: RawHalves<T>;
  readonly size: MatrixSize;
  readonly scheme: Scheme;
  readonly tiling: StreamTiling;
  readonly epilogue: Epilogue;
  /** Weights are read before the kernel ahead in the stream has ended, activations after (programmatic dependent launch). */
  readonly overlap: boolean;
}

/** What the product reads and writes, beside its activations. */
export interface StreamOperands {
  readonly strips: Global<'b32'>;
  readonly factors: Global<'f32'>;
  readonly bias: Global<'f32'>;
  readonly y: Global<'u8'>;
  readonly m: U32;
}

const WORD = 4;

/** The whole kernel. `sourceOf` may take shared memory. */
export function streamProduct<T extends HalfType>(
  k: K,
  { type, halves, size, scheme, tiling, epilogue, overlap }: StreamFormat<T>,
  { strips, factors, bias, y, m }: StreamOperands,
  sourceOf: (slots: number) => ActivationSource<T>,
): void {
  const { strips: stripCount, rowWarps, depthWarps, stages } = tiling;
  const warps = warpsOf(tiling);
  const tokenTiles = tokenTilesOf(tiling);
  const bytes = stripBytes(scheme);
  const blocks = stripsAlongK(size);
  const { factors: rawFactors, bias: rawBias } = rawCodec[type];
  const stripTile = rows('b32', [stripCount, bytes / WORD]);
  const sumTile = rows('f32', [stripCount * tokenTiles, 128]);
  // Before the tiles, whose memory is used again for the sums.
  const full = k.mbarriers(stages * warps);
  const source = sourceOf(stages * warps);
  const sW = k.shared(stripTile, stages * warps);
  const warp = k.shflIdx(k.warp, 0);
  const [rowWarp, depthWarp] = [warp.mod(rowWarps), warp.div(rowWarps)];
  const firstTile = k.cta.x.mul(tilesOf(tiling)).add(rowWarp.mul(stripCount));
  const slot = (stage: Int): U32 => warp.mul(stages).add(stage);

  // ---- filling: lane i copies strip i of the stage, the first lane the tokens
  const copyStrips = (block: U32, stage: Int): void =>
    k.if(k.lane.lt(stripCount), () => {
      const strip = firstTile
        .add(k.lane)
        .min(rowTiles(size) - 1)
        .mul(blocks)
        .add(block);
      k.cpAsyncBulk(
        sW.at(slot(stage).mul(stripTile.count).add(stripTile.at(k.lane, 0))),
        strips.at(strip.mul(bytes / WORD)),
        bytes,
        full.at(slot(stage)),
        { evict: 'first' },
      );
    });
  const copyTokens = (block: U32, stage: Int): void => {
    if (source.stageBytes > 0) k.if(k.lane.eq(0), () => source.copy(block, slot(stage), full.at(slot(stage))));
  };
  const expect = (stage: Int): void =>
    k.if(k.lane.eq(0), () => k.mbarrierArriveExpectTx(full.at(slot(stage)), stripCount * bytes + source.stageBytes));

  k.if(k.lane.eq(0), () => {
    for (let stage = 0; stage < stages; stage++) k.mbarrierInit(full.at(slot(stage)), 1);
    k.fenceMBarrierInit();
  });
  k.syncWarp();
  const begun = (copy: (block: U32, stage: number) => void): void => {
    for (let stage = 0; stage < stages; stage++) {
      const block = depthWarp.add(stage * depthWarps);
      k.if(block.lt(blocks), () => copy(block, stage));
    }
  };
  begun((block, stage) => {
    expect(stage);
    copyStrips(block, stage);
  });
  if (overlap) {
    k.griddepcontrolLaunchDependents();
    k.griddepcontrolWait();
  }
  source.begin();
  if (source.stageBytes > 0) begun(copyTokens);

  // ---- multiplying
  const sums = Array.from({ length: stripCount }, () => Array.from({ length: tokenTiles }, () => k.accumulator()));
  const stage = k.var(u32(0));
  const parity = k.var(u32(0));
  k.loop(depthWarp, blocks, depthWarps, (block) => {
    k.mbarrierWait(full.at(slot(stage)), parity);
    const activations = source.load(block, slot(stage));
    const corrections = correctionsOf(activations);
    for (const [i, ofStrip] of sums.entries()) multiply(ofStrip, i, activations, corrections);
    // All lanes have read the stage: it can be filled again.
    k.syncWarp();
    const next = block.add(stages * depthWarps);
    k.if(next.lt(blocks), () => {
      expect(stage);
      copyStrips(next, stage);
      copyTokens(next, stage);
    });
    const following = stage.add(1);
    const round = following.eq(stages);
    stage.set(k.select(round, u32(0), following));
    parity.set(k.select(round, parity.xor(1), parity));
  });

  /** For each group and token tile, what its raw sums begin with: minus bias and zero point times the sum of the activations; that sum itself where zero points differ. */
  function correctionsOf(activations: Activations<T>): FragC[][] {
    const [row, below] = rawFactors;
    const factor = scheme.zeroPoints ? 1 : -(rawBias + SYMMETRIC_ZERO);
    const constant = halves.constant(k, [factor / row, factor / below]);
    return stepsOfGroups().map((steps) =>
      Array.from({ length: tokenTiles }, (_, tile) => {
        const sum = k.accumulator();
        for (const step of steps) k.mma(sum, constant, activations[step]![tile]!);
        return sum;
      }),
    );
  }

  function stepsOfGroups(): number[][] {
    const perGroup = scheme.group / STEP_K;
    return Array.from({ length: groupsOf(scheme) }, (_, group) =>
      Array.from({ length: perGroup }, (__, step) => group * perGroup + step),
    );
  }

  function multiply(
    ofStrip: readonly FragC[],
    strip: number,
    activations: Activations<T>,
    corrections: FragC[][],
  ): void {
    const base = sW.at(slot(stage).mul(stripTile.count).add(stripTile.at(strip, 0)));
    const words = Array.from({ length: STEPS / VECTOR_STEPS }, (_, half) =>
      k.ldShared(base.at(k.lane.mul(VECTOR_BYTES / WORD).add((half * HALF_STRIP_BYTES) / WORD)), 4),
    ).flat();
    for (const [group, steps] of stepsOfGroups().entries()) {
      const pair = base.at(
        k.lane
          .div(4)
          .mul(PAIR_BYTES / WORD)
          .add((CODE_BYTES + group * groupBytes(scheme)) / WORD),
      );
      const scales = halves.toF32(k.ldShared(pair, 1)[0]!);
      const zeros = scheme.zeroPoints ? halves.toF32(k.ldShared(pair.at(ROW_PAIRS_BYTES / WORD), 1)[0]!) : null;
      const parts = corrections[group]!.map((correction) => (zeros === null ? copyOf(k, correction) : k.accumulator()));
      for (const step of steps) {
        const weights = halves.raw(k, words[step]!);
        for (const [tile, part] of parts.entries()) k.mma(part, weights, activations[step]![tile]!);
      }
      for (const [tile, part] of parts.entries()) {
        for (const [i, value] of part.values.entries()) {
          const sum = ofStrip[tile]!.values[i]!;
          const half = i >> 1;
          const corrected =
            zeros === null ? value : corrections[group]![tile]!.values[i]!.fma(zeros[half]!.add(rawBias).neg(), value);
          sum.set(corrected.fma(scales[half]!, sum));
        }
      }
    }
  }

  // ---- meeting: the warps behind each other add up in shared memory, in order
  k.barSync();
  const sSums = k.sharedOver(sW, sumTile, warps);
  for (const [i, ofStrip] of sums.entries()) {
    for (const [tile, { values }] of ofStrip.entries()) {
      const at = warp.mul(sumTile.count).add(sumTile.at(i * tokenTiles + tile, k.lane.mul(4)));
      const [a, b, c, d] = values.map((value) => value.asB32());
      k.stShared(sSums.at(at), [a!, b!, c!, d!]);
    }
  }
  k.barSync();
  // A thread takes whole vectors: of a strip, a token tile, a lane.
  const vectors = tilesOf(tiling) * tokenTiles * 32;
  const threads = 32 * warps;
  for (let first = 0; first < vectors; first += threads) {
    const take = (): void => finish(k.thread.add(first));
    if (first + threads <= vectors) take();
    else k.if(k.thread.lt(vectors - first), take);
  }

  function finish(vector: U32): void {
    const [lane, unit] = [vector.mod(32), vector.div(32)];
    const [tile, strip] = [unit.mod(tokenTiles), unit.div(tokenTiles)];
    const [ofWarp, inWarp] = [strip.div(stripCount), strip.mod(stripCount)];
    const total: F32[] = [f32(0), f32(0), f32(0), f32(0)];
    for (let depth = 0; depth < depthWarps; depth++) {
      const place = sumTile.at(inWarp.mul(tokenTiles).add(tile), lane.mul(4));
      const part = k.ldShared(
        sSums.at(
          ofWarp
            .add(depth * rowWarps)
            .mul(sumTile.count)
            .add(place),
        ),
        4,
      );
      for (const [i, word] of part.entries()) total[i] = total[i]!.add(word.asF32());
    }
    const tileRow = k.cta.x.mul(tilesOf(tiling)).add(strip);
    const token = tile.mul(8).add(lane.mod(4).mul(2));
    const channels = outputChannels(epilogue, size.n);
    const storeTokens = (channel: U32, valueOf: (odd: 0 | 1) => F32): void => {
      for (const odd of [0, 1] as const)
        k.if(token.add(odd).lt(m), () =>
          store(k, epilogue, y, token.add(odd).mul(channels).add(channel), valueOf(odd)),
        );
    };
    /** The sums of row g, or g + 8, of the strip, scaled. */
    const finisher = (below: 0 | 1): ((odd: 0 | 1) => F32) => {
      const row = tileRow
        .mul(STRIP_ROWS)
        .add(lane.div(4))
        .add(8 * below);
      const factor = k.ldF32(factors.at(row)).mul(rawFactors[below]);
      const added = epilogue.bias ? k.ldF32(bias.at(row)) : f32(0);
      return (odd) => total[2 * below + odd]!.fma(factor, added);
    };
    const { pairs = 'none' } = epilogue;
    if (pairs !== 'none') {
      const channel = tileRow.mul(STRIP_ROWS / 2).add(lane.div(4));
      k.if(channel.lt(channels), () => {
        const [upper, lower] = [finisher(0), finisher(1)];
        storeTokens(channel, (odd) => ofPair(pairs, upper(odd), lower(odd)));
      });
      return;
    }
    for (const below of [0, 1] as const) {
      const channel = tileRow
        .mul(STRIP_ROWS)
        .add(lane.div(4))
        .add(8 * below);
      k.if(channel.lt(size.n), () => storeTokens(channel, finisher(below)));
    }
  }
}

/** The same sums in registers of their own. */
function copyOf(k: K, { values }: FragC): FragC {
  const [a, b, c, d] = values.map((value): Var<F32> => k.var<F32>(value));
  return { role: 'C 16x8', values: [a!, b!, c!, d!] };
}
