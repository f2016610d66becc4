// An NVIDIA GPU as a device: one stream, programs printed as PTX and compiled by the driver.
import { errors } from '../base/errors.ts';
import { type Context, openContext } from '../cuda/context.ts';
import { prepare } from '../cuda/launch.ts';
import { openDriver } from '../cuda/library.ts';
import { allocate, copyToDevice, copyToHost, type DeviceBuffer as CudaBuffer } from '../cuda/memory.ts';
import { loadModule } from '../cuda/module.ts';
import type { Parameter, Value } from '../cuda/parameters.ts';
import { createStream, type Stream } from '../cuda/stream.ts';
import { pointee } from '../ptx/kernel.ts';
import { print } from '../ptx/print.ts';
import { elemBytes, type ParamSpec, type ParamType, type Program, type Target } from '../ptx/program.ts';
import type { Device, DeviceBuffer, DeviceTensor, LoadedKernel } from './device.ts';

class NvidiaBuffer implements DeviceBuffer {
  readonly device: NvidiaDevice;
  readonly memory: CudaBuffer;

  constructor(device: NvidiaDevice, memory: CudaBuffer) {
    this.device = device;
    this.memory = memory;
  }

  get bytes(): number {
    return this.memory.bytes;
  }

  write(from: ArrayBufferView): void {
    copyToDevice(this.memory, from);
  }

  read(into: ArrayBufferView): void {
    this.device.synchronize();
    copyToHost(into, this.memory);
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }
}

export class NvidiaDevice implements Device {
  readonly name: string;
  private readonly context: Context;
  private readonly stream: Stream;

  constructor(context: Context) {
    this.context = context;
    this.name = context.device.name;
    this.stream = createStream(context);
  }

  allocate(bytes: number, label: string): DeviceBuffer {
    return new NvidiaBuffer(this, allocate(this.context, bytes, label));
  }

  load<S extends ParamSpec>(program: Program<S>): LoadedKernel<S> {
    const module = loadModule(this.context, print(program, { arch: this.archFor(program) }), { label: program.name });
    const kernel = module.kernel(program.name);
    const types = Object.entries<ParamType>(program.params);
    const parameters = types.map(([name, type]): Parameter => {
      const elem = pointee(type);
      return elem === null
        ? { name, type: type === 'f32' || type === 's32' ? type : 'u32' }
        : { name, type: 'pointer', align: elemBytes[elem] };
    });
    return {
      launch: (grid, args) => {
        const given: Readonly<Record<string, DeviceBuffer | DeviceTensor | number>> = args;
        const values = types.map(([name]): Value => this.valueOf(name, given[name]!));
        prepare(kernel, parameters, values, {
          grid,
          block: program.threads,
          sharedBytes: program.sharedBytes,
          cluster: program.cluster,
        }).launch(this.stream);
      },
      [Symbol.dispose]: () => module[Symbol.dispose](),
    };
  }

  /** sm_90a on the chips that have it, so that no instruction of theirs is out of reach; otherwise the least the program needs. */
  private archFor(program: Program): Target {
    const { major, minor } = this.context.device.capability;
    return major === 9 && minor === 0 ? 'sm_90a' : program.target;
  }

  private valueOf(name: string, value: DeviceBuffer | DeviceTensor | number): Value {
    if (typeof value === 'number') return value;
    if ('buffer' in value) throw new TypeError(`${name} is a tensor, and tensors are not passed yet`);
    if (!(value instanceof NvidiaBuffer) || value.device !== this) throw errors.bufferForeign(name, this.name);
    return value.memory;
  }

  synchronize(): void {
    this.stream.synchronize();
  }

  [Symbol.dispose](): void {
    this.stream[Symbol.dispose]();
    this.context[Symbol.dispose]();
  }
}

/** Opens a GPU by its number. Errors: 'driver-missing', 'driver-too-old', 'gpu-missing' and others of the driver. */
export async function openNvidia(index = 0): Promise<Device> {
  return new NvidiaDevice(openContext(await openDriver(), index));
}
