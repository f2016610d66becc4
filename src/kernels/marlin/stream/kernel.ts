// The 4-bit product for few tokens on Hopper: every warp streams its own strips through a ring of its own, filled by bulk copies, and multiplies them
// by mma.sync; warps meet once, at the end, to add what they have of the same rows in a fixed order. Sums do not depend on the batch.
import { kernel, tensor } from '../../../ptx/kernel.ts';
import { rows, swizzled } from '../../../ptx/layout.ts';
import type { FragB, FragC } from '../../../ptx/fragments.ts';
import type { Program, TensorType } from '../../../ptx/program.ts';
import type { K } from '../../../ptx/trace.ts';
import { f32, type F32, type Int, u32, type U32, type Var } from '../../../ptx/values.ts';
import { type RawHalves, rawCodec, rawHalves } from '../codec.ts';
import { type Epilogue, epilogueName, gatesRefusal, outputChannels, silu, store } from '../epilogue.ts';
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
  STRIP_K,
  STRIP_ROWS,
  stripBytes,
  stripsAlongK,
  VECTOR_BYTES,
  VECTOR_STEPS,
} from '../layout.ts';
import { type HalfType, SYMMETRIC_ZERO } from '../pack.ts';

export type StreamParams = {
  /** [m, k] */
  readonly x: TensorType<HalfType>;
  readonly strips: 'b32*';
  /** [n padded to 16] */
  readonly factors: 'f32*';
  /** [n]; not read without a bias. */
  readonly bias: 'f32*';
  /** [m, channels of the epilogue] of its type. */
  readonly y: 'u8*';
  readonly m: 'u32';
};

export interface StreamTiling {
  /** Tokens a launch may have: one or two fragments of 8. */
  readonly tokens: 8 | 16;
  /** Row tiles of a warp. */
  readonly strips: number;
  /** Warps of a CTA beside each other: their strips differ. */
  readonly rowWarps: number;
  /** Warps of a CTA behind each other: they take turns along k. */
  readonly depthWarps: number;
  /** Stages of a warp's ring, 128 k of all its strips each. */
  readonly stages: number;
}

export interface StreamOptions {
  readonly type: HalfType;
  readonly scheme: Scheme;
  readonly epilogue: Epilogue;
  /** Weights are read before the kernel ahead in the stream has ended, activations after (programmatic dependent launch). */
  readonly overlap?: boolean;
}

/** Row tiles of a CTA. */
const tilesOf = ({ strips, rowWarps }: StreamTiling): number => strips * rowWarps;

export const streamGrid = (size: MatrixSize, tiling: StreamTiling): number =>
  Math.ceil(rowTiles(size) / tilesOf(tiling));

/** Tokens in rows of 64 k, 128 bytes: how boxes come and ldmatrix reads without conflicts. */
const BOX_K = 64;
const BOXES = STRIP_K / BOX_K;
const WORD = 4;

/** The program for one matrix and tiling; m is at most `tiling.tokens`. Grid: `streamGrid`. Errors: RangeError for tilings beyond 1024 threads, and gates in parts of strips. */
export function stream(size: MatrixSize, tiling: StreamTiling, options: StreamOptions): Program<StreamParams> {
  return options.type === 'f16'
    ? build('f16', size, tiling, options, rawHalves.f16)
    : build('bf16', size, tiling, options, rawHalves.bf16);
}

function build<T extends HalfType>(
  type: T,
  size: MatrixSize,
  tiling: StreamTiling,
  { scheme, epilogue, overlap = false }: StreamOptions,
  halves: RawHalves<T>,
): Program<StreamParams> {
  const gates = gatesRefusal(epilogue, size.n);
  if (gates !== null) throw new RangeError(gates);
  const { tokens, strips: stripCount, rowWarps, depthWarps, stages } = tiling;
  const warps = rowWarps * depthWarps;
  const tokenTiles = tokens / 8;
  const bytes = stripBytes(scheme);
  const blocks = stripsAlongK(size);
  const { factors: rawFactors, bias: rawBias } = rawCodec[type];
  const boxTile = swizzled<HalfType>(type, [tokens, BOX_K]);
  const stripTile = rows('b32', [stripCount, bytes / WORD]);
  const sumTile = rows('f32', [stripCount * tokenTiles, 128]);
  const params: StreamParams = {
    x: tensor<HalfType>(type, [tokens, BOX_K], 128),
    strips: 'b32*',
    factors: 'f32*',
    bias: 'f32*',
    y: 'u8*',
    m: 'u32',
  };
  const name = `marlin_stream_${size.n}_${size.k}_${tokens}_${epilogueName(epilogue)}`;

  return kernel({ name, threads: 32 * warps, target: 'sm_90', params }, (k, { x, strips, factors, bias, y, m }) => {
    // Before the tiles, whose memory is used again for the sums.
    const full = k.mbarriers(stages * warps);
    const sX = k.shared(boxTile, BOXES * stages * warps);
    const sW = k.shared(stripTile, stages * warps);
    const warp = k.shflIdx(k.warp, 0);
    const [rowWarp, depthWarp] = [warp.mod(rowWarps), warp.div(rowWarps)];
    const firstTile = k.cta.x.mul(tilesOf(tiling)).add(rowWarp.mul(stripCount));
    const slot = (stage: Int): U32 => warp.mul(stages).add(stage);

    // ---- filling: lane i copies strip i of the stage, the first lanes the tokens
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
    const copyTokens = (block: U32, stage: Int): void =>
      k.if(k.lane.eq(0), () => {
        for (let box = 0; box < BOXES; box++) {
          const to = sX.at(slot(stage).mul(BOXES).add(box).mul(boxTile.count));
          k.cpAsyncBulkTensor(to, x, [0, block.mul(STRIP_K).add(box * BOX_K)], full.at(slot(stage)));
        }
      });
    const expect = (stage: Int): void =>
      k.if(k.lane.eq(0), () =>
        k.mbarrierArriveExpectTx(full.at(slot(stage)), stripCount * bytes + BOXES * boxTile.count * 2),
      );

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
    begun(copyTokens);

    // ---- multiplying
    const sums = Array.from({ length: stripCount }, () => Array.from({ length: tokenTiles }, () => k.accumulator()));
    const stage = k.var(u32(0));
    const parity = k.var(u32(0));
    k.loop(depthWarp, blocks, depthWarps, (block) => {
      k.mbarrierWait(full.at(slot(stage)), parity);
      const activations = loadTokens();
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

    /** [step][token tile] */
    function loadTokens(): FragB<T>[][] {
      const tiles = Array.from({ length: tokenTiles }, (_, tile) =>
        Array.from({ length: STEPS / 2 }, (__, pair) => {
          const [box, column] = [Math.floor(pair / 2), (pair % 2) * 2 * STEP_K];
          const from = sX.at(slot(stage).mul(BOXES).add(box).mul(boxTile.count));
          const at = boxTile.at(k.lane.mod(8).add(8 * tile), k.lane.div(8).mul(8).add(column));
          const [a, b, c, d] = k.ldmatrix(from.at(at), 4);
          return [halves.fragB(k, a!, b!), halves.fragB(k, c!, d!)];
        }).flat(),
      );
      return Array.from({ length: STEPS }, (_, step) => tiles.map((tile) => tile[step]!));
    }

    /** For each group and token tile, what its raw sums begin with: minus bias and zero point times the sum of the activations; that sum itself where zero points differ. */
    function correctionsOf(activations: FragB<T>[][]): FragC[][] {
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
      activations: FragB<T>[][],
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
        const parts = corrections[group]!.map((correction) =>
          zeros === null ? copyOf(k, correction) : k.accumulator(),
        );
        for (const step of steps) {
          const weights = halves.raw(k, words[step]!);
          for (const [tile, part] of parts.entries()) k.mma(part, weights, activations[step]![tile]!);
        }
        for (const [tile, part] of parts.entries()) {
          for (const [i, value] of part.values.entries()) {
            const sum = ofStrip[tile]!.values[i]!;
            const half = i >> 1;
            const corrected =
              zeros === null
                ? value
                : corrections[group]![tile]!.values[i]!.fma(zeros[half]!.add(rawBias).neg(), value);
            sum.set(corrected.fma(scales[half]!, sum));
          }
        }
      }
    }

    // ---- meeting: the warps behind each other add up in shared memory, in order
    k.barSync();
    const sSums = k.sharedOver(sX, sumTile, warps);
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
      if (epilogue.gateUp === true) {
        const channel = tileRow.mul(STRIP_ROWS / 2).add(lane.div(4));
        k.if(channel.lt(channels), () => {
          const [gate, up] = [finisher(0), finisher(1)];
          storeTokens(channel, (odd) => silu(gate(odd)).mul(up(odd)));
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
  });
}

/** The same sums in registers of their own. */
function copyOf(k: K, { values }: FragC): FragC {
  const [a, b, c, d] = values.map((value): Var<F32> => k.var<F32>(value));
  return { role: 'C 16x8', values: [a!, b!, c!, d!] };
}
