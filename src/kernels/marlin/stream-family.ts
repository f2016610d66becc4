// The kernel for few tokens on Hopper among the families.
import { type Family, runnable } from './family.ts';
import { stream } from './stream/kernel.ts';
import { streamCandidates } from './stream/plan.ts';

export const streamFamily: Family = {
  name: 'stream',
  // It was planned for the shared memory of that chip.
  needs: 'sm_90a',
  tokens: [1, 16],
  refusal: ({ gateUp = false }) => (gateUp ? 'it does not multiply gates' : null),
  candidates: ({ m, n, k, scheme, type }, { multiprocessors }) =>
    streamCandidates({ n, k }, scheme, m, multiprocessors).map(({ tiling, grid, cost }) => ({
      kernel: 'stream',
      tiling: { ...tiling },
      grid: [grid],
      cost,
      workspaceBytes: 0,
      build: (epilogue) =>
        runnable(stream({ n, k }, tiling, { type, scheme, epilogue }), ({ strips, factors, bias, x, y, tokens }) => ({
          x: { buffer: x, rows: tokens, columns: k },
          strips,
          factors,
          bias,
          y,
          m: tokens,
        })),
    })),
};
