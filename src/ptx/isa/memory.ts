// Instructions that move data between registers and memory: ld, st, cp.async, ldmatrix, stmatrix (PTX ISA 9.7.9, 9.7.14).
import type { Kind, Op } from '../op.ts';
import type { Machine, Space } from '../machine.ts';
import type { Instr, Target } from '../program.ts';

/** Operations are made once a spelling, so that equal ones are the same object. */
const made = new Map<string, Op>();

function once(name: string, make: () => Op): Op {
  const found = made.get(name);
  if (found !== undefined) return found;
  const op = make();
  made.set(name, op);
  return op;
}

interface WarpOptions {
  readonly needs?: Target;
  readonly version?: number;
}

function warp(
  name: string,
  dst: readonly Kind[],
  src: readonly Kind[],
  format: NonNullable<Op['format']>,
  run: (machine: Machine, instr: Instr) => void,
  options: WarpOptions = {},
): Op {
  const { needs = 'sm_80', version = 7.0 } = options;
  return {
    name,
    dst,
    src,
    registersOnly: src.map((_, i) => i),
    needs,
    version,
    format,
    meaning: { kind: 'warp', run },
  };
}

const group = (names: readonly string[]): string => (names.length > 1 ? `{${names.join(', ')}}` : names[0]!);
const address = (space: Space): Kind => (space === 'global' ? 'global' : 'shared');
const repeat = (kind: Kind, count: number): Kind[] => Array.from({ length: count }, () => kind);

/** How a load or store treats the caches (PTX ISA, cache operators and eviction priorities). */
export type CacheHint = 'default' | 'streaming' | 'noAllocate';

/** A load of `words` values of a kind: 32 bits each, or one of 16 or 64 bits. `readOnly`: through the non-coherent path. */
export function load(
  space: Space,
  words: 1 | 2 | 4,
  kind: 'b32' | 'f32' | 'b16' | 'u64',
  options: { readonly readOnly?: boolean; readonly hint?: CacheHint } = {},
): Op {
  const { readOnly = false, hint = 'default' } = options;
  const cache = readOnly ? '.nc' : '';
  const evict = hint === 'noAllocate' ? '.L1::no_allocate' : hint === 'streaming' ? '.L1::evict_first' : '';
  const name = `ld.${space}${cache}${evict}${words > 1 ? `.v${words}` : ''}.${kind === 'u64' ? 'b64' : kind}`;
  const bytes = kind === 'b16' ? 2 : kind === 'u64' ? 8 : 4;
  return once(name, () =>
    warp(
      name,
      repeat(kind, words),
      [address(space)],
      (d, [from]) => `${name} ${group(d)}, [${from}];`,
      (machine, instr) => machine.load(space, instr, instr.src[0]!, instr.dst, bytes),
      { version: evict === '' ? 7.0 : 7.4 },
    ),
  );
}

export function store(space: Space, words: 1 | 2 | 4, kind: 'b32' | 'f32' | 'b16' | 'u64'): Op {
  const name = `st.${space}${words > 1 ? `.v${words}` : ''}.${kind === 'u64' ? 'b64' : kind}`;
  const bytes = kind === 'b16' ? 2 : kind === 'u64' ? 8 : 4;
  return once(name, () =>
    warp(
      name,
      [],
      [address(space), ...repeat(kind, words)],
      (_, [to, ...values]) => `${name} [${to}], ${group(values)};`,
      (machine, instr) => machine.store(space, instr, instr.src[0]!, instr.src.slice(1), bytes),
    ),
  );
}

/**
 * Copies 4, 8 or 16 bytes a lane from global to shared memory without a register, under way until waited for (PTX ISA 9.7.9.25.3.1).
 * 16 bytes go past the first-level cache (.cg); fewer cannot.
 */
export const copyAsync: Readonly<Record<4 | 8 | 16, Op>> = {
  4: copyAsyncOp(4),
  8: copyAsyncOp(8),
  16: copyAsyncOp(16),
};

function copyAsyncOp(bytes: 4 | 8 | 16): Op {
  const name = `cp.async.${bytes === 16 ? 'cg' : 'ca'}.shared.global`;
  return warp(
    `${name} ${bytes}`,
    [],
    ['shared', 'global'],
    (_, [to, from]) => `${name} [${to}], [${from}], ${bytes};`,
    (machine, instr) => machine.beginCopy(instr, instr.src[0]!, instr.src[1]!, bytes),
  );
}

export const commitCopies: Op = warp(
  'cp.async.commit_group',
  [],
  [],
  () => 'cp.async.commit_group;',
  (machine) => machine.commitCopies(),
);

/** Waits until at most `pending` groups of the thread are under way. */
export function waitCopies(pending: number): Op {
  const name = `cp.async.wait_group ${pending}`;
  return once(name, () =>
    warp(
      name,
      [],
      [],
      () => `${name};`,
      (machine) => machine.waitCopies(pending),
    ),
  );
}
