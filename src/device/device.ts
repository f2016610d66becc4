// One face for the simulator and the GPU: memory, kernels, launches. What is written against it runs on both.
import type { ParamSpec, Program, TensorType } from '../ptx/program.ts';

/** Memory of a device. Dispose frees it. */
export interface DeviceBuffer extends Disposable {
  readonly bytes: number;
  /** Copies all of `from` to the buffer's start. Errors: 'buffer-range' when it does not fit. */
  write(from: ArrayBufferView): void;
  /** Waits for the launches so far and fills all of `into` from the buffer's start. Errors: as `write`. */
  read(into: ArrayBufferView): void;
}

/** A matrix by rows that starts where its buffer does, for a parameter that is a tensor. */
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

/** A program made ready on a device. */
export interface LoadedKernel<S extends ParamSpec> extends Disposable {
  /** Enqueues the kernel; launches run in order. Errors: 'buffer-foreign', 'disposed', and the device's own. */
  launch(grid: Grid, args: DeviceArgs<S>): void;
}

export interface Device extends Disposable {
  /** 'simulator', or the GPU's name. */
  readonly name: string;
  /** Memory of `bytes` bytes with undefined contents; `label` names it in errors. */
  allocate(bytes: number, label: string): DeviceBuffer;
  load<S extends ParamSpec>(program: Program<S>): LoadedKernel<S>;
  /** Waits for all launches. Errors of a kernel that ran are told here at the latest. */
  synchronize(): void;
}
