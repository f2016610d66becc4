// How the streaming product is cut into warps and CTAs. Knows no instruction.
import type { MatrixSize } from '../layout.ts';
import { rowTiles } from '../layout.ts';

export interface StreamTiling {
  /** Tokens a launch may have: one, whose activations all warps share, or one or two fragments of 8, which each warp copies for itself. */
  readonly tokens: 1 | 8 | 16;
  /** Row tiles of a warp. */
  readonly strips: number;
  /** Warps of a CTA beside each other: their strips differ. */
  readonly rowWarps: number;
  /** Warps of a CTA behind each other: they take turns along k. */
  readonly depthWarps: number;
  /** Stages of a warp's ring, 128 k of all its strips each. */
  readonly stages: number;
}

/** Row tiles of a CTA. */
export const tilesOf = ({ strips, rowWarps }: StreamTiling): number => strips * rowWarps;

export const warpsOf = ({ rowWarps, depthWarps }: StreamTiling): number => rowWarps * depthWarps;

export const streamGrid = (size: MatrixSize, tiling: StreamTiling): number =>
  Math.ceil(rowTiles(size) / tilesOf(tiling));

/** Fragments of 8 tokens. */
export const tokenTilesOf = ({ tokens }: StreamTiling): number => Math.ceil(tokens / 8);
