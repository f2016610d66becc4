// The layers that are measured, by the models they are from. Pure.
import { errors } from '../base/errors.ts';
import { type MatrixSize, STRIP_K, STRIP_ROWS } from '../kernels/marlin/layout.ts';

const size = (k: number, n: number): MatrixSize => ({ k, n });

/** q, k and v together; output; gate and up together; down. */
const llama8b = [size(4096, 6144), size(4096, 4096), size(4096, 28_672), size(14_336, 4096)];
const llama70b = [size(8192, 10_240), size(8192, 8192), size(8192, 57_344), size(28_672, 8192)];
/** The matrix of MARLIN's figure 1. */
const paper = [size(18_432, 73_728)];

export const shapeSets: Readonly<Record<string, readonly MatrixSize[]>> = {
  'llama-8b': llama8b,
  'llama-70b': llama70b,
  paper,
  /** Those of published.csv. */
  baseline: [...llama8b, size(8192, 8192), size(8192, 57_344), size(28_672, 8192), ...paper],
};

export const defaultTokens: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096];

/** 'llama-8b,4096x512': sets by name and sizes as K x N, each once. Errors: 'flag-invalid'. */
export function parseShapes(text: string): readonly MatrixSize[] {
  const named = text.split(',').flatMap((word) => {
    if (Object.hasOwn(shapeSets, word)) return shapeSets[word]!;
    const [, k, n] = /^(\d{1,7})x(\d{1,7})$/.exec(word) ?? [];
    if (Number(k) > 0 && Number(n) > 0 && Number(k) % STRIP_K === 0 && Number(n) % STRIP_ROWS === 0)
      return [size(Number(k), Number(n))];
    throw errors.flagInvalid(
      '--shapes',
      text,
      `${Object.keys(shapeSets).join(', ')} or K x N such as 4096x6144 (K a multiple of ${STRIP_K}, N of ${STRIP_ROWS}), with commas between`,
    );
  });
  return [...new Map(named.map((one) => [`${one.k}x${one.n}`, one] as const)).values()];
}
