// What the simulator reports: mistakes that a GPU would hide, each with the author's line and what to do.
import type { Where } from '../ptx/program.ts';

const fixes = {
  race: 'Put a barrier (k.barSync, an mbarrier the reader waits for, a release and an acquire between CTAs) between the two accesses.',
  'unwaited-copy':
    'Wait for it first: k.cpAsyncWait in the thread that began it and k.barSync before the others; for bulk copies k.mbarrierWait on their mbarrier.',
  'unwaited-read':
    'Wait before the memory is used again: k.wgmmaWait for products, k.cpAsyncBulkWait for bulk stores; then a barrier if another warp writes.',
  'unwaited-product': 'Registers of a product belong to it until k.wgmmaWait: wait first, or use other registers.',
  'missing-product-fence': 'Put k.wgmmaFence between what touches the registers and the product that uses them.',
  'missing-proxy-fence':
    'Bulk copies and wgmma see ordinary stores only after k.fenceProxyAsync in the writer (k.fenceMBarrierInit for fresh mbarriers), before the barrier.',
  uninitialised: 'Write it before it is read; shared memory starts undefined.',
  'out-of-bounds': 'Guard the access with k.if, or make the buffer larger.',
  misaligned: 'An access of n bytes needs an address that is a multiple of n: align the layout, or use fewer words.',
  'bank-conflict':
    'Lay the rows out so that lanes of one phase hit different banks: swizzled(), or a padding of 16 bytes a row.',
  uncoalesced: 'Let neighbouring lanes access neighbouring addresses, or stage the tile through shared memory.',
  divergence: 'Every lane of the warp must reach this instruction together: move it out of the k.if.',
  'barrier-misuse':
    'All who meet at a barrier must agree on it: who made it, how many arrive, how many bytes are expected.',
  'wrong-parity':
    'Wait for parity 0 in the first phase, 1 in the second and so on; flip it each time the ring has gone round.',
  deadlock: 'Something waits for what never comes: look at who waits, and who should have arrived.',
} as const;

export type FindingKind = keyof typeof fixes;

export interface Finding {
  readonly kind: FindingKind;
  readonly where: Where;
  /** What happened, with lanes and addresses of the first time. */
  readonly detail: string;
  readonly fix: string;
  /** How often, over the whole launch. */
  count: number;
}

/** Findings of one launch, one for each kind and line. */
export class Findings {
  private readonly found = new Map<string, Finding>();
  /** The same by place, whose object an instruction always shows: findings may be as many as accesses. */
  private readonly byPlace = new Map<Where, Map<FindingKind, Finding>>();

  report(kind: FindingKind, where: Where, detail: string): void {
    const finding = this.byPlace.get(where)?.get(kind) ?? this.enter(kind, where, detail);
    finding.count++;
  }

  private enter(kind: FindingKind, where: Where, detail: string): Finding {
    const key = `${kind} ${where.file}:${where.line}`;
    const finding = this.found.get(key) ?? { kind, where, detail, fix: fixes[kind], count: 0 };
    this.found.set(key, finding);
    const kinds = this.byPlace.get(where) ?? new Map<FindingKind, Finding>();
    this.byPlace.set(where, kinds.set(kind, finding));
    return finding;
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
