// Runs a Program on a device with host arrays for its buffers, as simulate() does: same arguments, same effect.
import type { Device, DeviceArgs, DeviceBuffer, DeviceTensor, Grid } from '../../src/device/device.ts';
import type { ParamSpec, Program } from '../../src/ptx/program.ts';
import type { Args, HostTensor } from '../../src/sim/simulate.ts';

export function runOnDevice<S extends ParamSpec>(device: Device, program: Program<S>, grid: Grid, args: Args<S>): void {
  launchOnDevice(device, program, grid, new Map(Object.entries<ArrayBufferView | HostTensor | number>(args)));
}

/** The same with arguments by name, as simulateLaunch() takes them. */
export function launchOnDevice<S extends ParamSpec>(
  device: Device,
  program: Program<S>,
  grid: Grid,
  args: ReadonlyMap<string, ArrayBufferView | HostTensor | number>,
): void {
  using owned = new DisposableStack();
  const back: (() => void)[] = [];
  const values: Record<string, DeviceBuffer | DeviceTensor | number> = {};
  const upload = (name: string, data: ArrayBufferView): DeviceBuffer => {
    const buffer = owned.use(device.allocate(data.byteLength, name));
    buffer.write(data);
    back.push(() => buffer.read(data));
    return buffer;
  };
  for (const [name, arg] of args) {
    // Examples carry what their check needs besides.
    if (!(name in program.params)) continue;
    if (typeof arg === 'number') values[name] = arg;
    else if ('data' in arg) values[name] = { ...arg, buffer: upload(name, arg.data) };
    else values[name] = upload(name, arg);
  }
  using kernel = device.load(program);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- built key by key from the arguments of the same program
  kernel.launch(grid, values as DeviceArgs<S>);
  for (const copy of back) copy();
}
