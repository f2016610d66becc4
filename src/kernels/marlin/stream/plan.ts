// Which tilings of the streaming 4-bit product suit a matrix and a GPU, with what they are expected to take. Pure: knows no device.
import { type MatrixSize, packedBytes, rowTiles, type Scheme, stripBytes, stripsAlongK } from '../layout.ts';
import { streamGrid, type StreamTiling, tilesOf, tokenTilesOf, warpsOf } from './tiling.ts';

export interface StreamCandidate {
  readonly tiling: StreamTiling;
  /** CTAs to launch. */
  readonly grid: number;
  /** Of a CTA, in bytes. */
  readonly sharedBytes: number;
  /** CTAs that a multiprocessor holds at a time. */
  readonly resident: number;
  /** Expected time in microseconds. */
  readonly cost: number;
}

/** What a multiprocessor has. */
const SHARED_BYTES = 227 * 1024;
const THREADS = 2048;
const REGISTERS = 65_536;
/** Registers of a thread besides its sums, roughly; sums take 4 for each strip and 8 tokens (ptxas: 56 .. 171 in all). */
const OTHER_REGISTERS = 56;

/** Measured on an H100: read at 3.0 TB/s, and about 2.6 us a launch spends on its start, its first bytes and its end. */
const MEMORY_RATE = 3.0e6;
const FIXED_MICROSECONDS = 2.6;
/** Bytes that a multiprocessor must have under way to read at that rate. */
const UNDER_WAY = 64 * 1024;
/** Each warp reads the tokens for itself: what slows reading is their bytes beyond half of the weights' (14336 x 4096: one strip a warp 16.8 us, two 13.9). */
const TOKEN_COST = 0.22;
const FREE_TOKENS = 0.5;
/** Adding up among warps: for each strip and 8 tokens of each warp behind another. */
const SUM_MICROSECONDS = 0.008;
/** Turns in which CTAs are replaced cost the fill of their rings. */
const TURN_MICROSECONDS = 0.8;

const STRIPS = [1, 2, 3, 4, 5, 6, 7, 8, 10] as const;
const ROW_WARPS = [1, 2] as const;
const DEPTH_WARPS = [4, 8, 16] as const;
const STAGES = [2, 3, 4] as const;
const MOST_WARPS = 16;
const TOKEN_BYTES_OF_STAGE = 256;
/** mbarriers, and what aligning costs. */
const SLACK = 2048;

/** All tilings that fit, cheapest first. */
export function streamCandidates(
  size: MatrixSize,
  scheme: Scheme,
  m: number,
  multiprocessors: number,
): readonly StreamCandidate[] {
  return tilings(m)
    .filter((tiling) => refusalOf(tiling, size, scheme) === null)
    .map((tiling) => candidateOf(size, scheme, multiprocessors, tiling))
    .toSorted((a, b) => a.cost - b.cost);
}

/** Tilings that cannot run, with the reason. */
export function streamMisfits(
  size: MatrixSize,
  scheme: Scheme,
  m: number,
): readonly { readonly tiling: StreamTiling; readonly reason: string }[] {
  return tilings(m).flatMap((tiling) => {
    const reason = refusalOf(tiling, size, scheme);
    return reason === null ? [] : [{ tiling, reason }];
  });
}

function tilings(m: number): readonly StreamTiling[] {
  const tokenCounts = m === 1 ? ([1, 8] as const) : [m <= 8 ? (8 as const) : (16 as const)];
  return tokenCounts.flatMap((tokens) =>
    STRIPS.flatMap((strips) =>
      ROW_WARPS.flatMap((rowWarps) =>
        DEPTH_WARPS.flatMap((depthWarps) =>
          STAGES.map((stages): StreamTiling => ({ tokens, strips, rowWarps, depthWarps, stages })),
        ),
      ),
    ),
  );
}

/** What a CTA of a tiling takes of a multiprocessor. */
function needsOf(
  tiling: StreamTiling,
  size: MatrixSize,
  scheme: Scheme,
): { readonly registers: number; readonly sharedBytes: number; readonly ofStage: number } {
  const { tokens, strips, stages } = tiling;
  // One token is there once for all warps.
  const [once, ofStage] =
    tokens === 1 ? [stripsAlongK(size) * TOKEN_BYTES_OF_STAGE, 0] : [0, tokens * TOKEN_BYTES_OF_STAGE];
  return {
    registers: (OTHER_REGISTERS + 4 * strips * tokenTilesOf(tiling)) * 32 * warpsOf(tiling),
    sharedBytes: SLACK + once + warpsOf(tiling) * stages * (strips * stripBytes(scheme) + ofStage),
    ofStage,
  };
}

function refusalOf(tiling: StreamTiling, size: MatrixSize, scheme: Scheme): string | null {
  const warps = warpsOf(tiling);
  const { registers, sharedBytes } = needsOf(tiling, size, scheme);
  const strips = stripsAlongK(size);
  if (warps > MOST_WARPS) return `${warps} warps, more than ${MOST_WARPS}`;
  if (tiling.depthWarps > Math.max(4, strips)) return `${tiling.depthWarps} warps share ${strips} strips of k`;
  if (sharedBytes > SHARED_BYTES)
    return `it needs ${sharedBytes} bytes of shared memory, and a CTA has ${SHARED_BYTES}`;
  if (registers > REGISTERS) return `it needs ${registers} registers, and a multiprocessor has ${REGISTERS}`;
  return null;
}

function candidateOf(size: MatrixSize, scheme: Scheme, multiprocessors: number, tiling: StreamTiling): StreamCandidate {
  const { strips, depthWarps, stages } = tiling;
  const [warps, tokenTiles] = [warpsOf(tiling), tokenTilesOf(tiling)];
  const { registers, sharedBytes, ofStage } = needsOf(tiling, size, scheme);
  const resident = Math.min(
    Math.floor(SHARED_BYTES / sharedBytes),
    Math.floor(THREADS / (32 * warps)),
    Math.floor(REGISTERS / registers),
  );
  const grid = streamGrid(size, tiling);
  const places = multiprocessors * resident;
  const turns = Math.ceil(grid / places);
  // The busiest multiprocessor decides, in strips; what is under way, how fast each is read.
  const busiest = Math.ceil(grid / multiprocessors) * tilesOf(tiling);
  const ctas = Math.min(resident, Math.ceil(grid / multiprocessors));
  const underWay = ctas * warps * stages * strips * stripBytes(scheme);
  const even = rowTiles(size) / (multiprocessors * busiest);
  // Memory is as fast with a few multiprocessors less, and late CTAs overlap: half of the imbalance is lost.
  const balance = 1 - (1 - even) / 2;
  const tokenShare = ofStage / (strips * stripBytes(scheme));
  const slowed = 1 + TOKEN_COST * Math.max(0, tokenShare - FREE_TOKENS);
  const reading = (packedBytes(size, scheme) * slowed) / (MEMORY_RATE * Math.min(1, underWay / UNDER_WAY) * balance);
  const adding = SUM_MICROSECONDS * strips * tokenTiles * depthWarps;
  const cost = FIXED_MICROSECONDS + reading + adding + (turns - 1) * TURN_MICROSECONDS;
  return { tiling, grid, sharedBytes, resident, cost };
}
