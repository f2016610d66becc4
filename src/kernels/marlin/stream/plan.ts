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
  const found: StreamCandidate[] = [];
  for (const tokens of m === 1 ? ([1, 8] as const) : [m <= 8 ? (8 as const) : (16 as const)]) {
    for (const strips of STRIPS) {
      for (const rowWarps of ROW_WARPS) {
        for (const depthWarps of DEPTH_WARPS) {
          for (const stages of STAGES) {
            const tiling: StreamTiling = { tokens, strips, rowWarps, depthWarps, stages };
            const candidate = candidateOf(size, scheme, multiprocessors, tiling);
            if (candidate !== null) found.push(candidate);
          }
        }
      }
    }
  }
  return found.toSorted((a, b) => a.cost - b.cost);
}

function candidateOf(
  size: MatrixSize,
  scheme: Scheme,
  multiprocessors: number,
  tiling: StreamTiling,
): StreamCandidate | null {
  const { tokens, strips, depthWarps, stages } = tiling;
  const [warps, tokenTiles] = [warpsOf(tiling), tokenTilesOf(tiling)];
  const registers = OTHER_REGISTERS + 4 * strips * tokenTiles;
  // One token is there once for all warps.
  const [once, ofStage] =
    tokens === 1 ? [stripsAlongK(size) * TOKEN_BYTES_OF_STAGE, 0] : [0, tokens * TOKEN_BYTES_OF_STAGE];
  const sharedBytes = SLACK + once + warps * stages * (strips * stripBytes(scheme) + ofStage);
  const resident = Math.min(
    Math.floor(SHARED_BYTES / sharedBytes),
    Math.floor(THREADS / (32 * warps)),
    Math.floor(REGISTERS / (registers * 32 * warps)),
  );
  if (warps > MOST_WARPS || resident < 1 || depthWarps > Math.max(4, stripsAlongK(size))) return null;
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
