// Which tiling of the 4-bit product on wgmma suits m tokens, a matrix and a GPU, and why the others do not. Pure: knows no device.
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

export interface TilePlan {
  readonly chosen: TileCandidate;
  readonly rejected: readonly { readonly tiling: TileTiling; readonly reason: string }[];
}

/**
 * Measured on an H200 (f16, 9 operations for 8 weights): cycles in which a multiprocessor converts and multiplies a block of 64 rows x 64 k, by tokens,
 * with two and with four warpgroups. At 128 and 256 tokens it was the time of the products alone, 256 and 512; a tile of 128 has as many barriers and
 * copies for half the products, which costs about a tenth (assumed).
 */
const BLOCK_CYCLES: readonly (readonly [tokens: number, two: number, four: number])[] = [
  [8, 95, 85],
  [16, 98, 87],
  [32, 117, 100],
  [64, 152, 131],
  [128, 280, 280],
  [256, 512, 512],
];
/** The same: bytes a cycle from memory to a multiprocessor, all of them reading: 2112 in 121. */
const MEMORY_RATE = 2112 / 121;
/** Bytes a cycle from the second-level cache to a multiprocessor. */
const CACHE_RATE = 68;
/** A launch: start, first bytes, end (2 us). */
const FIXED_CYCLES = 4000;
/** Reductions through distributed shared memory, for 128 rows: 2500 cycles at 16 tokens, 4200 at 64. */
const EXCHANGE = { fixed: 1900, perToken: 36 } as const;
/** Not measured: a pass of 32 tokens takes about 100 cycles. */
const STORE = { fixed: 500, perToken: 3 } as const;
/** Shared tokens save cache traffic that nothing here counts; between equals they win. */
const MULTICAST_GAIN = 0.995;
/** Multiprocessors of 132 that clusters of four reach. */
const REACHED_BY_FOUR = 120 / 132;
export const SHARED_BYTES: number = 227 * 1024;
const MOST_STAGES = 8;
/** Tokens of a tile that are tried, besides m itself. */
const TOKENS = [16, 32, 48, 64, 96, 128, 160, 192, 224, 256] as const;
const BLOCK = 64;

/** Cycles of a block, between the measured numbers of tokens in proportion. */
export function blockCycles(tokens: number, warpgroups: 2 | 4): number {
  const column = warpgroups === 2 ? 1 : 2;
  const above = Math.max(
    1,
    BLOCK_CYCLES.findIndex(([known]) => known >= tokens),
  );
  const [low, high] = [BLOCK_CYCLES[above - 1]!, BLOCK_CYCLES[above]!];
  return low[column] + ((high[column] - low[column]) * (tokens - low[0])) / (high[0] - low[0]);
}

/** Errors: RangeError when no tiling can multiply the matrix, with the reason. */
export function planTile(m: number, size: MatrixSize, scheme: Scheme, multiprocessors: number): TilePlan {
  const refused = tilings(m, scheme).flatMap((tiling) => {
    const reason = refusalOf(tiling, size, scheme);
    return reason === null ? [] : [{ tiling, reason }];
  });
  const [chosen, ...others] = tileCandidates(m, size, scheme, multiprocessors);
  if (chosen === undefined) throw new RangeError(refused[0]?.reason ?? 'there is no tiling');
  const slower = others.map((candidate) => ({ tiling: candidate.tiling, reason: reasonOf(candidate, chosen) }));
  return { chosen, rejected: [...slower, ...refused] };
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
      clusters.map((cluster) =>
        withStages({ warpgroups, tokens, stageK: 128, group: 16, once: m <= tokens, ...cluster }, scheme),
      ),
    ),
  );
}

/** As many stages as there is room for, up to eight; two where there is not even that. */
export function withStages(tiling: Omit<TileTiling, 'stages'>, scheme: Scheme): TileTiling {
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
  const { tokens, warpgroups, split, multicast } = tiling;
  const grid = tileGrid(m, size, tiling, multiprocessors);
  const tiles = tilesOfRows(size, tiling) * Math.ceil(m / tokens) * clusterOf(tiling);
  const reached = clusterOf(tiling) === 4 ? Math.floor(multiprocessors * REACHED_BY_FOUR) : multiprocessors;
  const turns = Math.ceil(tiles / Math.min(reached, tiles));

  const rowBlocks = rowsOf(tiling) / BLOCK;
  const columnBlocks = Math.ceil(stagesOfK(size, tiling) / split) * (tiling.stageK / BLOCK);
  const blockBytes = ((BLOCK / STRIP_ROWS) * stripBytes(scheme) * BLOCK) / STRIP_K;
  const arithmetic = rowBlocks * columnBlocks * blockCycles(tokens, warpgroups);
  const caches = (columnBlocks * (rowBlocks * blockBytes + tokens * 2 * BLOCK)) / CACHE_RATE;
  const exchange = split === 1 ? 0 : (EXCHANGE.fixed + EXCHANGE.perToken * tokens) * (rowBlocks / 2);
  const tile = Math.max(arithmetic, caches) + exchange + STORE.fixed + STORE.perToken * tokens;
  const computing = turns * tile * (multicast > 1 ? MULTICAST_GAIN : 1);

  const blocks = (Math.ceil(size.n / BLOCK) * Math.ceil(size.k / BLOCK)) / multiprocessors;
  const memory = (blocks * blockBytes) / MEMORY_RATE;
  const limit = memory > computing ? 'memory' : arithmetic > caches ? 'arithmetic' : 'caches';
  return { tiling, grid, turns, cycles: Math.round(FIXED_CYCLES + Math.max(memory, computing)), limit };
}

function reasonOf({ grid, turns, cycles, limit }: TileCandidate, chosen: TileCandidate): string {
  const slower = `${(cycles / chosen.cycles).toFixed(2)} times the cycles of the chosen one`;
  return `${grid} CTAs, ${turns} ${turns === 1 ? 'turn' : 'turns'}, limited by ${limit}: ${slower}`;
}
