// Which tilings of the 4-bit product on wgmma suit m tokens, a matrix and a GPU, and which cannot run. Pure: knows no device.
import { type MatrixSize, type Scheme, STRIP_K, STRIP_ROWS, stripBytes } from '../layout.ts';
import {
  clusterOf,
  rowsOf,
  sharedBytes,
  stagesOfK,
  tileGrid,
  tilesOfRows,
  type TileTiling,
  tilingRefusal,
} from './tiling.ts';

export interface TileCandidate {
  readonly tiling: TileTiling;
  /** CTAs to launch. */
  readonly grid: number;
  /** How often the busiest CTA computes a tile. */
  readonly turns: number;
  /** Expected cycles, and what they are spent on most. */
  readonly cycles: number;
  readonly limit: 'arithmetic' | 'caches' | 'memory';
}

/**
 * Cycles in which a multiprocessor converts a block of 64 rows x 64 k and feeds it to the tensor cores: `fixed` and `perToken` with two and with four
 * warpgroups, and the barriers and copies of a stage, which its blocks share. Fitted to an H100 (f16, groups of 128, 16 to 256 tokens; within 10%): blocks
 * of 16 tokens took 188 cycles with two warpgroups, 176 with four and 153 with four and stages of 256.
 */
const CONVERT = { 2: { fixed: 90, perToken: 0.6 }, 4: { fixed: 120, perToken: 0.6 } } as const;
const STAGE_CYCLES = 400;
/** The products alone: 2 cycles for a block and a token, and a little more: 253 to 281 for 128, 510 for 256. */
const PRODUCT = { fixed: 15, perToken: 2 } as const;
/** The same: bytes a cycle from memory to a multiprocessor, all of them reading: 3.0 TB/s. An H200 has a third more. */
const MEMORY_RATE = 13;
/** A cluster that follows another on the same multiprocessors fills its ring anew (assumed). */
const RESTART_CYCLES = 1500;
/** Bytes a cycle from the second-level cache to a multiprocessor. */
const CACHE_RATE = 68;
/** A launch: start, first bytes, end (3 us). */
const FIXED_CYCLES = 5200;
/** Reductions through distributed shared memory, for 128 rows: 2500 cycles at 16 tokens, 4200 at 64. Four CTAs took 4.5 times as long as two. */
const EXCHANGE = { fixed: 1900, perToken: 36, ofFour: 4.5 } as const;
/** Not measured: a pass of 32 tokens takes about 100 cycles. */
const STORE = { fixed: 500, perToken: 3 } as const;
/** CTAs that share their tokens wait for each other: of 16 pairs on an H100, 14 were slower so, by a quarter with up to 64 tokens. */
const multicastLoss = (tokens: number): number => (tokens <= 64 ? 1.25 : tokens <= 128 ? 1.07 : 1.005);
/** Multiprocessors of 132 that clusters of four reach. */
const REACHED_BY_FOUR = 120 / 132;
const SHARED_BYTES = 227 * 1024;
const MOST_STAGES = 8;
/** Tokens of a tile that are tried, besides m itself. */
const TOKENS = [16, 32, 48, 64, 96, 128, 160, 192, 224, 256] as const;
const STAGE_K = [128, 256] as const;
const BLOCK = 64;

/** Cycles of a block: products and conversions overlap. */
export function blockCycles({
  tokens,
  warpgroups,
  stageK,
}: Pick<TileTiling, 'tokens' | 'warpgroups' | 'stageK'>): number {
  const { fixed, perToken } = CONVERT[warpgroups];
  const blocks = (rowsOf({ warpgroups }) / BLOCK) * (stageK / BLOCK);
  return Math.max(PRODUCT.fixed + PRODUCT.perToken * tokens, fixed + perToken * tokens + STAGE_CYCLES / blocks);
}

/** Tilings that cannot multiply the matrix, with the reason. */
export function tileMisfits(
  m: number,
  size: MatrixSize,
  scheme: Scheme,
): readonly { readonly tiling: TileTiling; readonly reason: string }[] {
  return tilings(m, scheme).flatMap((tiling) => {
    const reason = refusalOf(tiling, size, scheme);
    return reason === null ? [] : [{ tiling, reason }];
  });
}

/** All tilings that can multiply the matrix, fastest first. */
export function tileCandidates(
  m: number,
  size: MatrixSize,
  scheme: Scheme,
  multiprocessors: number,
): readonly TileCandidate[] {
  return tilings(m, scheme)
    .filter((tiling) => refusalOf(tiling, size, scheme) === null)
    .map((tiling) => candidateOf(tiling, m, size, scheme, multiprocessors))
    .toSorted((a, b) => a.cycles - b.cycles);
}

/** Every tiling worth a thought: no more tokens than there are, rounded up to what clusters can share. */
function tilings(m: number, scheme: Scheme): TileTiling[] {
  const least = Math.min(256, Math.ceil(m / 16) * 16);
  const tokenChoices = [...new Set([...TOKENS.filter((tokens) => tokens <= least), least])];
  const clusters = [
    { split: 1, multicast: 1 },
    { split: 1, multicast: 2 },
    { split: 2, multicast: 1 },
    { split: 4, multicast: 1 },
  ] as const;
  return tokenChoices.flatMap((tokens) =>
    ([4, 2] as const).flatMap((warpgroups) =>
      STAGE_K.flatMap((stageK) =>
        clusters.map((cluster) =>
          withStages({ warpgroups, tokens, stageK, group: 16, once: m <= tokens, ...cluster }, scheme),
        ),
      ),
    ),
  );
}

/** As many stages as there is room for, up to eight; two where there is not even that. */
function withStages(tiling: Omit<TileTiling, 'stages'>, scheme: Scheme): TileTiling {
  let stages = MOST_STAGES;
  while (stages > 2 && sharedBytes({ ...tiling, stages }, scheme) > SHARED_BYTES) stages--;
  return { ...tiling, stages };
}

function refusalOf(tiling: TileTiling, size: MatrixSize, scheme: Scheme): string | null {
  const refusal = tilingRefusal(size, tiling);
  if (refusal !== null) return refusal;
  const bytes = sharedBytes(tiling, scheme);
  return bytes > SHARED_BYTES ? `two stages need ${bytes} bytes of shared memory, more than ${SHARED_BYTES}` : null;
}

function candidateOf(
  tiling: TileTiling,
  m: number,
  size: MatrixSize,
  scheme: Scheme,
  multiprocessors: number,
): TileCandidate {
  const { tokens, split, multicast } = tiling;
  const grid = tileGrid(m, size, tiling, multiprocessors);
  const tiles = tilesOfRows(size, tiling) * Math.ceil(m / tokens) * clusterOf(tiling);
  const reached = clusterOf(tiling) === 4 ? Math.floor(multiprocessors * REACHED_BY_FOUR) : multiprocessors;
  const turns = Math.ceil(tiles / Math.min(reached, tiles));

  const rowBlocks = rowsOf(tiling) / BLOCK;
  const columnBlocks = Math.ceil(stagesOfK(size, tiling) / split) * (tiling.stageK / BLOCK);
  const blockBytes = ((BLOCK / STRIP_ROWS) * stripBytes(scheme) * BLOCK) / STRIP_K;
  const arithmetic = rowBlocks * columnBlocks * blockCycles(tiling);
  const caches = (columnBlocks * (rowBlocks * blockBytes + tokens * 2 * BLOCK)) / CACHE_RATE;
  const exchange =
    split === 1
      ? 0
      : (EXCHANGE.fixed + EXCHANGE.perToken * tokens) * (rowBlocks / 2) * (split === 4 ? EXCHANGE.ofFour : 1);
  const tile = Math.max(arithmetic, caches) + exchange + STORE.fixed + STORE.perToken * tokens;
  const restarts = split === 1 ? 0 : (turns - 1) * RESTART_CYCLES;
  const computing = restarts + turns * tile * (multicast > 1 ? multicastLoss(tokens) : 1);

  const blocks = (Math.ceil(size.n / BLOCK) * Math.ceil(size.k / BLOCK)) / multiprocessors;
  const memory = (blocks * blockBytes) / MEMORY_RATE;
  const limit = memory > computing ? 'memory' : arithmetic > caches ? 'arithmetic' : 'caches';
  return { tiling, grid, turns, cycles: Math.round(FIXED_CYCLES + Math.max(memory, computing)), limit };
}
