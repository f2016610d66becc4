// Runs a program over a grid on the CPU and reports findings and counters.
import { Random } from '../base/random.ts';
import { pointee } from '../ptx/kernel.ts';
import type { ParamSpec, ParamType, Program, TensorType } from '../ptx/program.ts';
import { compile, type Counters } from './compile.ts';
import { Cta } from './cta.ts';
import { type Finding, Findings } from './findings.ts';
import { GlobalMemory } from './memory.ts';

/** A matrix by rows, for a parameter that is a tensor. */
export interface HostTensor {
  readonly data: ArrayBufferView;
  readonly rows: number;
  readonly columns: number;
}

/** Host arrays stand for buffers; kernels read and write them in place. */
export type Args<S extends ParamSpec> = {
  readonly [P in keyof S]: S[P] extends TensorType ? HostTensor : S[P] extends `${string}*` ? ArrayBufferView : number;
};

export interface SimulateOptions<S extends ParamSpec> {
  /** CTAs in x, y, z. */
  readonly grid: readonly [x: number, y?: number, z?: number];
  readonly args: Args<S>;
  /** Decides in which order warps run where they wait; default 0. */
  readonly seed?: number;
}

export interface Simulation {
  readonly findings: readonly Finding[];
  readonly counters: Readonly<Counters>;
}

export function simulate<S extends ParamSpec>(program: Program<S>, options: SimulateOptions<S>): Simulation {
  return simulateLaunch(
    program,
    options.grid,
    new Map(Object.entries<ArrayBufferView | HostTensor | number>(options.args)),
    options.seed ?? 0,
  );
}

/** The same with arguments by name, for callers that have them so; each parameter must have one. */
export function simulateLaunch(
  program: Program,
  grid: readonly [x: number, y?: number, z?: number],
  args: ReadonlyMap<string, ArrayBufferView | HostTensor | number>,
  seed: number,
): Simulation {
  const [x, y = 1, z = 1] = grid;
  const findings = new Findings();
  const counters: Counters = { instructions: 0 };
  const global = new GlobalMemory();
  const parameters = new Map<string, number>();
  for (const [name, type] of Object.entries<ParamType>(program.params)) {
    const arg = args.get(name);
    if (typeof arg === 'number') parameters.set(name, arg);
    else if (arg !== undefined && 'buffer' in arg && pointee(type) !== null) {
      parameters.set(name, global.add(new Uint8Array(arg.buffer, arg.byteOffset, arg.byteLength)).address);
    } else throw new TypeError(`${program.name} has a parameter ${name}, and no argument of its type was given`);
  }
  const context = {
    compiled: compile(program, counters),
    threads: program.threads,
    sharedBytes: program.sharedBytes,
    grid: { x, y, z },
    global,
    parameters,
    findings,
  };
  const random = new Random(seed);
  for (let cz = 0; cz < z; cz++) {
    for (let cy = 0; cy < y; cy++) {
      for (let cx = 0; cx < x; cx++) new Cta(context, { x: cx, y: cy, z: cz }).run(random);
    }
  }
  return { findings: findings.all, counters };
}
