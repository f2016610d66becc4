// Runs a Program on the GPU with host arrays for its buffers, as simulate() does on the CPU: same arguments, same effect.
import type { Context } from '../../src/cuda/context.ts';
import { prepare } from '../../src/cuda/launch.ts';
import { allocate, copyToDevice, copyToHost } from '../../src/cuda/memory.ts';
import { loadModule } from '../../src/cuda/module.ts';
import type { Parameter, Value } from '../../src/cuda/parameters.ts';
import { createStream } from '../../src/cuda/stream.ts';
import { pointee } from '../../src/ptx/kernel.ts';
import { print } from '../../src/ptx/print.ts';
import { elemBytes, type ParamSpec, type ParamType, type Program } from '../../src/ptx/program.ts';
import type { Args } from '../../src/sim/simulate.ts';

export function runOnGpu<S extends ParamSpec>(
  context: Context,
  program: Program<S>,
  grid: readonly [x: number, y?: number, z?: number],
  args: Args<S>,
): void {
  const { major, minor } = context.device.capability;
  using module = loadModule(context, print(program, { arch: major === 9 && minor === 0 ? 'sm_90a' : program.target }), {
    label: program.name,
  });
  using stream = createStream(context);
  using owned = new DisposableStack();
  const parameters: Parameter[] = [];
  const values: Value[] = [];
  const back: (() => void)[] = [];
  for (const [name, type] of Object.entries<ParamType>(program.params)) {
    const arg: ArrayBufferView | number = args[name]!;
    const elem = pointee(type);
    if (typeof arg === 'number' || elem === null) {
      parameters.push({ name, type: type === 'f32' || type === 's32' ? type : 'u32' });
      values.push(Number(arg));
      continue;
    }
    const buffer = owned.use(allocate(context, arg.byteLength, name));
    copyToDevice(buffer, arg);
    parameters.push({ name, type: 'pointer', align: elemBytes[elem] });
    values.push(buffer);
    back.push(() => copyToHost(arg, buffer));
  }
  prepare(module.kernel(program.name), parameters, values, {
    grid,
    block: program.threads,
    sharedBytes: program.sharedBytes,
  }).launch(stream);
  stream.synchronize();
  for (const copy of back) copy();
}
