// Every instruction that src/ptx/isa exports or can make, out of those modules: what a table of programs must cover. Knows no program.
import * as async from '../../ptx/isa/async.ts';
import * as lane from '../../ptx/isa/lane.ts';
import * as matrix from '../../ptx/isa/matrix.ts';
import * as memory from '../../ptx/isa/memory.ts';
import * as sync from '../../ptx/isa/sync.ts';
import * as warp from '../../ptx/isa/warp.ts';
import * as wgmma from '../../ptx/isa/wgmma.ts';
import type { Scope, Space } from '../../ptx/machine.ts';
import type { Op } from '../../ptx/op.ts';
import { shapes } from './shapes.fixture.ts';

/** One entry for each function of a module that makes instructions: tsc refuses a table that lacks one. */
type Makers<M> = { readonly [P in keyof M as M[P] extends (...args: never[]) => Op ? P : never]: readonly Op[] };

/** All members of a union: tsc refuses a list that lacks one. */
function all<T>() {
  return <const L extends readonly T[]>(list: L & ([T] extends [L[number]] ? unknown : never)): L => list;
}

export const spaces: readonly Space[] = all<Space>()(['global', 'shared', 'cluster']);
export const scopes: readonly Scope[] = all<Scope>()(['cta', 'cluster', 'gpu']);
export const counts = [1, 2, 4] as const;
export const halves: readonly matrix.HalfType[] = all<matrix.HalfType>()(['f16', 'bf16']);
export const evictions: readonly (async.Eviction | undefined)[] = all<async.Eviction | undefined>()([
  undefined,
  'normal',
  'first',
  'last',
]);
export const orders: readonly sync.AtomicOrder[] = all<sync.AtomicOrder>()([
  'relaxed',
  'acquire',
  'release',
  'acq_rel',
]);
export const hints: readonly memory.CacheHint[] = all<memory.CacheHint>()(['default', 'streaming', 'noAllocate']);
const flags = [false, true] as const;
const selectors = [0, 1] as const;

/** Whether an instruction exists: makers throw where it does not. */
function exists(make: () => Op): boolean {
  try {
    return make().name !== '';
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

const pairs = <A, B>(first: readonly A[], second: readonly B[]): (readonly [A, B])[] =>
  first.flatMap((a) => second.map((b) => [a, b] as const));

const bulkOptions: readonly async.BulkOptions[] = evictions.flatMap((evict) =>
  flags.map((multicast) => ({ ...(evict === undefined ? {} : { evict }), multicast })),
);

/** How many values of which kind one load or store moves. */
export const widths: readonly (readonly [words: 1 | 2 | 4, kind: memory.WordKind])[] = [
  ...counts.flatMap((words) => [[words, 'b32'] as const, [words, 'f32'] as const]),
  [1, 'b16'],
  [1, 'u64'],
];

/** What atom can do, of which types; red all of it but exchange. */
export const updates: readonly (readonly [f: sync.AtomicFunction, type: sync.AtomicType])[] = pairs(
  all<sync.AtomicFunction>()(['add', 'min', 'max', 'and', 'or', 'xor', 'exch']),
  all<sync.AtomicType>()(['u32', 's32', 'f32', 'f16x2', 'bf16x2']),
).filter(([f, type]) => exists(() => sync.atom('global', f, type, 'relaxed', 'gpu')));
export const reductions: readonly (readonly [f: Exclude<sync.AtomicFunction, 'exch'>, type: sync.AtomicType])[] =
  updates.flatMap(([f, type]) => (f === 'exch' ? [] : [[f, type] as const]));

/** What redux can do. */
export const folds: readonly (readonly [f: warp.ReduceFunction, type: 'u32' | 's32' | 'b32'])[] = pairs(
  all<warp.ReduceFunction>()(['add', 'min', 'max', 'and', 'or', 'xor']),
  ['u32', 's32', 'b32'] as const,
).filter(([f, type]) => exists(() => warp.reduce(f, type)));

const flagKinds = ['u32', 'f32'] as const;

const asyncMakers: Makers<typeof async> = {
  copyAsync: ([4, 8, 16] as const).map((bytes) => async.copyAsync(bytes)),
  waitCopies: [0, 1].map((pending) => async.waitCopies(pending)),
  bulkLoad: bulkOptions.map((options) => async.bulkLoad(options)),
  boxLoad: bulkOptions.map((options) => async.boxLoad(options)),
  waitBulk: [0, 1].flatMap((pending) => flags.map((read) => async.waitBulk(pending, read))),
};

const matrixMakers: Makers<typeof matrix> = {
  mma: halves.map((type) => matrix.mma(type)),
  mmaSparse: halves.flatMap((type) => selectors.map((selector) => matrix.mmaSparse(type, selector))),
  ldmatrix: counts.flatMap((count) => flags.map((transposed) => matrix.ldmatrix(count, transposed))),
  stmatrix: counts.flatMap((count) => flags.map((transposed) => matrix.stmatrix(count, transposed))),
};

const memoryMakers: Makers<typeof memory> = {
  load: widths.flatMap(([words, kind]) => [
    ...spaces.map((space) => memory.load(space, words, kind)),
    ...hints.flatMap((hint) => flags.map((readOnly) => memory.load('global', words, kind, { readOnly, hint }))),
  ]),
  store: widths.flatMap(([words, kind]) => spaces.map((space) => memory.store(space, words, kind))),
  loadOrdered: spaces.flatMap((space) =>
    (['relaxed', 'acquire'] as const).flatMap((order) =>
      scopes.flatMap((scope) => flagKinds.map((kind) => memory.loadOrdered(space, kind, order, scope))),
    ),
  ),
  storeOrdered: spaces.flatMap((space) =>
    (['relaxed', 'release'] as const).flatMap((order) =>
      scopes.flatMap((scope) => flagKinds.map((kind) => memory.storeOrdered(space, kind, order, scope))),
    ),
  ),
  prefetch: (['L1', 'L2'] as const).map((level) => memory.prefetch(level)),
};

const syncMakers: Makers<typeof sync> = {
  namedBarSync: [sync.namedBarSync(1, 64), sync.namedBarSync(15, 128)],
  namedBarArrive: [sync.namedBarArrive(1, 64)],
  fence: scopes.map((scope) => sync.fence(scope)),
  atom: spaces.flatMap((space) =>
    updates
      .filter(([f, type]) => sync.isAtomic(space, f, type))
      .flatMap(([f, type]) =>
        orders.flatMap((order) => scopes.map((scope) => sync.atom(space, f, type, order, scope))),
      ),
  ),
  red: spaces.flatMap((space) =>
    reductions
      .filter(([f, type]) => sync.isAtomic(space, f, type))
      .flatMap(([f, type]) =>
        (['relaxed', 'release'] as const).flatMap((order) =>
          scopes.map((scope) => sync.red(space, f, type, order, scope)),
        ),
      ),
  ),
  atomCas: spaces.flatMap((space) =>
    orders.flatMap((order) => scopes.map((scope) => sync.atomCas(space, order, scope))),
  ),
  arrive: (['shared', 'cluster'] as const).map((space) => sync.arrive(space)),
  arriveCluster: (['release', 'relaxed'] as const).map((order) => sync.arriveCluster(order)),
  setMaxRegisters: [sync.setMaxRegisters(40, 'dec'), sync.setMaxRegisters(232, 'inc')],
};

const warpMakers: Makers<typeof warp> = {
  parameter: [
    warp.parameter('u', 'u32', 'u32'),
    warp.parameter('s', 's32', 's32'),
    warp.parameter('f', 'f32', 'f32'),
    warp.parameter('out', 'global', 'u64'),
  ],
  parameterAddress: [warp.parameterAddress('x')],
  vote: all<warp.VoteMode>()(['all', 'any', 'uni', 'ballot']).map((mode) => warp.vote(mode)),
  reduce: folds.map(([f, type]) => warp.reduce(f, type)),
};

const wgmmaMakers: Makers<typeof wgmma> = {
  wgmma: shapes.map((shape) => wgmma.wgmma(shape)),
  waitMatrix: [0, 1].map((pending) => wgmma.waitMatrix(pending)),
};

const isOp = (x: unknown): x is Op => typeof x === 'object' && x !== null && 'meaning' in x;
/** Instructions among the values of a module, and in records of them. */
const constants = (module: Readonly<Record<string, unknown>>): Op[] =>
  Object.values(module).flatMap((x) =>
    isOp(x) ? [x] : typeof x === 'object' && x !== null ? Object.values(x).filter(isOp) : [],
  );

/** The files of src/ptx/isa that hold instructions. */
export const modules: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  async,
  lane,
  matrix,
  memory,
  sync,
  warp,
  wgmma,
};

/** All of them, once. */
export const everyOp: readonly Op[] = [
  ...new Set([
    ...Object.values(modules).flatMap(constants),
    ...[asyncMakers, matrixMakers, memoryMakers, syncMakers, warpMakers, wgmmaMakers].flatMap((makers) =>
      Object.values<readonly Op[]>(makers).flat(),
    ),
  ]),
];

/** How an instruction is written, with numbered operands, and their kinds: two with the same text may mean different things (mov.b32). */
export function spellingOf({ name, dst, src, format }: Op): string {
  const [results, sources] = [dst.map((kind, i) => `d${i}:${kind}`), src.map((kind, i) => `s${i}:${kind}`)];
  return format === undefined ? `${name} ${[...results, ...sources].join(', ')};` : format(results, sources);
}
