// What a kernel of the 4-bit product is to its planner: a family of candidates with costs, each of which can be built and bound. Knows no kernel.
import type {
  BoundLaunch,
  Device,
  DeviceArgs,
  DeviceBuffer,
  DeviceFacts,
  Grid,
  LaunchOptions,
} from '../../device/device.ts';
import type { ParamSpec, Program, Target } from '../../ptx/program.ts';
import type { Epilogue, Pairs } from './epilogue.ts';
import type { MatrixSize, Scheme } from './layout.ts';
import type { HalfType } from './pack.ts';

/** Where kernels count who has come, at the start of a workspace; what they hand each other lies behind. */
export const COUNTER_BYTES: number = 2 ** 20;

/** The weights of a product: all that a program may be specialised on besides its tiling and epilogue. */
export interface WeightShape extends MatrixSize {
  readonly scheme: Scheme;
  readonly type: HalfType;
}

/** y [m, n] = x [m, k] W^T. */
export interface Problem extends WeightShape {
  readonly m: number;
  /** As in the epilogue; default 'none'. */
  readonly pairs?: Pairs;
  /** Whether x is normed first. Default false. */
  readonly normed?: boolean;
}

/** An RMS norm that activations go through first: x * gain / sqrt(mean(x^2) + epsilon); they are f32 then. */
export interface Norm {
  /** [k] f32 */
  readonly gain: DeviceBuffer;
  readonly epsilon: number;
}

/** What a launch works on. */
export interface Operands {
  readonly weights: WeightShape;
  /** Kernels may read weights while those ahead in the stream still run: no kernel under way may be writing them. */
  readonly strips: DeviceBuffer;
  /** f32, [n padded to 16]. */
  readonly factors: DeviceBuffer;
  /** f32, [n padded to 16]; any other buffer where the epilogue has no bias: it is not read. */
  readonly bias: DeviceBuffer;
  /** [tokens, k] of the weights' type, or f32 where it is normed. */
  readonly x: DeviceBuffer;
  /** Null for a problem that is not normed. */
  readonly norm: Norm | null;
  /** [tokens, channels of the epilogue]. */
  readonly y: DeviceBuffer;
  readonly tokens: number;
  /** As many bytes as the candidate asked for (at least 16): all zero before the first launch; the first `COUNTER_BYTES` each launch must leave zero. */
  readonly workspace: DeviceBuffer;
}

/** A kernel on a device, ready for operands. */
export interface Loaded extends Disposable {
  /** Errors: those of `LoadedKernel.bind`. */
  bind(grid: Grid, operands: Operands): BoundLaunch;
}

/** A program together with how it takes its operands, the types of its parameters closed over. */
export interface Runnable {
  readonly program: Program;
  load(device: Device): Loaded;
}

export function runnable<S extends ParamSpec>(
  program: Program<S>,
  args: (operands: Operands) => DeviceArgs<S>,
  options: LaunchOptions = {},
): Runnable {
  return {
    program,
    load: (device) => {
      const loaded = device.load(program);
      return {
        bind: (grid, operands) => loaded.bind(grid, args(operands), options),
        [Symbol.dispose]: () => loaded[Symbol.dispose](),
      };
    },
  };
}

/** Numbers and words that tell the tilings of a kernel apart; with the weights' shape and the epilogue all that its program depends on. */
export type Tiling = Readonly<Record<string, number | string>>;

export interface Candidate {
  /** 'stream', 'tile', ... */
  readonly kernel: string;
  readonly tiling: Tiling;
  readonly grid: Grid;
  /** Expected time in microseconds. */
  readonly cost: number;
  readonly workspaceBytes: number;
  readonly build: (epilogue: Epilogue) => Runnable;
}

export interface Family {
  readonly name: string;
  /** The least target that has its instructions; an 'a' target means that chip only. */
  readonly needs: Target;
  /** Numbers of tokens that it is for, both included. */
  readonly tokens: readonly [least: number, most: number];
  /** Whether it can norm its activations. Default false. */
  readonly norms?: boolean;
  /** What else keeps it from a problem: 'it stores whole rows of 8 channels'. */
  readonly refusal?: (problem: Problem, facts: DeviceFacts) => string | null;
  /** Not empty where the device and the tokens are within these limits and nothing is refused; only what can run. */
  readonly candidates: (problem: Problem, facts: DeviceFacts) => readonly Candidate[];
  /** Tilings that were thought of and cannot run, with the reason. */
  readonly misfits?: (problem: Problem, facts: DeviceFacts) => readonly Misfit[];
}

export interface Misfit {
  readonly tiling: Tiling;
  readonly reason: string;
}

/** 'columns 64, stages 4'. */
export function tilingText(tiling: Tiling): string {
  return Object.entries(tiling)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}
