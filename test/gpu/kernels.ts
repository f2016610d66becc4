// Every example of the catalogue on the GPU, against its reference.
import type { Device } from '../../src/device/device.ts';
import { runsOn } from '../../src/device/parameters.ts';
import { catalogue } from '../../src/kernels/catalogue.ts';
import type { HostTensor } from '../../src/sim/simulate.ts';
import type { Comparison } from './lane.ts';
import { launchOnDevice } from './run-program.ts';

export function compareKernels(device: Device): Comparison[] {
  return catalogue.flatMap(({ name, examples }) =>
    examples()
      .filter(({ program }) => runsOn(device.facts.arch, program))
      .map((example) => {
        const title = `${name} ${example.name}`;
        try {
          const { error, bound } = example.launch(5, ({ program, grid, args }) => {
            // Examples carry what their check needs besides.
            const all = Object.entries<ArrayBufferView | HostTensor | number>(args);
            launchOnDevice(device, program, grid, new Map(all.filter(([key]) => key in program.params)));
          });
          return { name: title, ok: error <= bound, detail: `error ${error.toExponential(1)} (at most ${bound})` };
        } catch (error) {
          return { name: title, ok: false, detail: String(error) };
        }
      }),
  );
}
