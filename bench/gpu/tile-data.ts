// Random packed 4-bit weights of any size, quickly, and what a product with them should give at sampled places.
import { f16ToNumber } from '../../src/base/f16.ts';
import { Random } from '../../src/base/random.ts';
import {
  CODE_BYTES,
  type MatrixSize,
  packedBytes,
  rowTiles,
  type Scheme,
  STRIP_ROWS,
  stripBytes,
} from '../../src/kernels/marlin/layout.ts';
import { type PackedMatrix, unpack } from '../../src/kernels/marlin/pack.ts';

/** A prime: strips of a row, and rows of strips, are not alike though they repeat. */
const POOL = 1021;
/** f16 patterns of [2^13, 2^15), as packing leaves scales. */
const LEAST_SCALE = 0x7000;
const SCALES = 0x800;

/** Random codes and scales, a pool of strips repeated; weights of about 0.1. */
export function randomStrips(size: MatrixSize, scheme: Scheme, seed: number): PackedMatrix {
  if (scheme.zeroPoints) throw new RangeError('random strips have no zero points');
  const random = new Random(seed);
  const bytes = stripBytes(scheme);
  const pool = new Uint8Array(POOL * bytes);
  const view = new DataView(pool.buffer);
  for (let strip = 0; strip < pool.length; strip += bytes) {
    for (let at = 0; at < CODE_BYTES; at += 4) view.setUint32(strip + at, random.u32(), true);
    for (let at = CODE_BYTES; at < bytes; at += 2)
      view.setUint16(strip + at, LEAST_SCALE + random.integer(SCALES), true);
  }
  const strips = new Uint8Array(packedBytes(size, scheme));
  for (let at = 0; at < strips.length; at += pool.length) strips.set(pool.subarray(0, strips.length - at), at);
  const factors = Float32Array.from({ length: rowTiles(size) * STRIP_ROWS }, () => 2 ** -(19 + random.integer(3)));
  return { ...size, scheme, type: 'f16', strips, factors };
}

/** Tokens and channels whose results are looked at: the first and last of each, and some between. */
export interface Sample {
  readonly tokens: readonly number[];
  /** Tiles of 16 channels, all of them within the matrix. */
  readonly tiles: readonly number[];
  /** [tiles x 16][k] */
  readonly weights: Float64Array;
}

export function sampleOf(matrix: PackedMatrix, m: number, seed: number): Sample {
  const random = new Random(seed);
  const some = (count: number, total: number): number[] => {
    const between = Array.from({ length: count }, () => random.integer(total));
    return [...new Set([0, total - 1, ...between])];
  };
  const tiles = some(3, Math.floor(matrix.n / STRIP_ROWS));
  const bytes = packedBytes({ n: STRIP_ROWS, k: matrix.k }, matrix.scheme);
  const weights = new Float64Array(tiles.length * STRIP_ROWS * matrix.k);
  for (const [i, tile] of tiles.entries()) {
    const strips = matrix.strips.subarray(tile * bytes, (tile + 1) * bytes);
    const factors = matrix.factors.subarray(tile * STRIP_ROWS, (tile + 1) * STRIP_ROWS);
    weights.set(unpack({ ...matrix, n: STRIP_ROWS, strips, factors }), i * STRIP_ROWS * matrix.k);
  }
  return { tokens: some(4, m), tiles, weights };
}

/** The same channels for other tokens. */
export function withTokens(sample: Sample, m: number): Sample {
  const tokens = [...new Set([0, m - 1, m >> 1, m >> 2])];
  return { ...sample, tokens };
}

/** By sampled token: the sampled channels of y. x [m, k] in f16. */
export function expectedAt({ tokens, weights }: Sample, x: Float16Array, k: number): Float64Array[] {
  return tokens.map((token) => {
    // As f64 once: reading f16 in the inner loop is many times slower.
    const row = Float64Array.from(x.subarray(token * k, (token + 1) * k));
    return Float64Array.from({ length: weights.length / k }, (_, channel) => {
      let sum = 0;
      for (let i = 0, at = channel * k; i < k; i++) sum += row[i]! * weights[at + i]!;
      return sum;
    });
  });
}

/** What a row of y, f16 patterns, has at the sampled channels; NaN everywhere if any of it is. */
export function sampledRow({ tiles }: Sample, row: Uint16Array): Float64Array {
  const missing = row.some((bits) => (bits & 0x7fff) > 0x7c00);
  const channels = tiles.flatMap((tile) => Array.from({ length: STRIP_ROWS }, (_, i) => tile * STRIP_ROWS + i));
  return Float64Array.from(channels, (channel) => (missing ? Number.NaN : f16ToNumber(row[channel]!)));
}
