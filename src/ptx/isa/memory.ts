// Loads, stores and prefetches (PTX ISA 9.7.9).
import type { Order, Scope, Space } from '../machine.ts';
import type { Kind, Op } from '../op.ts';
import { group, once, repeat, warpOp } from './make.ts';

export type WordKind = 'b32' | 'f32' | 'b16' | 'u64';
const wordBytes: Readonly<Record<WordKind, number>> = { b32: 4, f32: 4, b16: 2, u64: 8 };
const suffix: Readonly<Record<WordKind, string>> = { b32: 'b32', f32: 'f32', b16: 'b16', u64: 'b64' };
/** How PTX spells a space in ld and st. */
export const spelled: Readonly<Record<Space, string>> = {
  global: 'global',
  shared: 'shared',
  cluster: 'shared::cluster',
};
export const addressKind = (space: Space): Kind => (space === 'global' ? 'global' : 'shared');
/** What only exists together with clusters. */
export const needsCluster = (space: Space, scope?: Scope): { needs: 'sm_80' | 'sm_90'; version: number } =>
  space === 'cluster' || scope === 'cluster' ? { needs: 'sm_90', version: 7.8 } : { needs: 'sm_80', version: 7.0 };

/** How a load or store treats the caches (PTX ISA, cache operators and eviction priorities). */
export type CacheHint = 'default' | 'streaming' | 'noAllocate';

/** A load of `words` values of a kind: 32 bits each, or one of 16 or 64 bits. `readOnly`: through the non-coherent path. */
export function load(
  space: Space,
  words: 1 | 2 | 4,
  kind: WordKind,
  options: { readonly readOnly?: boolean; readonly hint?: CacheHint } = {},
): Op {
  const { readOnly = false, hint = 'default' } = options;
  const cache = readOnly ? '.nc' : '';
  const evict = hint === 'noAllocate' ? '.L1::no_allocate' : hint === 'streaming' ? '.L1::evict_first' : '';
  const { needs, version } = needsCluster(space);
  return once(`ld.${spelled[space]}${cache}${evict}${words > 1 ? `.v${words}` : ''}.${suffix[kind]}`, (name) =>
    warpOp(
      {
        name,
        dst: repeat(kind, words),
        src: [addressKind(space)],
        needs,
        version: evict === '' ? version : 7.4,
        format: (d, [from]) => `${name} ${group(d)}, [${from}];`,
      },
      (machine, instr) => machine.load(space, instr, instr.src[0]!, instr.dst, wordBytes[kind]),
    ),
  );
}

export function store(space: Space, words: 1 | 2 | 4, kind: WordKind): Op {
  const { needs, version } = needsCluster(space);
  return once(`st.${spelled[space]}${words > 1 ? `.v${words}` : ''}.${suffix[kind]}`, (name) =>
    warpOp(
      {
        name,
        src: [addressKind(space), ...repeat(kind, words)],
        needs,
        version,
        format: (_, [to, ...values]) => `${name} [${to}], ${group(values)};`,
      },
      (machine, instr) => machine.store(space, instr, instr.src[0]!, instr.src.slice(1), wordBytes[kind]),
    ),
  );
}

/** A load that may meet another thread's store (PTX ISA 9.7.9.8): relaxed, or acquire, which also brings what came before a release. */
export function loadOrdered(
  space: Space,
  kind: 'u32' | 'f32',
  order: Extract<Order, 'relaxed' | 'acquire'>,
  scope: Scope,
): Op {
  const { needs, version } = needsCluster(space, scope);
  return once(`ld.${order}.${scope}.${spelled[space]}.${kind}`, (name) =>
    warpOp(
      {
        name,
        dst: [kind],
        src: [addressKind(space)],
        needs,
        version,
        format: ([d], [from]) => `${name} ${d}, [${from}];`,
      },
      (machine, instr) => machine.load(space, instr, instr.src[0]!, instr.dst, 4, order, scope),
    ),
  );
}

export function storeOrdered(
  space: Space,
  kind: 'u32' | 'f32',
  order: Extract<Order, 'relaxed' | 'release'>,
  scope: Scope,
): Op {
  const { needs, version } = needsCluster(space, scope);
  return once(`st.${order}.${scope}.${spelled[space]}.${kind}`, (name) =>
    warpOp(
      {
        name,
        src: [addressKind(space), kind],
        needs,
        version,
        format: (_, [to, value]) => `${name} [${to}], ${value};`,
      },
      (machine, instr) => machine.store(space, instr, instr.src[0]!, [instr.src[1]!], 4, order, scope),
    ),
  );
}

/** Asks for a cache line; changes nothing that a program could see. */
export function prefetch(level: 'L1' | 'L2'): Op {
  return once(`prefetch.global.${level}`, (name) =>
    warpOp({ name, src: ['global'], format: (_, [from]) => `${name} [${from}];` }, () => {}),
  );
}
