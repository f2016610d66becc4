// What the simulator reports: mistakes that a GPU would hide, each with the author's line and what to do.
import type { Where } from '../ptx/program.ts';

export type FindingKind =
  | 'race'
  | 'unwaited-copy'
  | 'uninitialised'
  | 'out-of-bounds'
  | 'misaligned'
  | 'bank-conflict'
  | 'divergence'
  | 'deadlock';

export interface Finding {
  readonly kind: FindingKind;
  readonly where: Where;
  /** What happened, with lanes and addresses of the first time. */
  readonly detail: string;
  readonly fix: string;
  /** How often, over the whole launch. */
  count: number;
}

const fixes: Readonly<Record<FindingKind, string>> = {
  race: 'Put a barrier (k.barSync, or an mbarrier the reader waits for) between the write and the other access.',
  uninitialised: 'Write it before it is read; shared memory starts undefined.',
  'out-of-bounds': 'Guard the access with k.if, or make the buffer larger.',
  misaligned: 'An access of n bytes needs an address that is a multiple of n: align the layout, or use fewer words.',
  'bank-conflict':
    'Lay the rows out so that lanes of one phase hit different banks: swizzled(), or a padding of 16 bytes a row.',
  divergence: 'Every lane of the warp must reach this instruction together: move it out of the k.if.',
  'unwaited-copy':
    'Wait for its group (k.cpAsyncWait) in the thread that began it, and put k.barSync between that and the other threads.',
  deadlock: 'Something waits for what never comes: look at who waits, and who should have arrived.',
};

/** Findings of one launch, one for each kind and line. */
export class Findings {
  private readonly found = new Map<string, Finding>();

  report(kind: FindingKind, where: Where, detail: string): void {
    const key = `${kind} ${where.file}:${where.line}`;
    const known = this.found.get(key);
    if (known !== undefined) known.count++;
    else this.found.set(key, { kind, where, detail, fix: fixes[kind], count: 1 });
  }

  get all(): readonly Finding[] {
    return [...this.found.values()];
  }
}

/** A finding in one line: 'race at tile.ts:35: ...'. */
export function describe(finding: Finding): string {
  const { kind, where, detail, count, fix } = finding;
  const file = where.file.slice(where.file.lastIndexOf('/') + 1);
  return `${kind} at ${file}:${where.line}${count > 1 ? ` (${count} times)` : ''}: ${detail}. ${fix}`;
}
