// Calibration on a GPU: activations between passes stay in its memory; linears are solved on the CPU pool. Knows no network.
import { errors } from '../base/errors.ts';
import { Pool } from '../cpu/pool.ts';
import type { Device, DeviceBuffer, LoadedKernel } from '../device/device.ts';
import { gram, gramGrid, type GramParams } from '../kernels/gram/kernel.ts';
import { type GpuActivation, type GpuKinds, GpuOps } from '../model/gpu/ops.ts';
import type { CalibrationDevice, CalibrationSize, Store, WideStore } from './device.ts';

const FLOAT_BYTES = 4;
const HALF_BYTES = 2;
/** Scratch of a thread that solves: a panel of 8 columns of the widest matrix, and what searching scales takes at least. */
const SCRATCH_BYTES = 8192;

interface Sums {
  readonly buffer: DeviceBuffer;
  readonly kernel: LoadedKernel<GramParams>;
}

export class GpuCalibration implements CalibrationDevice<GpuKinds> {
  readonly ops: GpuOps;
  readonly pool: Pool;
  private readonly device: Device;
  private readonly size: CalibrationSize;
  private readonly owned = new DisposableStack();
  private readonly sums: ReadonlyMap<number, Sums>;
  private readonly room: DeviceBuffer;

  /** The device stays its owner's. Errors: 'columns-unsupported'. */
  constructor(device: Device, size: CalibrationSize, threads?: number) {
    const { windows, length, widths } = size;
    const widest = Math.max(...widths);
    const odd = widths.find((width) => width % 8 !== 0);
    if (odd !== undefined) throw errors.columnsUnsupported('a linear', odd);
    this.device = device;
    this.size = size;
    this.ops = this.owned.use(new GpuOps(device, { maxTokens: length }));
    const scratchBytes = Math.max(SCRATCH_BYTES, 32 * widest);
    this.pool = this.owned.use(new Pool({ scratchBytes, ...(threads === undefined ? {} : { threads }) }));
    this.sums = new Map(
      [...new Set(widths)].map((width) => {
        const buffer = this.allocate(FLOAT_BYTES * width * width, 'sums over inputs');
        buffer.write(new Float32Array(width * width));
        return [width, { buffer, kernel: this.owned.use(device.load(gram({ width }))) }];
      }),
    );
    this.room = this.allocate(HALF_BYTES * windows * length * widest, 'activations between passes');
  }

  private allocate(bytes: number, label: string): DeviceBuffer {
    return this.owned.use(this.device.allocate(bytes, label));
  }

  wide(width: number): WideStore<GpuKinds> {
    const { windows, length } = this.size;
    const bytes = FLOAT_BYTES * length * width;
    const buffer = this.allocate(windows * bytes, 'hidden states');
    return {
      windows,
      bytes,
      ...this.store(buffer, bytes),
      save: (window) => {
        const saved = new Uint8Array(bytes);
        buffer.slice(window * bytes, bytes).read(saved);
        return saved;
      },
      load: (window, saved) => buffer.slice(window * bytes, bytes).write(saved),
    };
  }

  narrow(width: number): Store<GpuKinds> {
    return this.store(this.room, HALF_BYTES * this.size.length * width);
  }

  private store(buffer: DeviceBuffer, bytes: number): Store<GpuKinds> {
    return {
      keep: (window, x) => this.device.copy(buffer.slice(window * bytes, bytes), x.buffer.slice(0, bytes)),
      bring: (window, x) => this.device.copy(x.buffer.slice(0, bytes), buffer.slice(window * bytes, bytes)),
    };
  }

  add(_window: number, { width, buffer }: GpuActivation): void {
    const { kernel, buffer: h } = this.sumsOf(width);
    kernel.launch([...gramGrid({ width })], { x: buffer, h, tokens: this.size.length });
  }

  take(width: number): Float32Array {
    const { buffer } = this.sumsOf(width);
    const sums = new Float32Array(width * width);
    buffer.read(sums);
    buffer.write(new Float32Array(width * width));
    for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) sums[i * width + j] = sums[j * width + i]!;
    return sums;
  }

  private sumsOf(width: number): Sums {
    const sums = this.sums.get(width);
    if (sums === undefined) throw errors.internal(`no sums for inputs of width ${width}`);
    return sums;
  }

  /** What a block takes stays: the finished model is smaller than what it was made from. */
  async scope<T>(body: () => Promise<T>): Promise<T> {
    return await body();
  }

  [Symbol.dispose](): void {
    this.owned.dispose();
  }
}
