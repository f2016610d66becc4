// Which tiles and how many CTAs suit the Ampere kernel for a matrix, a number of tokens and a device, and which are out of the question. Pure: asks no device.
import { mostSharers, sharedBytes, stageBytes, type Stripes, stripesOf, tileSums, type Tiling } from './tiling.ts';
import { type MatrixSize, type Scheme, STRIP_K, STRIP_ROWS, stripBytes } from '../layout.ts';

export interface AmpereDevice {
  readonly multiprocessors: number;
  readonly sharedBytesPerBlock: number;
}

export interface AmpereCandidate {
  readonly tiling: Tiling;
  /** What to build the program for: one CTA a multiprocessor, shared by the token tiles. */
  readonly ctas: number;
  readonly stripes: Stripes;
  readonly tokenTiles: number;
  /** Estimated clocks. */
  readonly cost: number;
}

const STRIPS = [4, 8, 16] as const;
const TOKENS = [8, 16, 32, 64] as const;
const STAGES = [4, 6, 8] as const;

/** Tiles that are out of the question, with the reason. */
export function ampereMisfits(
  size: MatrixSize,
  scheme: Scheme,
  m: number,
  device: AmpereDevice,
): readonly { readonly tiling: Tiling; readonly reason: string }[] {
  return allCandidates(size, scheme, m, device).flatMap(({ tiling }) => {
    const reason = misfit(tiling, scheme, m, device);
    return reason === null ? [] : [{ tiling, reason }];
  });
}

function allCandidates(size: MatrixSize, scheme: Scheme, m: number, device: AmpereDevice): AmpereCandidate[] {
  return STRIPS.flatMap((strips) =>
    TOKENS.flatMap((tokens) => STAGES.map((stages) => candidate({ strips, tokens, stages }, size, scheme, m, device))),
  );
}

/**
 * All that fit, cheapest first. Tiles of other tokens, and stripes of other lengths, add in another order: for the same bits at any m, keep one.
 */
export function ampereCandidates(
  size: MatrixSize,
  scheme: Scheme,
  m: number,
  device: AmpereDevice,
): readonly AmpereCandidate[] {
  return allCandidates(size, scheme, m, device)
    .filter(({ tiling }) => misfit(tiling, scheme, m, device) === null)
    .toSorted((a, b) => a.cost - b.cost);
}

/** Why a tile is out of the question, whatever it would cost. */
function misfit(tiling: Tiling, scheme: Scheme, m: number, device: AmpereDevice): string | null {
  const [needs, has] = [sharedBytes(tiling, scheme), device.sharedBytesPerBlock];
  if (needs > has) return `needs ${needs} bytes of shared memory, and a CTA has ${has}`;
  // Up to 64 tokens the weights are read once.
  const enough = TOKENS.find((tokens) => tokens >= m);
  if (enough === undefined || tiling.tokens === enough) return null;
  if (tiling.tokens > enough) return `multiplies ${tiling.tokens} tokens where ${enough} are enough`;
  return `reads the weights ${Math.ceil(m / tiling.tokens)} times where a tile of ${enough} tokens reads them once`;
}

function candidate(tiling: Tiling, size: MatrixSize, scheme: Scheme, m: number, device: AmpereDevice): AmpereCandidate {
  const tokenTiles = Math.ceil(m / tiling.tokens);
  // Token tiles run beside each other, so that the weights that one brings into the second-level cache serve all.
  const ctas = Math.max(1, Math.floor(device.multiprocessors / tokenTiles));
  const stripes = stripesOf(size, tiling, ctas);
  const waves = Math.ceil((tokenTiles * stripes.ctas) / device.multiprocessors);
  const cost = waves * (FILL + stripes.stripe * unitClocks(tiling, scheme) + partsClocks(tiling, stripes));
  return { tiling, ctas, stripes, tokenTiles, cost };
}

// ---- clocks of a multiprocessor, of the size that an A100 and an H100 have
/** From the launch to the first stage. */
const FILL = 1500;
/** What a barrier of the whole CTA costs a stage. */
const BARRIER = 200;
/** Bytes a clock: of weights from memory when all multiprocessors read, of activations from the second-level cache. */
const MEMORY = 13;
const CACHE = 60;
/** Bytes in flight that bring about two thirds of that: 16 KB gave 0.61 on an H200, 32 KB 0.88, 48 KB 0.96. */
const IN_FLIGHT = 16 * 1024;
/** Products of 16-bit numbers a clock, and operations of lanes. */
const PRODUCTS = 1024;
const LANES = 128;
/** Operations for a word of eight codes: made a fragment, addressed, scaled. */
const PER_WORD = 14;
/** Handing a part over and counting it; bytes a clock at which the last CTA reads the parts. */
const HAND_OVER = 2000;
const PARTS = 32;

function unitClocks(tiling: Tiling, scheme: Scheme): number {
  const { strips, tokens, stages } = tiling;
  const reached = 1 - Math.exp((-(stages - 1) * stageBytes(tiling, scheme)) / IN_FLIGHT);
  const memory = (strips * stripBytes(scheme)) / (MEMORY * reached) + (2 * tokens * STRIP_K) / CACHE;
  const weights = strips * STRIP_ROWS * STRIP_K;
  const arithmetic = (weights * tokens) / PRODUCTS + ((weights / 8) * PER_WORD) / LANES;
  return BARRIER + Math.max(memory, arithmetic);
}

function partsClocks(tiling: Tiling, stripes: Stripes): number {
  const sharers = mostSharers(stripes);
  return sharers === 1 ? 0 : HAND_OVER + (sharers * 4 * tileSums(tiling)) / PARTS;
}
