// How tests plant mistakes: a statement ends in `// planted: name`, and a finding must name its line. The right twin of a program has none.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe as text, type FindingKind } from '../findings.ts';
import type { Simulation } from '../simulate.ts';

/** Orders of warps that every program is tried in. */
export const SEEDS: readonly number[] = Array.from({ length: 20 }, (_, seed) => seed);

/** No finding in any order of warps; `check` looks at the results of each. */
export function right(run: (seed: number) => Simulation, check: () => void = () => {}): void {
  for (const seed of SEEDS) {
    assert.deepEqual(run(seed).findings.map(text), [], `seed ${seed}`);
    check();
  }
}

/** The line of `file` that is marked. */
export function plantedLine(file: string, name: string): number {
  const lines = readFileSync(file, 'utf8').split('\n');
  const found = lines.flatMap((line, i) => (line.endsWith(`// planted: ${name}`) ? [i + 1] : []));
  assert.equal(found.length, 1, `"planted: ${name}" stands ${found.length} times in ${file}`);
  return found[0]!;
}

export interface Planted {
  /** The test's own file. */
  readonly file: string;
  readonly name: string;
  readonly kind: FindingKind;
  /** Kinds that the mistake may lead to besides, wherever. */
  readonly also?: readonly FindingKind[];
}

/** In some order of warps there is a finding of the kind at the marked line, and in none one that is not foreseen. Returns the details there. */
export function finds({ file, name, kind, also = [] }: Planted, run: (seed: number) => Simulation): string[] {
  const all = SEEDS.flatMap((seed) => run(seed).findings);
  const line = plantedLine(file, name);
  const there = all.filter(({ kind: k, where }) => k === kind && where.line === line && where.file === file);
  assert.ok(there.length > 0, `no ${kind} at line ${line}, but:\n${[...new Set(all.map(text))].join('\n')}`);
  const strange = all.filter((finding) => !there.includes(finding) && !also.includes(finding.kind));
  assert.deepEqual([...new Set(strange.map(text))], []);
  return there.map(({ detail }) => detail);
}
