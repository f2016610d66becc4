// The paper's kernel among those that a plan chooses from.
import { type Candidate, COUNTER_BYTES, type Family, runnable } from '../family.ts';
import { ampere, type Ampere, ampereGrid } from './kernel.ts';
import { ampereCandidates, ampereMisfits } from './plan.ts';
import { workspaceOf } from './tiling.ts';

const MOST_CANDIDATES = 24;

/** On an H100 it lost to the kernels for Hopper in every layer of an 8B and a 70B model, with estimates from 0.8 times theirs. */
const LOST = 1.5;

export const ampereFamily: Family = {
  name: 'ampere',
  needs: 'sm_80',
  tokens: [1, Number.MAX_SAFE_INTEGER],
  candidates: ({ m, n, k, scheme, type }, facts) =>
    ampereCandidates({ n, k }, scheme, m, facts)
      .slice(0, MOST_CANDIDATES)
      .map(({ tiling, ctas, stripes, cost }): Candidate => {
        const of = (epilogue: Ampere['epilogue']): Ampere => ({ size: { n, k }, scheme, type, tiling, epilogue, ctas });
        const { partials } = workspaceOf(stripes, tiling, m);
        return {
          kernel: 'ampere',
          tiling: { ...tiling, ctas },
          grid: ampereGrid(of({ output: type, bias: false }), m),
          cost: ((LOST * cost) / facts.clockHz) * 1e6,
          workspaceBytes: COUNTER_BYTES + 4 * partials,
          build: (epilogue) =>
            runnable(ampere(of(epilogue)), ({ workspace, strips, factors, bias, x, y, tokens }) => ({
              x,
              strips,
              factors,
              bias,
              y,
              partials: workspace.slice(COUNTER_BYTES),
              counters: workspace.slice(0, COUNTER_BYTES),
              m: tokens,
            })),
        };
      }),
  misfits: ({ m, n, k, scheme }, facts) =>
    ampereMisfits({ n, k }, scheme, m, facts).map(({ tiling, reason }) => ({ tiling: { ...tiling }, reason })),
};
