// Copies that go on while the program does: cp.async by groups, bulk copies and boxes of matrices by mbarriers (PTX ISA 9.7.9.25).
import type { Kind, Op } from '../op.ts';
import type { Target } from '../program.ts';
import { once, warpOp } from './make.ts';

/**
 * Copies 4, 8 or 16 bytes a lane from global to shared memory without a register, under way until waited for (PTX ISA 9.7.9.25.3.1).
 * 16 bytes go past the first-level cache (.cg); fewer cannot.
 */
export function copyAsync(bytes: 4 | 8 | 16): Op {
  const spelling = `cp.async.${bytes === 16 ? 'cg' : 'ca'}.shared.global`;
  return once(`${spelling} ${bytes}`, (name) =>
    warpOp(
      { name, src: ['shared', 'global'], format: (_, [to, from]) => `${spelling} [${to}], [${from}], ${bytes};` },
      (machine, instr) => machine.beginCopy(instr, instr.src[0]!, instr.src[1]!, bytes),
    ),
  );
}

export const commitCopies: Op = warpOp(
  { name: 'cp.async.commit_group', format: () => 'cp.async.commit_group;' },
  (machine) => machine.commitCopies(),
);

/** Waits until at most `pending` groups of the thread are under way. */
export function waitCopies(pending: number): Op {
  return once(`cp.async.wait_group ${pending}`, (name) =>
    warpOp({ name, format: () => `${name};` }, (machine) => machine.waitCopies(pending)),
  );
}

// ---- bulk copies (sm_90): one lane moves kilobytes; an mbarrier counts the bytes that have come

export type Eviction = 'normal' | 'first' | 'last';
/** Cache policies as createpolicy would make them for a fraction of 1 (the values are those of cute's TMA::CacheHintSm90). */
const policies: Readonly<Record<Eviction, string>> = {
  normal: '0x1000000000000000',
  first: '0x12F0000000000000',
  last: '0x14F0000000000000',
};

export interface BulkOptions {
  /** What the second-level cache does with the lines; default: as it likes. */
  readonly evict?: Eviction;
  /** Goes to the same place of several CTAs of the cluster, and tells the mbarrier at the same place in each. */
  readonly multicast?: boolean;
}

const hopper = { needs: 'sm_90', version: 8.0 } as const;
/** ptxas takes multicast for sm_90 and sm_120, too, but warns that it may be slow there. */
const chipOf = ({ multicast = false }: BulkOptions): { readonly needs: Target; readonly version: number } =>
  multicast ? { needs: 'sm_90a', version: 8.0 } : hopper;

/** `text` with a policy register in scope where one is asked for. */
function withPolicy(evict: Eviction | undefined, text: string): string {
  if (evict === undefined) return `${text};`;
  return `{ .reg .b64 %policy; mov.b64 %policy, ${policies[evict]}; ${text}, %policy; }`;
}

function modifiers({ evict, multicast = false }: BulkOptions): string {
  return `${multicast ? '.multicast::cluster' : ''}${evict === undefined ? '' : '.L2::cache_hint'}`;
}
const named = (name: string, { evict }: BulkOptions): string => (evict === undefined ? name : `${name} ${evict}`);
const maskKind = ({ multicast = false }: BulkOptions): readonly Kind[] => (multicast ? ['b16'] : []);

/** Global to shared memory: destination, source and size are multiples of 16 bytes. Sources: to, from, bytes, mbarrier, mask. */
export function bulkLoad(options: BulkOptions = {}): Op {
  const spelling = `cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes${modifiers(options)}`;
  return once(named(spelling, options), (name) =>
    warpOp(
      {
        ...chipOf(options),
        name,
        src: ['shared', 'global', 'u32', 'shared', ...maskKind(options)],
        immediates: [2],
        format: (_, [to, from, bytes, barrier, mask]) =>
          withPolicy(
            options.evict,
            `${spelling} [${to}], [${from}], ${bytes}, [${barrier}]${mask === undefined ? '' : `, ${mask}`}`,
          ),
      },
      (machine, instr) => {
        const [to, from, bytes, barrier, mask] = instr.src;
        const ranks = mask === undefined ? null : machine.read(mask, lowest(machine.active));
        machine.beginBulkLoad(instr, to!, from!, bytes!, barrier!, ranks);
      },
    ),
  );
}

/** A box of a matrix to shared memory. Sources: to, tensor, column, row, mbarrier, mask. */
export function boxLoad(options: BulkOptions = {}): Op {
  const spelling = `cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes${modifiers(options)}`;
  return once(named(spelling, options), (name) =>
    warpOp(
      {
        ...chipOf(options),
        name,
        src: ['shared', 'global', 'u32', 'u32', 'shared', ...maskKind(options)],
        format: (_, [to, map, column, row, barrier, mask]) =>
          withPolicy(
            options.evict,
            `${spelling} [${to}], [${map}, {${column}, ${row}}], [${barrier}]${mask === undefined ? '' : `, ${mask}`}`,
          ),
      },
      (machine, instr) => {
        const [to, tensor, column, row, barrier, mask] = instr.src;
        const ranks = mask === undefined ? null : machine.read(mask, lowest(machine.active));
        machine.beginBoxLoad(instr, to!, { tensor: tensor!, column: column!, row: row! }, barrier!, ranks);
      },
    ),
  );
}

const lowest = (mask: number): number => (mask === 0 ? 0 : 31 - Math.clz32(mask & -mask));

/** Shared to global memory, part of the open bulk group. Sources: to, from, bytes. */
export const bulkStore: Op = warpOp(
  {
    ...hopper,
    name: 'cp.async.bulk.global.shared::cta.bulk_group',
    src: ['global', 'shared', 'u32'],
    immediates: [2],
    format: (_, [to, from, bytes]) => `cp.async.bulk.global.shared::cta.bulk_group [${to}], [${from}], ${bytes};`,
  },
  (machine, instr) => machine.beginBulkStore(instr, instr.src[0]!, instr.src[1]!, instr.src[2]!),
);

/** A box from shared memory to a matrix; what lies outside the matrix is not written. Sources: tensor, column, row, from. */
export const boxStore: Op = warpOp(
  {
    ...hopper,
    name: 'cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group',
    src: ['global', 'u32', 'u32', 'shared'],
    format: (_, [map, column, row, from]) =>
      `cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [${map}, {${column}, ${row}}], [${from}];`,
  },
  (machine, instr) => {
    const [tensor, column, row, from] = instr.src;
    machine.beginBoxStore(instr, { tensor: tensor!, column: column!, row: row! }, from!);
  },
);

export const commitBulk: Op = warpOp(
  { ...hopper, name: 'cp.async.bulk.commit_group', format: () => 'cp.async.bulk.commit_group;' },
  (machine) => machine.commitBulk(),
);

/** Waits until at most `pending` bulk groups are under way, or (`read`) have still to read their shared memory. */
export function waitBulk(pending: number, read: boolean): Op {
  return once(`cp.async.bulk.wait_group${read ? '.read' : ''} ${pending}`, (name) =>
    warpOp({ ...hopper, name, format: () => `${name};` }, (machine) => machine.waitBulk(pending, read)),
  );
}

/** Brings global memory into the second-level cache; changes nothing that a program could see. Sources: from, bytes. */
export const bulkPrefetch: Op = warpOp(
  {
    ...hopper,
    name: 'cp.async.bulk.prefetch.L2.global',
    src: ['global', 'u32'],
    immediates: [1],
    format: (_, [from, bytes]) => `cp.async.bulk.prefetch.L2.global [${from}], ${bytes};`,
  },
  () => {},
);
