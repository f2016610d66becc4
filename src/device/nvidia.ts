// An NVIDIA GPU as a device: one stream, programs printed as PTX and compiled by the driver.
import { errors } from '../base/errors.ts';
import { type Context, openContext } from '../cuda/context.ts';
import { capabilityText } from '../cuda/device.ts';
import type { Driver } from '../cuda/driver.ts';
import { createEvent, type CudaEvent, elapsed } from '../cuda/event.ts';
import { capture } from '../cuda/graph.ts';
import { type Launch, prepare } from '../cuda/launch.ts';
import { openDriver } from '../cuda/library.ts';
import { allocate, copyOnDevice, copyToDevice, copyToHost, type DeviceMemory } from '../cuda/memory.ts';
import { type Kernel, loadModule } from '../cuda/module.ts';
import type { Value } from '../cuda/parameters.ts';
import { createStream, type Stream } from '../cuda/stream.ts';
import { encodeTensorMap } from '../cuda/tensor-map.ts';
import { print } from '../ptx/print.ts';
import type { ParamSpec, Program } from '../ptx/program.ts';
import type {
  Device,
  DeviceArgs,
  DeviceBuffer,
  DeviceFacts,
  DeviceGraph,
  Grid,
  LaunchOptions,
  LoadedKernel,
} from './device.ts';
import { type Arg, argsOf, type Declared, declaredOf, layoutOf, runsOn, targetOf } from './parameters.ts';

class NvidiaBuffer implements DeviceBuffer {
  readonly device: NvidiaDevice;
  readonly memory: DeviceMemory;
  /** What disposing frees; null for a slice. */
  private readonly owned: Disposable | null;

  constructor(device: NvidiaDevice, memory: DeviceMemory, owned: Disposable | null) {
    this.device = device;
    this.memory = memory;
    this.owned = owned;
  }

  get bytes(): number {
    return this.memory.bytes;
  }

  write(from: ArrayBufferView): void {
    this.device.refuseInGraph('it writes memory');
    copyToDevice(this.memory, from);
  }

  read(into: ArrayBufferView): void {
    this.device.synchronize();
    copyToHost(into, this.memory);
  }

  slice(offset: number, bytes?: number): DeviceBuffer {
    return new NvidiaBuffer(this.device, this.memory.slice(offset, bytes), null);
  }

  [Symbol.dispose](): void {
    this.owned?.[Symbol.dispose]();
  }
}

/** For benchmarks and baselines the stream and the memory of buffers are there, too; what is written against `Device` needs neither. */
export class NvidiaDevice implements Device {
  readonly name: string;
  readonly facts: DeviceFacts;
  readonly context: Context;
  /** Everything is enqueued here. */
  readonly stream: Stream;
  private readonly start: CudaEvent;
  private readonly end: CudaEvent;

  /** Takes the context over. Errors: 'gpu-unsupported' for a GPU before compute capability 8.0. */
  constructor(context: Context) {
    this.context = context;
    const { name, capability, multiprocessors, sharedBytesPerBlock, memoryBytes, l2Bytes, clockKHz } = context.device;
    const arch = targetOf(capability);
    if (arch === null)
      throw errors.gpuUnsupported('kernels of marlin-ts', 'sm_80', name, capabilityText(context.device));
    this.name = name;
    this.facts = { arch, multiprocessors, sharedBytesPerBlock, memoryBytes, l2Bytes, clockHz: 1000 * clockKHz };
    this.stream = createStream(context);
    this.start = createEvent(context);
    this.end = createEvent(context);
  }

  freeBytes(): number {
    return this.context.memory().free;
  }

  allocate(bytes: number, label: string): DeviceBuffer {
    this.refuseInGraph('it allocates memory');
    const memory = allocate(this.context, bytes, label);
    return new NvidiaBuffer(this, memory, memory);
  }

  load<S extends ParamSpec>(program: Program<S>): LoadedKernel<S> {
    this.refuseInGraph('it loads a kernel');
    const { arch } = this.facts;
    if (!runsOn(arch, program)) {
      const title = `the kernel ${program.name}`;
      throw errors.gpuUnsupported(title, program.target, this.name, capabilityText(this.context.device));
    }
    const module = loadModule(this.context, print(program, { arch }), { label: program.name });
    const kernel = module.kernel(program.name);
    const declared = declaredOf(program);
    const bind = (grid: Grid, args: DeviceArgs<S>, options: LaunchOptions = {}): Launch =>
      this.prepare(program, kernel, declared, grid, argsOf(program, declared, args), options);
    return {
      bind: (grid, args, options) => {
        const prepared = bind(grid, args, options);
        return { launch: () => prepared.launch(this.stream) };
      },
      launch: (grid, args, options) => bind(grid, args, options).launch(this.stream),
      [Symbol.dispose]: () => module[Symbol.dispose](),
    };
  }

  private prepare(
    program: Program,
    kernel: Kernel,
    declared: readonly Declared[],
    grid: Grid,
    args: readonly Arg[],
    { overlap = false }: LaunchOptions,
  ): Launch {
    const values = args.map((arg, i) => this.valueOf(program, declared[i]!, arg));
    return prepare(
      kernel,
      declared.map(({ parameter }) => parameter),
      values,
      {
        grid,
        block: program.threads,
        sharedBytes: program.sharedBytes,
        overlap,
        // A cluster of one is what a launch without the attribute has, and GPUs before 9.0 refuse the attribute.
        ...(program.cluster === 1 ? {} : { cluster: program.cluster }),
      },
    );
  }

  private valueOf(program: Program, declared: Declared, arg: Arg): Value {
    const { name } = declared.parameter;
    if (typeof arg === 'number') return arg;
    if (!('buffer' in arg)) return this.memoryOf(arg, name);
    const layout = layoutOf(program, declared, arg);
    return encodeTensorMap(this.context, this.memoryOf(arg.buffer, name), layout);
  }

  /** The memory of a buffer of this device; `name` says in errors what it was given for. Errors: 'buffer-foreign'. */
  memoryOf(buffer: DeviceBuffer, name: string): DeviceMemory {
    if (!(buffer instanceof NvidiaBuffer) || buffer.device !== this) throw errors.bufferForeign(name, this.name);
    return buffer.memory;
  }

  copy(to: DeviceBuffer, from: DeviceBuffer): void {
    copyOnDevice(this.memoryOf(to, 'to'), this.memoryOf(from, 'from'), this.stream);
  }

  graph(enqueue: () => void): DeviceGraph {
    using captured = capture(this.stream, enqueue);
    const exec = captured.instantiate();
    return {
      launch: () => {
        this.refuseInGraph('it launches another graph');
        exec.launch(this.stream);
      },
      [Symbol.dispose]: () => exec[Symbol.dispose](),
    };
  }

  time(enqueue: () => void): number {
    this.refuseInGraph('it measures time');
    this.start.record(this.stream);
    enqueue();
    this.end.record(this.stream);
    this.synchronize();
    return 1000 * elapsed(this.start, this.end);
  }

  synchronize(): void {
    this.refuseInGraph('it waits for the GPU');
    this.stream.synchronize();
  }

  /** Errors: 'capture-invalid' while a graph is recorded; the driver would spoil the graph and say less. */
  refuseInGraph(why: string): void {
    if (this.stream.capture !== null) throw errors.captureInvalid(why);
  }

  [Symbol.dispose](): void {
    for (const thing of [this.start, this.end, this.stream, this.context]) thing[Symbol.dispose]();
  }
}

/**
 * Opens a GPU by its number, with the driver that `open` finds. Errors: 'driver-missing', 'driver-too-old', 'gpu-missing', 'gpu-unsupported' and others
 * of the driver.
 */
export async function openNvidia(index = 0, open: () => Promise<Driver> = openDriver): Promise<NvidiaDevice> {
  const context = openContext(await open(), index);
  try {
    return new NvidiaDevice(context);
  } catch (error) {
    context[Symbol.dispose]();
    throw error;
  }
}
