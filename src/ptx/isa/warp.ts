// Who a thread is, and what lanes of a warp tell each other: special registers, parameters, shuffles, votes, reductions (PTX ISA 9.7.13, 10).
import type { Machine } from '../machine.ts';
import type { Kind, Op } from '../op.ts';
import type { Instr, Target } from '../program.ts';
import { eachLane, once, warpOp } from './make.ts';

/** Gives every active lane a value. */
function given(what: Parameters<typeof warpOp>[0], value: (machine: Machine, lane: number) => number): Op {
  return warpOp(what, (machine, instr) =>
    eachLane(machine, (lane) => machine.write(instr.dst[0]!, lane, value(machine, lane))),
  );
}

/** The same value for all. */
function uniform(what: Parameters<typeof warpOp>[0], value: (machine: Machine) => number): Op {
  return warpOp(what, (machine, instr) => {
    const one = value(machine);
    eachLane(machine, (lane) => machine.write(instr.dst[0]!, lane, one));
  });
}

function special(register: string, value: (machine: Machine, lane: number) => number, needs: Target = 'sm_80'): Op {
  const version = needs === 'sm_80' ? 7.0 : 7.8;
  const what = { name: `mov.u32 %${register}`, dst: ['u32'], needs, version } as const;
  return given({ ...what, format: ([d]) => `mov.u32 ${d}, %${register};` }, value);
}

export const threadIndex: Op = special('tid.x', (machine, lane) => machine.thread(lane));
export const ctaX: Op = special('ctaid.x', (machine) => machine.cta.x);
export const ctaY: Op = special('ctaid.y', (machine) => machine.cta.y);
export const ctaZ: Op = special('ctaid.z', (machine) => machine.cta.z);
export const gridX: Op = special('nctaid.x', (machine) => machine.grid.x);
export const gridY: Op = special('nctaid.y', (machine) => machine.grid.y);
export const gridZ: Op = special('nctaid.z', (machine) => machine.grid.z);
export const clusterRank: Op = special('cluster_ctarank', (machine) => machine.clusterRank, 'sm_90');

/** The address of the dynamic shared memory of the CTA. */
export const sharedBase: Op = given(
  { name: 'mov.u32 smem', dst: ['shared'], format: ([d]) => `mov.u32 ${d}, smem;` },
  () => 0,
);

/** The value of a parameter of the launch. */
export function parameter(name: string, kind: Kind, spelling: 'u32' | 's32' | 'f32' | 'u64'): Op {
  const what = { name: `ld.param.${spelling} [${name}]`, dst: [kind] };
  return uniform({ ...what, format: ([d]) => `ld.param.${spelling} ${d}, [${name}];` }, (machine) =>
    machine.parameter(name),
  );
}

/** The address of a parameter that is a tensor map. */
export function parameterAddress(name: string): Op {
  const what = { name: `mov.b64 [${name}]`, dst: ['global'], needs: 'sm_90', version: 7.8 } as const;
  return uniform({ ...what, format: ([d]) => `mov.b64 ${d}, ${name}; cvta.param.u64 ${d}, ${d};` }, (machine) =>
    machine.parameter(name),
  );
}

// ---- between lanes; all 32 take part

export type ShuffleMode = 'idx' | 'bfly' | 'up' | 'down';

/** From which lane a lane takes its value. */
const shuffleSource: Readonly<Record<ShuffleMode, (lane: number, value: number) => number>> = {
  idx: (_, value) => value & 31,
  bfly: (lane, value) => lane ^ (value & 31),
  up: (lane, value) => (lane - (value & 31) < 0 ? lane : lane - (value & 31)),
  down: (lane, value) => (lane + (value & 31) > 31 ? lane : lane + (value & 31)),
};

/** shfl.sync over the whole warp: each lane takes the value of another. */
export const shuffle: Readonly<Record<ShuffleMode, Op>> = {
  idx: shuffleOp('idx'),
  bfly: shuffleOp('bfly'),
  up: shuffleOp('up'),
  down: shuffleOp('down'),
};

function shuffleOp(mode: ShuffleMode): Op {
  const name = `shfl.sync.${mode}.b32`;
  const clamp = mode === 'up' ? 0 : 31;
  return warpOp(
    {
      name,
      dst: ['b32'],
      src: ['b32', 'u32'],
      immediates: [1],
      format: ([d], [value, by]) => `${name} ${d}, ${value}, ${by}, ${clamp}, -1;`,
    },
    (machine, instr) => {
      machine.converge(instr);
      const values = Array.from({ length: 32 }, (_, lane) =>
        machine.read(instr.src[0]!, shuffleSource[mode](lane, machine.read(instr.src[1]!, lane))),
      );
      for (const [lane, value] of values.entries()) machine.write(instr.dst[0]!, lane, value);
    },
  );
}

/** Lanes in which a predicate holds, as a mask. */
function holds(machine: Machine, instr: Instr): number {
  let mask = 0;
  for (let lane = 0; lane < 32; lane++) if (machine.read(instr.src[0]!, lane) !== 0) mask |= 1 << lane;
  return mask;
}

export type VoteMode = 'all' | 'any' | 'uni' | 'ballot';

const voteValue: Readonly<Record<VoteMode, (mask: number) => number>> = {
  all: (mask) => (mask === -1 ? 1 : 0),
  any: (mask) => (mask === 0 ? 0 : 1),
  uni: (mask) => (mask === 0 || mask === -1 ? 1 : 0),
  ballot: (mask) => mask,
};

/** vote.sync: every lane learns of the others' predicates; 'uni': all have the same. */
export function vote(mode: VoteMode): Op {
  const [type, kind]: readonly [string, Kind] = mode === 'ballot' ? ['b32', 'b32'] : ['pred', 'pred'];
  return once(`vote.sync.${mode}.${type}`, (name) =>
    warpOp({ name, dst: [kind], src: ['pred'], format: ([d], [p]) => `${name} ${d}, ${p}, -1;` }, (machine, instr) => {
      machine.converge(instr);
      const value = voteValue[mode](holds(machine, instr));
      for (let lane = 0; lane < 32; lane++) machine.write(instr.dst[0]!, lane, value);
    }),
  );
}

export type ReduceFunction = 'add' | 'min' | 'max' | 'and' | 'or' | 'xor';

const reduceFunction: Readonly<Record<string, (a: number, b: number) => number>> = {
  'add.u32': (a, b) => (a + b) | 0,
  'min.u32': (a, b) => Math.min(a >>> 0, b >>> 0) | 0,
  'max.u32': (a, b) => Math.max(a >>> 0, b >>> 0) | 0,
  'min.s32': (a, b) => Math.min(a, b),
  'max.s32': (a, b) => Math.max(a, b),
  'and.b32': (a, b) => a & b,
  'or.b32': (a, b) => a | b,
  'xor.b32': (a, b) => a ^ b,
};

/** redux.sync: one value of all lanes' integers. */
export function reduce(f: ReduceFunction, type: 'u32' | 's32' | 'b32'): Op {
  const combine = reduceFunction[`${f}.${type}`];
  if (combine === undefined) throw new TypeError(`there is no redux ${f} of ${type}`);
  return once(`redux.sync.${f}.${type}`, (name) =>
    warpOp(
      { name, dst: [type], src: [type], format: ([d], [value]) => `${name} ${d}, ${value}, -1;` },
      (machine, instr) => {
        machine.converge(instr);
        let value = machine.read(instr.src[0]!, 0);
        for (let lane = 1; lane < 32; lane++) value = combine(value, machine.read(instr.src[0]!, lane));
        for (let lane = 0; lane < 32; lane++) machine.write(instr.dst[0]!, lane, value);
      },
    ),
  );
}
