// Instructions in which lanes meet: shuffles, votes, barriers, special registers (PTX ISA 9.7.13, 10).
import type { Kind, Op } from '../op.ts';
import type { Machine } from '../machine.ts';
import type { Instr } from '../program.ts';

function special(register: string, version: number, value: (machine: Machine, lane: number) => number): Op {
  return {
    name: `mov.u32 %${register}`,
    dst: ['u32'],
    src: [],
    registersOnly: [],
    needs: 'sm_80',
    version,
    format: ([d]) => `mov.u32 ${d}, %${register};`,
    meaning: {
      kind: 'warp',
      run: (machine, instr) => {
        for (let lane = 0; lane < 32; lane++)
          if ((machine.active >>> lane) & 1) machine.write(instr.dst[0]!, lane, value(machine, lane));
      },
    },
  };
}

export const threadIndex: Op = special('tid.x', 7.0, (machine, lane) => machine.thread(lane));
export const ctaX: Op = special('ctaid.x', 7.0, (machine) => machine.cta.x);
export const ctaY: Op = special('ctaid.y', 7.0, (machine) => machine.cta.y);
export const ctaZ: Op = special('ctaid.z', 7.0, (machine) => machine.cta.z);
export const gridX: Op = special('nctaid.x', 7.0, (machine) => machine.grid.x);
export const gridY: Op = special('nctaid.y', 7.0, (machine) => machine.grid.y);

/** The address of the dynamic shared memory of the CTA. */
export const sharedBase: Op = {
  name: 'mov.u32 smem',
  dst: ['shared'],
  src: [],
  registersOnly: [],
  needs: 'sm_80',
  version: 7.0,
  format: ([d]) => `mov.u32 ${d}, smem;`,
  meaning: {
    kind: 'warp',
    run: (machine, instr) => eachLane(machine, (lane) => machine.write(instr.dst[0]!, lane, 0)),
  },
};

function eachLane(machine: Machine, visit: (lane: number) => void): void {
  for (let lane = 0; lane < 32; lane++) if ((machine.active >>> lane) & 1) visit(lane);
}

/** The value of a parameter of the launch. */
export function parameter(name: string, kind: Kind, spelling: 'u32' | 's32' | 'f32' | 'u64'): Op {
  return {
    name: `ld.param.${spelling} [${name}]`,
    dst: [kind],
    src: [],
    registersOnly: [],
    needs: 'sm_80',
    version: 7.0,
    format: ([d]) => `ld.param.${spelling} ${d}, [${name}];`,
    meaning: {
      kind: 'warp',
      run: (machine, instr) => eachLane(machine, (lane) => machine.write(instr.dst[0]!, lane, machine.parameter(name))),
    },
  };
}

/** The address of a parameter that is a tensor map. */
export function parameterAddress(name: string): Op {
  return {
    name: `mov.b64 [${name}]`,
    dst: ['u64'],
    src: [],
    registersOnly: [],
    needs: 'sm_90',
    version: 8.0,
    format: ([d]) => `mov.b64 ${d}, ${name}; cvta.param.u64 ${d}, ${d};`,
    meaning: {
      kind: 'warp',
      run: (machine, instr) => eachLane(machine, (lane) => machine.write(instr.dst[0]!, lane, machine.parameter(name))),
    },
  };
}

export type ShuffleMode = 'idx' | 'bfly' | 'up' | 'down';

/** From which lane a lane takes its value. */
const shuffleSource: Readonly<Record<ShuffleMode, (lane: number, value: number) => number>> = {
  idx: (_, value) => value & 31,
  bfly: (lane, value) => lane ^ (value & 31),
  up: (lane, value) => (lane - value < 0 ? lane : lane - value),
  down: (lane, value) => (lane + value > 31 ? lane : lane + value),
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
  return {
    name,
    dst: ['b32'],
    src: ['b32', 'u32'],
    registersOnly: [0],
    needs: 'sm_80',
    version: 7.0,
    format: ([d], [value, by]) => `${name} ${d}, ${value}, ${by}, ${clamp}, -1;`,
    meaning: {
      kind: 'warp',
      run: (machine: Machine, instr: Instr) => {
        machine.converge(instr);
        const values = Array.from({ length: 32 }, (_, lane) =>
          machine.read(instr.src[0]!, shuffleSource[mode](lane, machine.read(instr.src[1]!, lane))),
        );
        for (const [lane, value] of values.entries()) machine.write(instr.dst[0]!, lane, value);
      },
    },
  };
}

/** All threads of the CTA wait for each other; what they wrote before is seen by all after. */
export const barSync: Op = {
  name: 'bar.sync',
  dst: [],
  src: [],
  registersOnly: [],
  needs: 'sm_80',
  version: 7.0,
  format: () => 'bar.sync 0;',
  meaning: { kind: 'wait', run: (machine, instr) => machine.barrier(instr) },
};
