// The kernel for many tokens on Hopper among the families.
import { type Family, runnable } from './family.ts';
import { tileCandidates } from './tile-plan.ts';
import { marlinTile } from './tile/kernel.ts';

export const tileFamily: Family = {
  name: 'tile',
  needs: 'sm_90a',
  tokens: [1, 2 ** 20],
  refusal: ({ gateUp = false, m, n, k, scheme }, { multiprocessors }) => {
    if (gateUp) return 'it does not multiply gates';
    return tileCandidates(m, { n, k }, scheme, multiprocessors).length === 0
      ? 'no tiling can multiply the matrix'
      : null;
  },
  candidates: ({ m, n, k, scheme, type }, { multiprocessors, clockHz }) =>
    tileCandidates(m, { n, k }, scheme, multiprocessors).map(({ tiling, grid, cycles }) => ({
      kernel: 'tile',
      tiling: { ...tiling, once: String(tiling.once) },
      grid: [grid],
      cost: cycles / (clockHz / 1e6),
      workspaceBytes: 0,
      build: (epilogue) =>
        runnable(
          marlinTile({ size: { n, k }, format: { type, scheme }, tiling, epilogue }),
          ({ strips, factors, bias, x, y, tokens }) => ({
            W: strips,
            X: { buffer: x, rows: tokens, columns: k },
            factors,
            bias,
            Y: y,
            m: tokens,
          }),
        ),
    })),
};
