// marlin bench tune: measures the candidates of the planner on this machine's GPU and keeps the best, which plans then follow.
import { join } from 'node:path';
import type { Command } from 'commander';
import { Random } from '../../base/random.ts';
import { repeatedWeights, stripBlock } from '../../bench/data.ts';
import { copiesOf } from '../../bench/gemm.ts';
import type { Device } from '../../device/device.ts';
import { openDevice } from '../../device/open.ts';
import { SimulatedDevice } from '../../device/simulated.ts';
import type { WeightShape } from '../../kernels/marlin/family.ts';
import { packedBytes } from '../../kernels/marlin/layout.ts';
import { MarlinKernels } from '../../kernels/marlin/op.ts';
import { tune, type TuneOptions } from '../../kernels/marlin/tune.ts';
import { fileName, keepTable, type TunedRow } from '../../kernels/marlin/tuned.ts';
import { integer, path } from '../flags.ts';
import { breathe } from '../interrupt.ts';
import { type Output, withProgress } from '../output.ts';
import { table } from '../table.ts';
import type { Verb } from '../verb.ts';
import { writeWhole } from '../write.ts';
import { type LayerFlags, layerOptions } from './layers.ts';

interface TuneFlags extends LayerFlags {
  readonly simulate?: true;
  readonly candidates: number;
  readonly output?: string;
}

const SIMULATED = { samples: 1, launches: 1, most: 2 };

async function run(flags: TuneFlags, output: Output, signal: AbortSignal): Promise<unknown> {
  const simulated = flags.simulate === true;
  using device = simulated
    ? new SimulatedDevice({ facts: { multiprocessors: 2 } })
    : await openDevice(`nvidia:${flags.gpu}`);
  const rows = await withProgress(output, `Tuning on ${device.name}`, 'layers', async (report) => {
    const found: TunedRow[] = [];
    for (const [i, { n, k }] of flags.shapes.entries()) {
      report(i, flags.shapes.length, `${k} x ${n}`);
      const weights = { n, k, scheme: { group: flags.group, zeroPoints: false }, type: flags.dtype };
      for (const m of flags.m) {
        await breathe(signal);
        found.push(...tuneLayer(device, weights, m, simulated ? SIMULATED : { most: flags.candidates }));
      }
    }
    report(flags.shapes.length, flags.shapes.length);
    return found;
  });
  output.text(
    table(
      ['K x N', 'up to M', 'us', 'kernel', 'tiling'],
      rows.map(({ k, n, tokens, microseconds, kernel, tiling }) => [
        `${k}x${n}`,
        tokens,
        microseconds.toFixed(1),
        kernel,
        tiling,
      ]),
    ),
  );
  const result = { gpu: device.name, rows };
  // Times of the simulator would mislead nobody but the next plan of the simulator.
  const kept = simulated ? null : keepTable(result);
  if (kept !== null) output.text(`\nKept in ${kept}\n`);
  if (flags.output !== undefined) {
    const file = join(flags.output, fileName(device.name));
    writeWhole(file, `${JSON.stringify(result, null, 2)}\n`);
    output.text(`Written to ${file}\n`);
  }
  return { ...result, kept };
}

function tuneLayer(device: Device, weights: WeightShape, m: number, options: TuneOptions): readonly TunedRow[] {
  using owned = new DisposableStack();
  // Kernels of its own, for the programs of a layer to be unloaded with it; and plans without what was measured before.
  const kernels = owned.use(new MarlinKernels(device, { measured: () => null }));
  const copies = options.launches === 1 ? 1 : copiesOf(packedBytes(weights, weights.scheme));
  const buffers = repeatedWeights(device, weights, stripBlock(new Random(1), weights), copies, owned);
  const products = buffers.map((one) => owned.use(kernels.over(`${weights.k} x ${weights.n}`, weights, one)));
  return tune(kernels, products, [m], options).rows;
}

export const tuneVerb: Verb = {
  name: 'tune',
  examples: [
    'marlin bench tune --simulate --shapes 128x32 --m 8',
    'marlin bench tune --simulate --shapes 128x32 --m 8 --json',
  ],
  define: (command: Command, action) =>
    layerOptions(command)
      .description('measure the kernels and tilings that suit a layer, and keep the best for this model of GPU')
      .option('--simulate', 'on the simulator, without a GPU: nothing is kept, times mean nothing')
      .option('--candidates <count>', 'tilings of a kernel to try', integer('--candidates', 1, 100), 6)
      .option('--output <folder>', 'write the table into this folder as well', path('--output'))
      .action((flags: TuneFlags) => action((output, signal) => run(flags, output, signal))),
};
