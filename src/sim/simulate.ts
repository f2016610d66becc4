// Runs a program over a grid on the CPU and reports findings and counters.
import { Random } from '../base/random.ts';
import { pointee } from '../ptx/kernel.ts';
import type { Index3 } from '../ptx/machine.ts';
import { elemBytes, type ParamSpec, type ParamType, type Program, type TensorType } from '../ptx/program.ts';
import { compiled } from './compile.ts';
import { type Counters, emptyCounters } from './counters.ts';
import { type Finding, Findings } from './findings.ts';
import { type GlobalBuffer, GlobalMemory } from './memory.ts';
import { type Launch, Team } from './team.ts';

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
  /** Decides in which order warps run where they wait, and when copies end; default 0. */
  readonly seed?: number;
  /** CTAs that run at the same time, as many as a GPU would hold; a kernel whose CTAs wait for each other needs all of those. Default 16. */
  readonly resident?: number;
}

export interface Simulation {
  readonly findings: readonly Finding[];
  readonly counters: Readonly<Counters>;
}

const RESIDENT = 16;
/** Of matrices that bulk copies read (CUDA driver, cuTensorMapEncodeTiled). */
const ROW_ALIGNMENT = 16;

/** Errors: TypeError for an argument that is missing or of another type, RangeError for a grid that clusters do not divide, or a matrix whose rows are no multiple of 16 bytes. */
export function simulate<S extends ParamSpec>(program: Program<S>, options: SimulateOptions<S>): Simulation {
  const { grid, args, seed = 0, resident = RESIDENT } = options;
  const named = new Map(Object.entries<ArrayBufferView | HostTensor | number>(args));
  return simulateLaunch(program, grid, named, { seed, resident });
}

/** The same with arguments by name, for callers that have them so; each parameter must have one. */
export function simulateLaunch(
  program: Program,
  grid: readonly [x: number, y?: number, z?: number],
  args: ReadonlyMap<string, ArrayBufferView | HostTensor | number>,
  { seed = 0, resident = RESIDENT }: { readonly seed?: number; readonly resident?: number } = {},
): Simulation {
  const [x, y = 1, z = 1] = grid;
  if (x % program.cluster !== 0) throw new RangeError(`clusters of ${program.cluster} CTAs do not divide ${x}`);
  const global = new GlobalMemory();
  const code = compiled(program);
  code.reset();
  const launch: Launch = {
    program,
    compiled: code,
    grid: { x, y, z },
    global,
    parameters: bindParameters(program, args, global),
    findings: new Findings(),
    counters: emptyCounters(),
    progress: 0,
    files: [],
    windows: [],
    doubtful: false,
  };
  runTeams(launch, new Random(seed), Math.max(1, Math.floor(resident / program.cluster)));
  return { findings: launch.findings.all, counters: { ...launch.counters, ...code.tally() } };
}

function bindParameters(
  program: Program,
  args: ReadonlyMap<string, ArrayBufferView | HostTensor | number>,
  global: GlobalMemory,
): Map<string, number> {
  const parameters = new Map<string, number>();
  /** The same host memory is the same buffer, also where two parameters name it. */
  const added: GlobalBuffer[] = [];
  const bufferOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): GlobalBuffer => {
    const same = added.find(({ bytes }) => bytes.buffer === buffer && bytes.byteOffset === byteOffset);
    if (same !== undefined) return same;
    const fresh = global.add(new Uint8Array(buffer, byteOffset, byteLength));
    added.push(fresh);
    return fresh;
  };
  for (const [name, type] of Object.entries<ParamType>(program.params)) {
    const arg = args.get(name);
    if (typeof arg === 'number' && typeof type === 'string') parameters.set(name, arg);
    else if (typeof arg === 'object' && 'data' in arg && typeof type === 'object') {
      const { rows, columns } = arg;
      if ((columns * elemBytes[type.elem]) % ROW_ALIGNMENT !== 0)
        throw new RangeError(`${name}: boxes are of matrices whose rows are multiples of ${ROW_ALIGNMENT} bytes`);
      parameters.set(name, global.addMatrix({ buffer: bufferOf(arg.data), rows, columns, type }));
    } else if (typeof arg === 'object' && 'buffer' in arg && pointee(type) !== null) {
      parameters.set(name, bufferOf(arg).address);
    } else throw new TypeError(`${program.name} has a parameter ${name}, and no argument of its type was given`);
  }
  return parameters;
}

/** CTAs of the grid, cluster by cluster along x. */
function* clusters({ x, y, z }: Index3, size: number): Generator<Index3[]> {
  for (let cz = 0; cz < z; cz++) {
    for (let cy = 0; cy < y; cy++) {
      for (let cx = 0; cx < x; cx += size)
        yield Array.from({ length: size }, (_, rank) => ({ x: cx + rank, y: cy, z: cz }));
    }
  }
}

/** Steps in a row of one team: its memory stays in the processor's caches. */
const STAY = 16;
/** Steps a warp may make without anything happening that another might wait for, until it is looked at whether loops go round unchanged. */
const DOUBT = 64;
/** Steps of a warp, and of all, until loops that do change something in registers count as waiting in vain, too: a second or so. */
const PATIENCE = 20_000;
const LEAST_PATIENCE = 1_000_000;

function runTeams(launch: Launch, random: Random, most: number): void {
  const waiting = clusters(launch.grid, launch.program.cluster);
  const running: Team[] = [];
  let serial = 0;
  const admit = (): void => {
    while (running.length < most) {
      const next = waiting.next();
      if (next.done === true) return;
      running.push(new Team(launch, serial++, next.value));
    }
  };
  admit();
  let [seen, idle] = [launch.progress, 0];
  while (running.length > 0) {
    const at = random.integer(running.length);
    const team = running[at]!;
    let steps = 0;
    while (steps < STAY && !team.ended && team.step(random)) steps++;
    if (team.ended) {
      running.splice(at, 1);
      admit();
    }
    if (launch.progress === seen) idle += Math.max(steps, 1);
    else {
      [seen, idle] = [launch.progress, 0];
      launch.doubtful = false;
    }
    if (idle > 0 && isDead(launch, running, idle)) {
      reportDeadlock(launch, running);
      return;
    }
  }
}

/** Nobody can go on, or those who do go round a loop in which nothing changes. */
function isDead(launch: Launch, running: readonly Team[], idle: number): boolean {
  const warps = running.reduce((sum, team) => sum + team.warpsLeft, 0);
  launch.doubtful = idle > DOUBT * warps;
  if (running.every((team) => team.stuck)) return running.length > 0;
  return idle > Math.max(PATIENCE * warps, LEAST_PATIENCE);
}

const MOST_NAMED = 8;

function reportDeadlock({ findings, program }: Launch, running: readonly Team[]): void {
  const left = running.flatMap((team) => team.left);
  const where = left.find(({ waiting }) => waiting !== null)?.waiting?.where ?? left[0]!.spinning;
  const texts = left.slice(0, MOST_NAMED).map((warp) => {
    const cta = running.length > 1 ? ` of CTA ${warp.cta.x}, ${warp.cta.y}` : '';
    return `${warp.name}${cta} at ${warp.waiting?.what() ?? `a loop in line ${warp.spinning.line}`}`;
  });
  if (left.length > MOST_NAMED) texts.push(`${left.length - MOST_NAMED} more`);
  const all = running.reduce((sum, team) => sum + team.warps.length, 0);
  const detail = `${texts.join(', ')}; ${all - left.length} of ${all} warps have ended`;
  findings.report('deadlock', where, `${program.name}: ${detail}`);
}
