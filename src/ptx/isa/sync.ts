// Where threads meet and how they hand data over: barriers, fences, atomics, mbarriers, clusters (PTX ISA 9.7.13, 8.8).
import type { Order, Scope, Space } from '../machine.ts';
import { f32, f32Bits, f16x2, bf16x2 } from '../arithmetic.ts';
import type { Op } from '../op.ts';
import { eachLane, once, waitOp, warpOp } from './make.ts';
import { addressKind, needsCluster, spelled } from './memory.ts';

/** All threads of the CTA wait for each other; what they wrote before is seen by all after. */
export const barSync: Op = waitOp({ name: 'bar.sync', format: () => 'bar.sync 0;' }, (machine, instr) =>
  machine.barrier(instr, 0, null),
);

/** The same for `threads` threads (a multiple of 32) at barrier `id`, 1 .. 15. */
export function namedBarSync(id: number, threads: number): Op {
  return once(`bar.sync ${id}, ${threads}`, (name) =>
    waitOp({ name, format: () => `${name};` }, (machine, instr) => machine.barrier(instr, id, threads)),
  );
}

/** Counts as being at barrier `id`, without waiting there. */
export function namedBarArrive(id: number, threads: number): Op {
  return once(`bar.arrive ${id}, ${threads}`, (name) =>
    warpOp({ name, format: () => `${name};` }, (machine, instr) => machine.arriveBarrier(instr, id, threads)),
  );
}

/** The lanes of a warp wait for each other. */
export const warpSync: Op = warpOp({ name: 'bar.warp.sync', format: () => 'bar.warp.sync -1;' }, (machine, instr) =>
  machine.converge(instr),
);

// ---- fences

export function fence(scope: Scope): Op {
  const { needs, version } = needsCluster('global', scope);
  return once(`fence.acq_rel.${scope}`, (name) =>
    warpOp({ name, needs, version, format: () => `${name};` }, (machine) => machine.fence(scope)),
  );
}

/** What was written to shared memory by ordinary stores becomes visible to bulk copies and wgmma. */
export const fenceProxyAsync: Op = warpOp(
  {
    name: 'fence.proxy.async.shared::cta',
    needs: 'sm_90',
    version: 8.0,
    format: () => 'fence.proxy.async.shared::cta;',
  },
  (machine) => machine.fenceProxyAsync(),
);

/** Fresh mbarriers become visible to bulk copies and to the cluster. */
export const fenceBarrierInit: Op = warpOp(
  {
    name: 'fence.mbarrier_init.release.cluster',
    needs: 'sm_90',
    version: 8.0,
    format: () => 'fence.mbarrier_init.release.cluster;',
  },
  (machine) => machine.fenceBarrierInit(),
);

// ---- atomics

export type AtomicType = 'u32' | 's32' | 'f32' | 'f16x2' | 'bf16x2';
export type AtomicFunction = 'add' | 'min' | 'max' | 'and' | 'or' | 'xor' | 'exch';

/** Patterns in, pattern out. */
const functions: Readonly<Record<string, (old: number, value: number) => number>> = {
  'add.u32': (a, b) => a + b,
  'add.s32': (a, b) => a + b,
  'add.f32': (a, b) => f32Bits(f32(a) + f32(b)),
  'add.f16x2': (a, b) => f16x2.add(a, b),
  'add.bf16x2': (a, b) => bf16x2.add(a, b),
  'min.u32': (a, b) => Math.min(a >>> 0, b >>> 0),
  'max.u32': (a, b) => Math.max(a >>> 0, b >>> 0),
  'min.s32': (a, b) => Math.min(a, b),
  'max.s32': (a, b) => Math.max(a, b),
  'and.u32': (a, b) => a & b,
  'or.u32': (a, b) => a | b,
  'xor.u32': (a, b) => a ^ b,
  'exch.u32': (_, b) => b,
};

/** How PTX spells the type: bitwise functions and exchanges take b32, pairs of halves say that they keep subnormals. */
function atomicType(f: AtomicFunction, type: AtomicType): string {
  if (type === 'f16x2' || type === 'bf16x2') return `noftz.${type}`;
  const bitwise = f === 'and' || f === 'or' || f === 'xor' || f === 'exch';
  // add.s32 is add.u32: the ISA has both, with one meaning.
  return bitwise ? 'b32' : type;
}

export type AtomicOrder = Exclude<Order, 'weak'>;

/** Subnormals as zeros of their sign. */
const flushed = (x: number): number => (Math.abs(x) < 2 ** -126 ? x * 0 : x);

/**
 * Whether the chip has it. Pairs of halves in another CTA's shared memory are left out: what ptxas 13.0 makes of them adds 32-bit integers (seen on an
 * H100, for f16x2 and bf16x2, atom and red).
 */
export function isAtomic(space: Space, f: AtomicFunction, type: AtomicType): boolean {
  return `${f}.${type}` in functions && !(space === 'cluster' && (type === 'f16x2' || type === 'bf16x2'));
}

function atomicUpdate(space: Space, f: AtomicFunction, type: AtomicType): (old: number, value: number) => number {
  // What adds f32 in global memory keeps no subnormals; in shared memory they are kept (PTX ISA, atom).
  if (space === 'global' && f === 'add' && type === 'f32')
    return (a, b) => f32Bits(flushed(Math.fround(flushed(f32(a)) + flushed(f32(b)))));
  const update = isAtomic(space, f, type) ? functions[`${f}.${type}`] : undefined;
  if (update === undefined) throw new TypeError(`there is no atomic ${f} of ${type} in ${space} memory`);
  return update;
}

/** Changes memory at once and gives what was there before. Sources: address, value. */
export function atom(space: Space, f: AtomicFunction, type: AtomicType, order: AtomicOrder, scope: Scope): Op {
  const update = atomicUpdate(space, f, type);
  const { needs, version } = needsCluster(space, scope);
  const hopper = type === 'bf16x2';
  return once(`atom.${order}.${scope}.${spelled[space]}.${f}.${atomicType(f, type)}`, (name) =>
    warpOp(
      {
        name,
        dst: [type],
        src: [addressKind(space), type],
        immediates: type === 'u32' || type === 's32' ? [1] : [],
        needs: hopper ? 'sm_90' : needs,
        version: hopper ? 7.8 : version,
        format: ([d], [at, value]) => `${name} ${d}, [${at}], ${value};`,
      },
      (machine, instr) =>
        machine.atomic(
          space,
          instr,
          instr.src[0]!,
          instr.dst[0]!,
          (old, lane) => update(old, machine.bits(instr.src[1]!, lane)),
          order,
          scope,
        ),
    ),
  );
}

/** The same without the old value; without acquire, since nothing is read. */
export function red(
  space: Space,
  f: Exclude<AtomicFunction, 'exch'>,
  type: AtomicType,
  order: Extract<AtomicOrder, 'relaxed' | 'release'>,
  scope: Scope,
): Op {
  const update = atomicUpdate(space, f, type);
  const { needs, version } = needsCluster(space, scope);
  const hopper = type === 'bf16x2';
  return once(`red.${order}.${scope}.${spelled[space]}.${f}.${atomicType(f, type)}`, (name) =>
    warpOp(
      {
        name,
        src: [addressKind(space), type],
        immediates: type === 'u32' || type === 's32' ? [1] : [],
        needs: hopper ? 'sm_90' : needs,
        version: hopper ? 7.8 : version,
        format: (_, [at, value]) => `${name} [${at}], ${value};`,
      },
      (machine, instr) =>
        machine.atomic(
          space,
          instr,
          instr.src[0]!,
          null,
          (old, lane) => update(old, machine.bits(instr.src[1]!, lane)),
          order,
          scope,
        ),
    ),
  );
}

/** Writes the third source where memory equals the second; gives what was there before. */
export function atomCas(space: Space, order: AtomicOrder, scope: Scope): Op {
  const { needs, version } = needsCluster(space, scope);
  return once(`atom.${order}.${scope}.${spelled[space]}.cas.b32`, (name) =>
    warpOp(
      {
        name,
        dst: ['u32'],
        src: [addressKind(space), 'u32', 'u32'],
        immediates: [1, 2],
        needs,
        version,
        format: ([d], [at, expected, value]) => `${name} ${d}, [${at}], ${expected}, ${value};`,
      },
      (machine, instr) =>
        machine.atomic(
          space,
          instr,
          instr.src[0]!,
          instr.dst[0]!,
          (old, lane) => (old === machine.bits(instr.src[1]!, lane) ? machine.bits(instr.src[2]!, lane) : old),
          order,
          scope,
        ),
    ),
  );
}

// ---- mbarriers: 64 bits of shared memory that count arrivals and bytes, phase after phase

/** The chips before Hopper have them too, without bulk copies to count and without a wait that sleeps. */
const onBarrier = { needs: 'sm_80', version: 7.8 } as const;
const onHopper = { needs: 'sm_90', version: 7.8 } as const;
const expecting = { needs: 'sm_90', version: 8.0 } as const;

export const initBarrier: Op = warpOp(
  {
    ...onBarrier,
    name: 'mbarrier.init.shared::cta.b64',
    src: ['shared', 'u32'],
    immediates: [1],
    format: (_, [at, count]) => `mbarrier.init.shared::cta.b64 [${at}], ${count};`,
  },
  (machine, instr) => machine.initBarrier(instr, instr.src[0]!, instr.src[1]!),
);

/**
 * Sources: mbarrier. 'cluster': one of another CTA, by an address of mapa. Without a scope it is release.cta (ptxas makes the same code of both);
 * release.cluster would wait for this thread's stores, which who only gives memory free need not.
 */
export function arrive(space: 'shared' | 'cluster'): Op {
  return once(`mbarrier.arrive.${space === 'shared' ? 'shared::cta' : 'shared::cluster'}.b64`, (name) =>
    warpOp(
      {
        ...(space === 'shared' ? onBarrier : expecting),
        name,
        src: ['shared'],
        format: (_, [at]) => `${name} _, [${at}];`,
      },
      (machine, instr) => machine.arrive(instr, space, instr.src[0]!, null),
    ),
  );
}

/** Awaits `bytes` more of bulk copies in this phase, and arrives. Sources: mbarrier, bytes. */
export const arriveExpect: Op = warpOp(
  {
    ...expecting,
    name: 'mbarrier.arrive.expect_tx.shared::cta.b64',
    src: ['shared', 'u32'],
    immediates: [1],
    format: (_, [at, bytes]) => `mbarrier.arrive.expect_tx.shared::cta.b64 _, [${at}], ${bytes};`,
  },
  (machine, instr) => machine.arrive(instr, 'shared', instr.src[0]!, instr.src[1]!),
);

/** Goes on once the phase of this parity is over. Sources: mbarrier, parity. */
export const waitBarrier: Op = waitOp(
  {
    ...onHopper,
    name: 'mbarrier.try_wait.parity.shared::cta.b64 loop',
    src: ['shared', 'u32'],
    immediates: [1],
    format: (_, [at, parity]) =>
      `{ .reg .pred %over; again: mbarrier.try_wait.parity.shared::cta.b64 %over, [${at}], ${parity}; @!%over bra again; }`,
  },
  (machine, instr) => machine.waitBarrier(instr, instr.src[0]!, instr.src[1]!),
);

/** Whether it is over, without waiting. */
export const testBarrier: Op = warpOp(
  {
    ...onBarrier,
    name: 'mbarrier.test_wait.parity.shared::cta.b64',
    dst: ['pred'],
    src: ['shared', 'u32'],
    immediates: [1],
    format: ([d], [at, parity]) => `mbarrier.test_wait.parity.shared::cta.b64 ${d}, [${at}], ${parity};`,
  },
  (machine, instr) => machine.testBarrier(instr, instr.src[0]!, instr.src[1]!, instr.dst[0]!),
);

// ---- clusters

/** `relaxed` orders no memory: 77-108 cycles instead of 340-430 on an H200. */
export function arriveCluster(order: 'release' | 'relaxed'): Op {
  return once(`barrier.cluster.arrive${order === 'relaxed' ? '.relaxed' : ''}.aligned`, (name) =>
    warpOp(
      { ...onHopper, version: order === 'relaxed' ? 8.0 : 7.8, name, format: () => `${name};` },
      (machine, instr) => machine.arriveCluster(instr, order === 'release'),
    ),
  );
}

export const waitCluster: Op = waitOp(
  { ...onHopper, name: 'barrier.cluster.wait.aligned', format: () => 'barrier.cluster.wait.aligned;' },
  (machine, instr) => machine.waitCluster(instr),
);

/** The address of the same place in the shared memory of CTA `rank`. Sources: address, rank. */
export const mapa: Op = warpOp(
  { ...onHopper, name: 'mapa.shared::cluster.u32', dst: ['shared'], src: ['shared', 'u32'], immediates: [1] },
  (machine, instr) =>
    eachLane(machine, (lane) =>
      machine.write(
        instr.dst[0]!,
        lane,
        machine.mapShared(machine.read(instr.src[0]!, lane), machine.read(instr.src[1]!, lane)),
      ),
    ),
);

// ---- how kernels of one stream overlap, and how warps share registers

/** Waits for the kernels before this one in the stream; with a launch that overlaps. */
export const gridWait: Op = warpOp(
  { ...onHopper, name: 'griddepcontrol.wait', format: () => 'griddepcontrol.wait;' },
  () => {},
);
/** Lets the kernel behind this one begin. */
export const gridLaunchDependents: Op = warpOp(
  { ...onHopper, name: 'griddepcontrol.launch_dependents', format: () => 'griddepcontrol.launch_dependents;' },
  () => {},
);

/** Takes registers for the threads of a warpgroup, or gives them back: a multiple of 8 from 24 to 256. */
export function setMaxRegisters(registers: number, direction: 'inc' | 'dec'): Op {
  return once(`setmaxnreg.${direction}.sync.aligned.u32 ${registers}`, (name) =>
    warpOp({ needs: 'sm_90a', version: 8.0, name, format: () => `${name};` }, (machine, instr) =>
      machine.converge(instr),
    ),
  );
}
