// The product on wgmma among the kernels that a plan chooses from.
import { type Candidate, type Family, runnable, type Tiling } from '../family.ts';
import { marlinTile } from './kernel.ts';
import { tileCandidates, tileMisfits } from './plan.ts';
import type { TileTiling } from './tiling.ts';

const MOST_CANDIDATES = 24;
/** Of its highest clock, what a chip keeps up under load: 1755 of 1980 MHz on an H100. */
const SUSTAINED = 1755 / 1980;

const words = (tiling: TileTiling): Tiling => ({ ...tiling, once: tiling.once ? 1 : 0 });

export const tileFamily: Family = {
  name: 'tile',
  needs: 'sm_90a',
  tokens: [1, Number.MAX_SAFE_INTEGER],
  candidates: ({ m, n, k, scheme, type }, { multiprocessors, clockHz }) =>
    tileCandidates(m, { n, k }, scheme, multiprocessors)
      .slice(0, MOST_CANDIDATES)
      .map(({ tiling, grid, cycles }): Candidate => ({
        kernel: 'tile',
        tiling: words(tiling),
        grid: [grid],
        cost: (cycles / (SUSTAINED * clockHz)) * 1e6,
        workspaceBytes: 0,
        build: (epilogue) =>
          runnable(
            marlinTile({ size: { n, k }, format: { type, scheme }, tiling, epilogue, overlap: true }),
            ({ strips, factors, bias, x, y, tokens }) => ({
              W: strips,
              X: { buffer: x, rows: tokens, columns: k },
              factors,
              bias,
              Y: y,
              m: tokens,
            }),
            { overlap: true },
          ),
      })),
  misfits: ({ m, n, k, scheme }) =>
    tileMisfits(m, { n, k }, scheme).map(({ tiling, reason }) => ({ tiling: words(tiling), reason })),
};
