// Which kernel and tiling the 4-bit product of a shape gets on a GPU, and why not the others. Pure: knows no device and no kernel.
import { errors } from '../../base/errors.ts';
import type { DeviceFacts } from '../../device/device.ts';
import { has } from '../../ptx/builder.ts';
import { pairsRefusal } from './epilogue.ts';
import { families as allFamilies } from './families.ts';
import { type Candidate, type Family, type Misfit, type Problem, tilingText } from './family.ts';

export interface Rejected extends Candidate {
  readonly reason: string;
}

export interface Plan {
  readonly chosen: Candidate;
  /** Whether the choice was measured on this GPU or estimated. */
  readonly by: 'measurement' | 'estimate';
  /** Cheapest first. */
  readonly rejected: readonly Rejected[];
  /** Tilings that cannot run. */
  readonly impossible: readonly (Misfit & { readonly kernel: string })[];
  /** Families none of whose candidates can run. */
  readonly excluded: readonly { readonly family: string; readonly reason: string }[];
}

/** What was measured to be the best for a shape, if anything was (tuned.ts). */
export type Measured = (problem: Problem) => { readonly kernel: string; readonly tiling: string } | null;

export interface PlanOptions {
  readonly families?: readonly Family[];
  readonly measured?: Measured;
}

/** Rows of x are read 16 bytes at a time. */
const K_MULTIPLE = 8;

/** Errors: 'product-shape-invalid', 'product-unsupported'. */
export function planMarlin(
  problem: Problem,
  facts: DeviceFacts,
  { families = allFamilies, measured = () => null }: PlanOptions = {},
): Plan {
  checkProblem(problem);
  const judged = families.map((family) => ({ family, reason: exclusion(family, problem, facts) }));
  const excluded = judged.flatMap(({ family: { name }, reason }) =>
    reason === null ? [] : [{ family: name, reason }],
  );
  const candidates = judged
    .flatMap(({ family, reason }) => (reason === null ? family.candidates(problem, facts) : []))
    .toSorted((a, b) => a.cost - b.cost);
  const best = measured(problem);
  const found = candidates.find(({ kernel, tiling }) => kernel === best?.kernel && tilingText(tiling) === best.tiling);
  const chosen = found ?? candidates[0];
  if (chosen === undefined) {
    throw errors.productUnsupported(
      problem.m,
      problem.n,
      problem.k,
      facts.arch,
      excluded.map(({ family, reason }) => `${family}: ${reason}`),
    );
  }
  const rejected = candidates
    .filter((candidate) => candidate !== chosen)
    .map((candidate) => ({ ...candidate, reason: reasonOf(candidate, chosen, found !== undefined) }));
  const impossible = judged.flatMap(({ family, reason }) =>
    reason === null
      ? (family.misfits?.(problem, facts) ?? []).map((misfit) => ({ kernel: family.name, ...misfit }))
      : [],
  );
  return { chosen, by: found === undefined ? 'estimate' : 'measurement', rejected, impossible, excluded };
}

/** Whether any kernel takes a problem. */
export function canPlan(problem: Problem, facts: DeviceFacts, { families = allFamilies }: PlanOptions = {}): boolean {
  return families.some((family) => exclusion(family, problem, facts) === null);
}

/** Errors: 'product-shape-invalid'. */
export function checkProblem({ m, n, k, pairs = 'none' }: Problem): void {
  for (const [name, size] of Object.entries({ m, n, k }))
    if (!Number.isSafeInteger(size) || size < 1) throw errors.productShapeInvalid(m, n, k, `${name} is ${size}`);
  if (k % K_MULTIPLE !== 0) throw errors.productShapeInvalid(m, n, k, `k is no multiple of ${K_MULTIPLE}`);
  const refusal = pairsRefusal({ pairs }, n);
  if (refusal !== null) throw errors.productShapeInvalid(m, n, k, refusal);
}

function exclusion(
  { needs, tokens: [least, most], norms = false, refusal }: Family,
  problem: Problem,
  facts: DeviceFacts,
): string | null {
  const { m } = problem;
  if (!has(facts.arch, needs)) return `it needs ${needs}, and this is ${facts.arch}`;
  if (m < least) return `it is for ${least} tokens and more, not for ${m}`;
  if (m > most) return `it is for at most ${most} tokens, not for ${m}`;
  if (problem.normed === true && !norms) return 'it does not norm its activations';
  return refusal?.(problem, facts) ?? null;
}

function reasonOf({ cost }: Candidate, chosen: Candidate, byMeasurement: boolean): string {
  const ratio = `${(cost / chosen.cost).toFixed(2)} times the estimate of the chosen one`;
  return byMeasurement ? `measured to be slower (${ratio})` : ratio;
}
