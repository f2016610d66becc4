// The streaming product among the kernels that a plan chooses from.
import { type Candidate, type Family, runnable } from '../family.ts';
import { stream } from './kernel.ts';
import { streamCandidates } from './plan.ts';

const MOST_TOKENS = 16;
/** Candidates beyond these were never among the best three in a sweep over the layers of 8B and 70B models. */
const MOST_CANDIDATES = 24;

export const streamFamily: Family = {
  name: 'stream',
  needs: 'sm_90',
  tokens: [1, MOST_TOKENS],
  candidates: ({ m, n, k, scheme, type }, { multiprocessors }) =>
    streamCandidates({ n, k }, scheme, m, multiprocessors)
      .slice(0, MOST_CANDIDATES)
      .map(({ tiling, grid, cost }): Candidate => ({
        kernel: 'stream',
        tiling: { ...tiling },
        grid: [grid],
        cost,
        workspaceBytes: 0,
        build: (epilogue) =>
          runnable(
            stream({ n, k }, tiling, { type, scheme, epilogue, overlap: true }),
            ({ strips, factors, bias, x, y, tokens }) => ({
              x: { buffer: x, rows: tokens, columns: k },
              strips,
              factors,
              bias,
              y,
              m: tokens,
            }),
            { overlap: true },
          ),
      })),
};
