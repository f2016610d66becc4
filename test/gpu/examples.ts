// The examples of every kernel in the catalogue that the GPU can run, against their references.
import type { Device } from '../../src/device/device.ts';
import { runsOn } from '../../src/device/parameters.ts';
import { catalogue } from '../../src/kernels/catalogue.ts';
import type { Comparison } from './lane.ts';
import { runOnDevice } from './run-program.ts';

const SEED = 11;

export function compareExamples(device: Device): Comparison[] {
  return catalogue.flatMap((entry) =>
    entry
      .examples()
      .filter(({ program }) => runsOn(device.facts.arch, program))
      .map((example) => {
        const { error, bound } = example.launch(SEED, ({ program, grid, args }) =>
          runOnDevice(device, program, grid, args),
        );
        const detail = `relative error ${error.toExponential(1)} (at most ${bound})`;
        return { name: `${entry.name} ${example.name}`, ok: error <= bound, detail };
      }),
  );
}
