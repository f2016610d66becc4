// What calibration asks of a machine besides the operations of a network: sums over inputs, and room for activations between passes. Knows no network.
import type { Pool } from '../cpu/pool.ts';
import type { Kinds, Ops } from '../model/ops.ts';

/** Activations of all windows between two passes: [windows][length, width] numbers. */
export interface Store<K extends Kinds> {
  /** What `x` holds of a window is kept. */
  keep(window: number, x: K['activation']): void;
  /** What was kept comes into `x`. */
  bring(window: number, x: K['activation']): void;
}

/** One whose windows can go into a file. */
export interface WideStore<K extends Kinds> extends Store<K> {
  readonly windows: number;
  /** The f32 of a window as bytes. */
  save(window: number): Uint8Array;
  load(window: number, bytes: Uint8Array): void;
  /** Bytes of a window. */
  readonly bytes: number;
}

export interface CalibrationDevice<K extends Kinds> extends Disposable {
  readonly ops: Ops<K>;
  /** Where linears are solved. */
  readonly pool: Pool;
  /** In f32: hidden states, whose largest numbers are a thousand times the others. One at a time. */
  wide(width: number): WideStore<K>;
  /** As the linears round their inputs. One at a time: the next has its room. */
  narrow(width: number): Store<K>;
  /** Adds x^T x of a window's inputs to the sums for their width; of some of them, where they are more than enough. */
  add(window: number, x: K['activation']): void;
  /** The sums for a width, [width, width], which are forgotten. */
  take(width: number): Float32Array;
  /** Runs a block: what its matrices and vectors take of the device is free afterwards, where that can be. */
  scope<T>(body: () => Promise<T>): Promise<T>;
}

/** What a device has to make room for. */
export interface CalibrationSize {
  readonly windows: number;
  /** Tokens of a window. */
  readonly length: number;
  /** Widths of the linears' inputs. */
  readonly widths: readonly number[];
}
