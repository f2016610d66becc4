// One face for the simulator and the GPU: memory, kernels, launches, graphs, time. What is written against it runs on both.
import type { ParamSpec, Program, Target, TensorType } from '../ptx/program.ts';

/** What a planner has to know of a device. */
export interface DeviceFacts {
  /** The best target the device has; 'a' on the chips with instructions of their own. */
  readonly arch: Target;
  readonly multiprocessors: number;
  /** Shared memory that a CTA may have, in bytes. */
  readonly sharedBytesPerBlock: number;
  readonly memoryBytes: number;
  readonly l2Bytes: number;
  /** The highest clock of the multiprocessors, in Hz. */
  readonly clockHz: number;
}

/** Memory of a device. Dispose frees it. */
export interface DeviceBuffer extends Disposable {
  readonly bytes: number;
  /** Copies all of `from` to the buffer's start. Errors: 'range-outside' when it does not fit, 'disposed', 'capture-invalid' inside a graph. */
  write(from: ArrayBufferView): void;
  /** Waits for the launches so far and fills all of `into` from the buffer's start. Errors: as `write`. */
  read(into: ArrayBufferView): void;
  /** Part of it, by default to the end. It owns nothing: disposing of it does nothing, and it is gone when the buffer is. Errors: 'range-outside'. */
  slice(offset: number, bytes?: number): DeviceBuffer;
}

/** A matrix by rows that starts where its buffer does, for a parameter that is a tensor. Rows are a multiple of 16 bytes, and so is where it starts. */
export interface DeviceTensor {
  readonly buffer: DeviceBuffer;
  readonly rows: number;
  readonly columns: number;
}

/** What a launch takes for each declared parameter: a buffer of the same device for a pointer, a matrix in one for a tensor, a number otherwise. */
export type DeviceArgs<S extends ParamSpec> = {
  readonly [P in keyof S]: S[P] extends TensorType ? DeviceTensor : S[P] extends `${string}*` ? DeviceBuffer : number;
};

/** CTAs in x, y, z. */
export type Grid = readonly [x: number, y?: number, z?: number];

export interface LaunchOptions {
  /**
   * Programmatic dependent launch: the kernel may start before the launch ahead of it has ended, so it must wait (griddepcontrol.wait) before it
   * touches what that one writes. GPUs before sm_90 refuse it; the simulator runs launches one after the other all the same.
   */
  readonly overlap?: boolean;
}

/** A launch with all it needs. */
export interface BoundLaunch {
  /** Enqueues the kernel. Errors: 'disposed' (the kernel or a buffer), and the device's own. */
  launch(): void;
}

/** A program made ready on a device. */
export interface LoadedKernel<S extends ParamSpec> extends Disposable {
  /**
   * Enqueues the kernel; launches run in order. Errors: 'buffer-foreign', 'disposed', 'launch-invalid' (grid, shared memory), 'parameter-invalid',
   * 'tensor-range', 'tensor-invalid', and the device's own.
   */
  launch(grid: Grid, args: DeviceArgs<S>, options?: LaunchOptions): void;
  /** Checks and lays out everything once, so that each launch costs little. Errors: as `launch`. */
  bind(grid: Grid, args: DeviceArgs<S>, options?: LaunchOptions): BoundLaunch;
}

/** Work that was recorded once and is launched as one thing. */
export interface DeviceGraph extends Disposable {
  /** Enqueues all of it. Errors: 'disposed' (the graph, or a buffer or kernel that it uses), 'capture-invalid' inside a graph, and the device's own. */
  launch(): void;
}

export interface Device extends Disposable {
  /** 'simulator', or the GPU's name. */
  readonly name: string;
  readonly facts: DeviceFacts;
  /** Bytes that are free now, on the whole device: other programs may take them meanwhile. */
  freeBytes(): number;
  /** Memory of `bytes` bytes with undefined contents; `label` names it in errors. Errors: 'allocation-invalid', 'gpu-memory-exceeded'. */
  allocate(bytes: number, label: string): DeviceBuffer;
  /** Errors: 'gpu-unsupported' for a program of another chip, and those of the driver's compiler. */
  load<S extends ParamSpec>(program: Program<S>): LoadedKernel<S>;
  /** Enqueues a copy of all of `from` to the start of `to`; the two must not overlap. Errors: 'range-outside', 'buffer-foreign', 'disposed'. */
  copy(to: DeviceBuffer, from: DeviceBuffer): void;
  /**
   * Records the launches and copies that `enqueue` makes, with the arguments they have now; none of them runs before the graph is launched. Throws
   * what `enqueue` throws. Errors: 'capture-invalid' if it waits, reads, writes, allocates, loads, or has to do with another graph.
   */
  graph(enqueue: () => void): DeviceGraph;
  /**
   * Microseconds from the beginning to the end of what `enqueue` enqueues, on the device's own clock (to about half a microsecond). The device may
   * have to wait for the host in between: put launches in a graph to time them alone. The simulator answers with the host's time, which says
   * nothing about a GPU. Errors: those of `enqueue`, 'capture-invalid' inside a graph.
   */
  time(enqueue: () => void): number;
  /** Waits for all launches. Errors of a kernel that ran are told here at the latest. 'capture-invalid' inside a graph. */
  synchronize(): void;
}
