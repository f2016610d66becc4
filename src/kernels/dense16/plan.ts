// Which tiling of the wgmma product suits a shape and a GPU, and why the others do not. Pure: knows no device.
import type { Shape } from './kernel.ts';
import { wgmmaGrid, type WgmmaTiling } from './wgmma.ts';

export interface Candidate {
  readonly tiling: WgmmaTiling;
  /** CTAs to launch. */
  readonly grid: number;
  /** How often every CTA computes a tile. */
  readonly turns: number;
  /** Time, in those of a column of a tile at full speed. */
  readonly cost: number;
}

export interface Plan {
  readonly chosen: Candidate;
  readonly rejected: readonly (Candidate & { readonly reason: string })[];
}

/** Tilings with the time of a column in proportion to that of the widest: narrow tiles read A and B more often (8192^3 on an H100: 655, 559 TFLOP/s). */
const tilings: readonly { readonly tiling: WgmmaTiling; readonly perColumn: number }[] = [
  { tiling: { columns: 256, stages: 4, cluster: 2, group: 8 }, perColumn: 1 },
  { tiling: { columns: 256, stages: 4, cluster: 1, group: 16 }, perColumn: 1.002 },
  { tiling: { columns: 128, stages: 6, cluster: 1, group: 16 }, perColumn: 1.17 },
  { tiling: { columns: 64, stages: 8, cluster: 1, group: 16 }, perColumn: 1.6 },
];

export function planDense16(shape: Shape, multiprocessors: number): Plan {
  const candidates = tilings.map(({ tiling, perColumn }): Candidate => {
    const grid = wgmmaGrid(shape, tiling, multiprocessors);
    const rows = Math.ceil(shape.m / (128 * tiling.cluster));
    const turns = Math.ceil((rows * tiling.cluster * Math.ceil(shape.n / tiling.columns)) / grid);
    return { tiling, grid, turns, cost: turns * tiling.columns * perColumn };
  });
  const chosen = candidates.reduce((best, candidate) => (candidate.cost < best.cost ? candidate : best));
  const rejected = candidates
    .filter((candidate) => candidate !== chosen)
    .map((candidate) => ({ ...candidate, reason: reasonOf(candidate, chosen) }));
  return { chosen, rejected };
}

function reasonOf({ tiling, turns, grid, cost }: Candidate, chosen: Candidate): string {
  const slower = `${(cost / chosen.cost).toFixed(2)} times the cost of the chosen one`;
  return `${grid} CTAs take ${turns} turns of 128 x ${tiling.columns}: ${slower}`;
}
