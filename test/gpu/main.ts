// npm run test:gpu, or ./run test in a bundle: what the simulator says against what the GPU does. Exit code 1 when they differ.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { conformance } from '../../src/device/conformance.fixture.ts';
import type { Device } from '../../src/device/device.ts';
import { openDevice } from '../../src/device/open.ts';
import { compareInstructions } from './instructions.ts';
import { compareKernels } from './kernels.ts';
import { type Comparison, compareLaneInstructions } from './lane.ts';
import { compareModel } from './model.ts';
import { comparePrograms } from './programs.ts';

const { values: flags } = parseArgs({ options: { json: { type: 'string' } } });
using device = await openDevice('nvidia');
const comparisons = [
  ...conforms(device),
  ...compareLaneInstructions(device),
  ...compareInstructions(device),
  ...comparePrograms(device),
  ...compareKernels(device),
  ...compareModel(device),
];
for (const { name, ok, detail } of comparisons) console.log(`${ok ? '✔' : '✖'} ${name}: ${detail}`);
const failed = comparisons.filter(({ ok }) => !ok);
console.log(`${comparisons.length - failed.length} passed, ${failed.length} failed`);
if (flags.json !== undefined) {
  writeFileSync(flags.json, `${JSON.stringify({ device: device.name, comparisons }, null, 2)}\n`);
}
process.exitCode = failed.length === 0 ? 0 : 1;

function conforms(gpu: Device): Comparison[] {
  return conformance.map(({ name, body }) => {
    try {
      body(gpu);
      return { name, ok: true, detail: 'as on the simulator' };
    } catch (error) {
      return { name, ok: false, detail: String(error) };
    }
  });
}
