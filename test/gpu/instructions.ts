// The table of instructions on the GPU and on the simulator, with the same arguments: equal bits, or within a stated tolerance.
import type { Device } from '../../src/device/device.ts';
import { runsOn } from '../../src/device/parameters.ts';
import { difference, type InstructionProgram, outputOf } from '../../src/sim/instruction-programs/define.fixture.ts';
import { simulated } from '../../src/sim/instruction-programs/simulated.fixture.ts';
import { instructionPrograms } from '../../src/sim/instruction-programs/table.fixture.ts';
import { launchOnDevice } from './run-program.ts';
import type { Trial } from './trial.ts';

const SEEDS = [1, 2, 3, 4, 5];

/** A program for a chip that this one is not passes unrun, and says so. */
export const instructionTrials: readonly Trial[] = instructionPrograms.map((entry) => ({
  name: entry.name,
  run: (device) => {
    const { arch } = device.facts;
    const { target } = entry.program;
    if (!runsOn(arch, entry.program)) return { ok: true, detail: `skipped: needs ${target}, and this is ${arch}` };
    const wrong = SEEDS.flatMap((seed) => compare(device, entry, seed).map((text) => `seed ${seed}: ${text}`));
    return { ok: wrong.length === 0, detail: wrong[0] ?? `${SEEDS.length} seeds (${boundOf(entry)})` };
  },
}));

const boundOf = ({ tolerance }: InstructionProgram): string =>
  tolerance === null ? 'bits' : `within ${tolerance.relative.toExponential(1)}: ${tolerance.reason}`;

/** How the GPU and the simulator differ, in words. */
function compare(device: Device, entry: InstructionProgram, seed: number): string[] {
  const [here, there] = [entry.draw(seed), entry.draw(seed)];
  const wrong = simulated(entry, here, seed).map((text) => `the simulator: ${text}`);
  launchOnDevice(device, entry.program, entry.grid, there.args);
  for (const name of entry.outputs) {
    const [want, got] = [outputOf(here.args, name), outputOf(there.args, name)];
    const { count, of, first } = difference(want, got, entry.tolerance, here.scale.get(name));
    if (count > 0) wrong.push(`${count} of ${of} of ${name} differ on the GPU: ${first}`);
  }
  return wrong;
}
