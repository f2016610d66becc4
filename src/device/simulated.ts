// The simulator as a device: launches run at once, and a kernel with findings is an error that lists them.
import { errors } from '../base/errors.ts';
import type { ParamSpec, Program } from '../ptx/program.ts';
import { describe } from '../sim/findings.ts';
import { type HostTensor, simulateLaunch } from '../sim/simulate.ts';
import type { Device, DeviceArgs, DeviceBuffer, DeviceTensor, Grid, LoadedKernel } from './device.ts';

/** Contents of fresh memory: a pattern that is a NaN in every float format, so that reading it shows. */
const UNDEFINED_BYTE = 0xff;

class SimulatedBuffer implements DeviceBuffer {
  readonly label: string;
  readonly device: SimulatedDevice;
  /** Null once freed. */
  memory: Uint8Array | null;
  readonly bytes: number;

  constructor(device: SimulatedDevice, label: string, bytes: number) {
    this.device = device;
    this.label = label;
    this.bytes = bytes;
    this.memory = new Uint8Array(bytes).fill(UNDEFINED_BYTE);
  }

  alive(): Uint8Array {
    if (this.memory === null) throw errors.disposed(`the buffer "${this.label}"`);
    return this.memory;
  }

  write(from: ArrayBufferView): void {
    const memory = this.alive();
    this.fits(from);
    memory.set(new Uint8Array(from.buffer, from.byteOffset, from.byteLength));
  }

  read(into: ArrayBufferView): void {
    const memory = this.alive();
    this.fits(into);
    new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(memory.subarray(0, into.byteLength));
  }

  private fits(view: ArrayBufferView): void {
    if (view.byteLength > this.bytes) throw errors.bufferRange(this.label, view.byteLength, this.bytes);
  }

  [Symbol.dispose](): void {
    this.memory = null;
  }
}

export class SimulatedDevice implements Device {
  readonly name = 'simulator';
  private readonly seed: number;

  /** `seed` decides in which order warps run where they wait. */
  constructor(seed = 0) {
    this.seed = seed;
  }

  allocate(bytes: number, label: string): DeviceBuffer {
    return new SimulatedBuffer(this, label, bytes);
  }

  load<S extends ParamSpec>(program: Program<S>): LoadedKernel<S> {
    return {
      launch: (grid, args) => this.run(program, grid, args),
      [Symbol.dispose]() {},
    };
  }

  private run<S extends ParamSpec>(program: Program<S>, grid: Grid, args: DeviceArgs<S>): void {
    const values = Object.entries<DeviceBuffer | DeviceTensor | number>(args).map(
      ([name, value]): [string, ArrayBufferView | HostTensor | number] => [name, this.valueOf(name, value)],
    );
    const { findings } = simulateLaunch(program, grid, new Map(values), { seed: this.seed });
    if (findings.length > 0) throw errors.simulationFindings(program.name, findings.map(describe));
  }

  private valueOf(name: string, value: DeviceBuffer | DeviceTensor | number): ArrayBufferView | HostTensor | number {
    if (typeof value === 'number') return value;
    if ('buffer' in value) return { ...value, data: this.memoryOf(name, value.buffer) };
    return this.memoryOf(name, value);
  }

  private memoryOf(name: string, value: DeviceBuffer): Uint8Array {
    if (!(value instanceof SimulatedBuffer) || value.device !== this) throw errors.bufferForeign(name, this.name);
    return value.alive();
  }

  synchronize(): void {}

  [Symbol.dispose](): void {}
}
