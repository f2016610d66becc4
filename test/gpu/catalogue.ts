// Every example of the catalogue of kernels on the GPU, against its own reference.
import { runsOn } from '../../src/device/parameters.ts';
import { catalogue } from '../../src/kernels/catalogue.ts';
import { runOnDevice } from './run-program.ts';
import { type Trial, within } from './trial.ts';

export const catalogueTrials: readonly Trial[] = catalogue.flatMap(({ name, examples }) =>
  examples().map((example): Trial => ({
    name: `${name} ${example.name}`,
    run: (device) => {
      const { arch } = device.facts;
      if (!runsOn(arch, example.program))
        return { ok: true, detail: `skipped: needs ${example.program.target}, and this is ${arch}` };
      const { error, bound } = example.launch(11, ({ program, grid, args }) =>
        runOnDevice(device, program, grid, args),
      );
      return within(error, bound);
    },
  })),
);
