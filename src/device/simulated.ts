// The simulator as a device: launches run at once, and a kernel with findings is an error that lists them. What a GPU refuses is refused here.
import { errors } from '../base/errors.ts';
import { writeParameter } from '../cuda/parameters.ts';
import { checkTensor } from '../cuda/tensor-map.ts';
import { has } from '../ptx/builder.ts';
import type { ParamSpec, Program } from '../ptx/program.ts';
import { describe } from '../sim/findings.ts';
import { type HostTensor, simulateLaunch } from '../sim/simulate.ts';
import type {
  BoundLaunch,
  Device,
  DeviceArgs,
  DeviceBuffer,
  DeviceFacts,
  DeviceGraph,
  Grid,
  LaunchOptions,
  LoadedKernel,
} from './device.ts';
import { type Arg, argsOf, type Declared, declaredOf, layoutOf, runsOn } from './parameters.ts';

/** Contents of fresh memory: a pattern that is a NaN in every float format, so that reading it shows. */
const UNDEFINED_BYTE = 0xff;

/** An allocation; `memory` is null once freed. */
interface Allocation {
  readonly label: string;
  memory: Uint8Array | null;
}

class SimulatedBuffer implements DeviceBuffer {
  readonly device: SimulatedDevice;
  readonly offset: number;
  readonly bytes: number;
  private readonly allocation: Allocation;
  /** False for a slice. */
  private readonly owns: boolean;

  constructor(device: SimulatedDevice, allocation: Allocation, offset: number, bytes: number, owns: boolean) {
    this.device = device;
    this.allocation = allocation;
    this.offset = offset;
    this.bytes = bytes;
    this.owns = owns;
  }

  get title(): string {
    return `the buffer "${this.allocation.label}"${this.offset === 0 ? '' : ` from byte ${this.offset}`}`;
  }

  /** Errors: 'disposed'. */
  get memory(): Uint8Array {
    const { memory } = this.allocation;
    if (memory === null) throw errors.disposed(this.title);
    return memory.subarray(this.offset, this.offset + this.bytes);
  }

  /** Errors: 'disposed'. */
  checkAlive(): void {
    if (this.allocation.memory === null) throw errors.disposed(this.title);
  }

  write(from: ArrayBufferView): void {
    this.device.refuseInGraph('it writes memory');
    const { memory } = this;
    this.checkRange(0, from.byteLength);
    memory.set(new Uint8Array(from.buffer, from.byteOffset, from.byteLength));
  }

  read(into: ArrayBufferView): void {
    this.device.synchronize();
    const { memory } = this;
    this.checkRange(0, into.byteLength);
    new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(memory.subarray(0, into.byteLength));
  }

  slice(offset: number, bytes: number = this.bytes - offset): DeviceBuffer {
    this.checkRange(offset, bytes);
    return new SimulatedBuffer(this.device, this.allocation, this.offset + offset, bytes, false);
  }

  /** Errors: 'range-outside'. */
  checkRange(offset: number, bytes: number): void {
    const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(bytes);
    if (whole && offset >= 0 && bytes >= 0 && offset + bytes <= this.bytes) return;
    throw errors.rangeOutside(this.title, this.bytes, offset, bytes);
  }

  [Symbol.dispose](): void {
    if (this.owns) this.allocation.memory = null;
  }
}

/** Those of an H200, but for memory: buffers lie in the memory of this process. */
const FACTS: DeviceFacts = {
  arch: 'sm_90a',
  multiprocessors: 132,
  sharedBytesPerBlock: 232_448,
  memoryBytes: 2 ** 32,
  l2Bytes: 50 * 2 ** 20,
  clockHz: 1.98e9,
};
/** Where a number is written to be checked. */
const SCRATCH = new DataView(new ArrayBuffer(8));
const GRID_LIMITS = [2 ** 31 - 1, 65_535, 65_535] as const;

export interface SimulatedOptions {
  /** Decides in which order warps run where they wait; default 0. */
  readonly seed?: number;
  /** Facts that differ from an H200's, for planners under test. */
  readonly facts?: Partial<DeviceFacts>;
}

export class SimulatedDevice implements Device {
  readonly name = 'simulator';
  readonly facts: DeviceFacts;
  private readonly seed: number;
  /** What a graph under way has been given so far. */
  private recorded: (() => void)[] | null = null;

  constructor({ seed = 0, facts = {} }: SimulatedOptions = {}) {
    this.seed = seed;
    this.facts = { ...FACTS, ...facts };
  }

  /** Buffers lie in the memory of this process: that of the facts is never used up. */
  freeBytes(): number {
    return this.facts.memoryBytes;
  }

  allocate(bytes: number, label: string): DeviceBuffer {
    this.refuseInGraph('it allocates memory');
    if (!(Number.isSafeInteger(bytes) && bytes > 0)) throw errors.allocationInvalid(`the buffer "${label}"`, bytes);
    const memory = new Uint8Array(bytes).fill(UNDEFINED_BYTE);
    return new SimulatedBuffer(this, { label, memory }, 0, bytes, true);
  }

  load<S extends ParamSpec>(program: Program<S>): LoadedKernel<S> {
    this.refuseInGraph('it loads a kernel');
    const { name } = program;
    if (!runsOn(this.facts.arch, program)) {
      const capability = (Number.parseInt(this.facts.arch.slice('sm_'.length)) / 10).toFixed(1);
      throw errors.gpuUnsupported(`the kernel ${name}`, program.target, this.name, capability);
    }
    const declared = declaredOf(program);
    let disposed = false;
    const bind = (grid: Grid, args: DeviceArgs<S>, { overlap = false }: LaunchOptions = {}): BoundLaunch => {
      if (overlap && !has(this.facts.arch, 'sm_90'))
        throw errors.launchInvalid(name, 'overlap', 'true', 'this GPU cannot (compute capability 9.0 can)');
      const run = this.bind(program, declared, grid, argsOf(program, declared, args));
      return {
        launch: () => {
          if (disposed) throw errors.disposed(`the kernel "${name}"`);
          this.enqueue(run);
        },
      };
    };
    return {
      bind,
      launch: (grid, args, options) => bind(grid, args, options).launch(),
      [Symbol.dispose]() {
        disposed = true;
      },
    };
  }

  private bind(program: Program, declared: readonly Declared[], grid: Grid, args: readonly Arg[]): () => void {
    checkGrid(program, grid);
    const { sharedBytesPerBlock: most } = this.facts;
    if (program.sharedBytes > most) {
      const found = `${program.sharedBytes} bytes`;
      throw errors.launchInvalid(program.name, 'dynamic shared memory', found, `a block of this GPU has ${most} bytes`);
    }
    const values = args.map((arg, i) => this.valueOf(program, declared[i]!, arg));
    return () => {
      const now = declared.map(({ parameter }, i) => [parameter.name, values[i]!()] as const);
      const { findings } = simulateLaunch(program, grid, new Map(now), { seed: this.seed });
      if (findings.length > 0) throw errors.simulationFindings(program.name, findings.map(describe));
    };
  }

  /** Checks an argument; what comes back tells its value when the kernel runs. */
  private valueOf(program: Program, declared: Declared, arg: Arg): () => Uint8Array | HostTensor | number {
    const { parameter } = declared;
    if (typeof arg === 'number') {
      writeParameter(SCRATCH, 0, parameter, arg, program.name);
      return () => arg;
    }
    if ('buffer' in arg) {
      const layout = layoutOf(program, declared, arg);
      const buffer = this.bufferOf(arg.buffer, parameter.name);
      buffer.checkAlive();
      checkTensor(layout, BigInt(buffer.offset), buffer.bytes);
      return () => ({ rows: arg.rows, columns: arg.columns, data: buffer.memory });
    }
    const { name, type, align = 1 } = parameter;
    const buffer = this.bufferOf(arg, name);
    buffer.checkAlive();
    if (type !== 'pointer') throw errors.parameterInvalid(program.name, name, type, buffer.title);
    if (buffer.offset % align !== 0) {
      throw errors.parameterInvalid(program.name, name, `device memory at a multiple of ${align} bytes`, buffer.title);
    }
    return () => buffer.memory;
  }

  private bufferOf(buffer: DeviceBuffer, name: string): SimulatedBuffer {
    if (!(buffer instanceof SimulatedBuffer) || buffer.device !== this) throw errors.bufferForeign(name, this.name);
    return buffer;
  }

  copy(to: DeviceBuffer, from: DeviceBuffer): void {
    const [target, source] = [this.bufferOf(to, 'to'), this.bufferOf(from, 'from')];
    target.checkRange(0, source.bytes);
    for (const buffer of [target, source]) buffer.checkAlive();
    this.enqueue(() => target.memory.set(source.memory));
  }

  graph(enqueue: () => void): DeviceGraph {
    this.refuseInGraph('another graph is being recorded');
    const works: (() => void)[] = [];
    this.recorded = works;
    try {
      enqueue();
    } finally {
      this.recorded = null;
    }
    let disposed = false;
    return {
      launch: () => {
        if (disposed) throw errors.disposed('the graph');
        this.refuseInGraph('it launches another graph');
        for (const work of works) work();
      },
      [Symbol.dispose]() {
        disposed = true;
      },
    };
  }

  private enqueue(work: () => void): void {
    if (this.recorded === null) work();
    else this.recorded.push(work);
  }

  time(enqueue: () => void): number {
    this.refuseInGraph('it measures time');
    const start = performance.now();
    enqueue();
    return 1000 * (performance.now() - start);
  }

  synchronize(): void {
    this.refuseInGraph('it waits for the device');
  }

  /** Errors: 'capture-invalid' while a graph is recorded. */
  refuseInGraph(why: string): void {
    if (this.recorded !== null) throw errors.captureInvalid(why);
  }

  [Symbol.dispose](): void {}
}

/** What no GPU launches. Errors: 'launch-invalid'. */
function checkGrid({ name, cluster }: Program, [x, y = 1, z = 1]: Grid): void {
  const sizes = [x, y, z];
  const refuse = (limit: string): Error => errors.launchInvalid(name, 'grid', sizes.join(' x '), limit);
  if (!sizes.every((size, i) => Number.isInteger(size) && size >= 1 && size <= GRID_LIMITS[i]!))
    throw refuse(`each of x, y and z must be a whole number from 1 to ${GRID_LIMITS.join(', ')}`);
  if (x % cluster !== 0) throw refuse(`it must be a multiple of the cluster ${cluster} x 1 x 1`);
}
