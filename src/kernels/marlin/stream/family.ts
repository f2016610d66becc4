// The streaming product among the kernels that a plan chooses from.
import { type Candidate, type Family, runnable } from '../family.ts';
import { stream, streamOneToken } from './kernel.ts';
import { streamCandidates, streamMisfits } from './plan.ts';

const MOST_TOKENS = 16;
/** Candidates beyond these were never among the best three in a sweep over the layers of 8B and 70B models. */
const MOST_CANDIDATES = 24;

export const streamFamily: Family = {
  name: 'stream',
  needs: 'sm_90',
  tokens: [1, MOST_TOKENS],
  norms: true,
  refusal: ({ m, normed = false }) => (normed && m > 1 ? `it norms one token, not ${m}` : null),
  candidates: ({ m, n, k, scheme, type, normed = false }, { multiprocessors }) =>
    streamCandidates({ n, k }, scheme, m, multiprocessors)
      .filter(({ tiling }) => !normed || tiling.tokens === 1)
      .slice(0, MOST_CANDIDATES)
      .map(({ tiling, grid, cost }): Candidate => ({
        kernel: 'stream',
        tiling: { ...tiling },
        grid: [grid],
        cost,
        workspaceBytes: 0,
        build: (epilogue) =>
          tiling.tokens === 1
            ? runnable(
                streamOneToken({ n, k }, tiling, { type, scheme, epilogue, overlap: true, normed }),
                ({ strips, factors, bias, x, y, norm }) => ({
                  x,
                  gain: norm?.gain ?? factors,
                  epsilon: norm?.epsilon ?? 0,
                  strips,
                  factors,
                  bias,
                  y,
                }),
                { overlap: true },
              )
            : runnable(
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
  misfits: ({ m, n, k, scheme }) =>
    streamMisfits({ n, k }, scheme, m).map(({ tiling, reason }) => ({ tiling: { ...tiling }, reason })),
};
