// What others measured and published: the best of them for a shape and a number of tokens.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface PublishedRow {
  readonly kernel: string;
  readonly k: number;
  readonly n: number;
  readonly m: number;
  readonly microseconds: number;
}

/** Lies outside of src/, and comes with the package. */
const FILE = join(import.meta.dirname, '..', '..', 'bench', 'results', 'published.csv');
const BASELINE = 'cublas-fp16';

export function readPublished(file: string = FILE): readonly PublishedRow[] {
  return parsePublished(readFileSync(file, 'utf8'));
}

/** Lines of kernel,k,n,m,microseconds; lines that begin with # and the header are left out. */
export function parsePublished(text: string): readonly PublishedRow[] {
  return text.split('\n').flatMap((line) => {
    const [kernel = '', ...numbers] = line.split(',');
    const [k = 0, n = 0, m = 0, microseconds = 0] = numbers.map(Number);
    return numbers.length === 4 && !line.startsWith('#') && microseconds > 0 ? [{ kernel, k, n, m, microseconds }] : [];
  });
}

export interface PublishedCell {
  readonly kernel: string;
  readonly microseconds: number;
  /** Over cuBLAS fp16 of the same run. */
  readonly speedup: number;
}

/** The fastest 4-bit kernel of a cell, or of those with this name; null where nothing was measured. */
export function bestPublished(
  rows: readonly PublishedRow[],
  { k, n, m }: { readonly k: number; readonly n: number; readonly m: number },
  kernel?: string,
): PublishedCell | null {
  const cell = rows.filter((row) => row.k === k && row.n === n && row.m === m);
  const least = (some: readonly PublishedRow[]): PublishedRow | null =>
    some.reduce<PublishedRow | null>(
      (best, row) => (best === null || row.microseconds < best.microseconds ? row : best),
      null,
    );
  const fp16 = least(cell.filter((row) => row.kernel === BASELINE));
  const peer = least(cell.filter((row) => row.kernel !== BASELINE && (kernel === undefined || row.kernel === kernel)));
  if (fp16 === null || peer === null) return null;
  return { kernel: peer.kernel, microseconds: peer.microseconds, speedup: fp16.microseconds / peer.microseconds };
}

/** The kernels of `rows`, without the baseline. */
export function publishedKernels(rows: readonly PublishedRow[]): readonly string[] {
  return [...new Set(rows.map(({ kernel }) => kernel))].filter((kernel) => kernel !== BASELINE);
}
