// The paper's kernel, for every chip, among the families.
import { type AmpereCandidate, planAmpere } from './ampere-plan.ts';
import { ampere, ampereGrid } from './ampere/kernel.ts';
import { sharedBytes, workspaceOf } from './ampere/tiling.ts';
import { type Family, runnable } from './family.ts';

/** Its estimate was never held against a GPU, and those of the kernels for Hopper were: between near equals they go first. */
const UNMEASURED = 1.3;
const WORD_BYTES = 4;
/** Both parts of the workspace begin at a multiple of so many bytes. */
const ALIGNMENT = 256;

/** Counters first, then partial sums. */
function workspaceBytes({ stripes, tiling }: AmpereCandidate, m: number): { counters: number; all: number } {
  const { partials, counters } = workspaceOf(stripes, tiling, m);
  const first = ALIGNMENT * Math.ceil((WORD_BYTES * counters) / ALIGNMENT);
  return { counters: first, all: first + Math.max(ALIGNMENT, WORD_BYTES * partials) };
}

export const ampereFamily: Family = {
  name: 'ampere',
  needs: 'sm_80',
  tokens: [1, 2 ** 18],
  candidates: (problem, facts) => {
    const { m, n, k, scheme, type } = problem;
    const { chosen, rejected } = planAmpere({ n, k }, scheme, m, facts);
    const fitting = rejected.filter(({ tiling }) => sharedBytes(tiling, scheme) <= facts.sharedBytesPerBlock);
    return [chosen, ...fitting].map((candidate) => {
      const { tiling, ctas, cost } = candidate;
      const of = { size: { n, k }, scheme, type, tiling, ctas };
      const bytes = workspaceBytes(candidate, m);
      return {
        kernel: 'ampere',
        tiling: { ...tiling, ctas },
        grid: ampereGrid({ ...of, epilogue: { output: 'f32', bias: false } }, m),
        cost: (UNMEASURED * cost) / (facts.clockHz / 1e6),
        workspaceBytes: bytes.all,
        build: (epilogue) =>
          runnable(ampere({ ...of, epilogue }), ({ strips, factors, bias, x, y, tokens, workspace }) => ({
            x,
            strips,
            factors,
            bias,
            y,
            counters: workspace.slice(0, bytes.counters),
            partials: workspace.slice(bytes.counters, bytes.all - bytes.counters),
            m: tokens,
          })),
      };
    });
  },
};
