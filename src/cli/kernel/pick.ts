// What the verbs under `marlin kernel` share: finding what a person names, and findings and errors in their words.
import { errors } from '../../base/errors.ts';
import type { Check, Entry, Example } from '../../kernels/entry.ts';
import type { Finding } from '../../sim/findings.ts';

/** Errors: `kernel-name-unknown`, with the nearest names. */
export function findEntry(entries: readonly Entry[], name: string): Entry {
  const found = entries.find((entry) => entry.name === name);
  if (found !== undefined) return found;
  throw errors.kernelNameUnknown(
    name,
    near(
      name,
      entries.map((entry) => entry.name),
    ),
  );
}

/** The example of this name, or all of them for undefined. Errors: `kernel-example-unknown`. */
export function findExamples(entry: Entry, name: string | undefined): readonly Example[] {
  const examples = entry.examples();
  const found = examples.filter((example) => name === undefined || example.name === name);
  if (found.length > 0) return found;
  throw errors.kernelExampleUnknown(
    entry.name,
    name ?? '',
    examples.map((example) => example.name),
  );
}

/** Up to three names that one might have meant: a few typing mistakes away, or with all of `name` in them; nearest first. */
export function near(name: string, names: readonly string[]): readonly string[] {
  const typed = name.toLowerCase();
  return names
    .map((other) => ({ other, mistakes: typed !== '' && other.includes(typed) ? 0 : distance(typed, other) }))
    .filter(({ other, mistakes }) => mistakes <= Math.max(1, Math.floor(other.length / 3)))
    .toSorted((a, b) => a.mistakes - b.mistakes)
    .slice(0, 3)
    .map(({ other }) => other);
}

/** Letters to insert, remove or exchange (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const above = row;
    row = [i];
    for (let j = 1; j <= b.length; j++)
      row[j] = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
  }
  return row[b.length]!;
}

export interface FindingJson {
  readonly kind: string;
  readonly file: string;
  readonly line: number;
  readonly detail: string;
  readonly fix: string;
  readonly count: number;
}

export function findingJson({ kind, where, detail, fix, count }: Finding): FindingJson {
  return { kind, file: where.file, line: where.line, detail, fix, count };
}

/** NaN is never right. */
export function isRight({ error, bound }: Check): boolean {
  return error <= bound;
}

/** 0.00012 as '1.2e-4'. */
export function scientific(x: number): string {
  return x === 0 ? '0' : x.toExponential(1);
}
