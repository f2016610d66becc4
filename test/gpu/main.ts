// npm run test:gpu, or ./run test in a bundle: what the simulator says against what the GPU does. Exit code 1 when they differ.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { capabilityText } from '../../src/cuda/device.ts';
import { openContext } from '../../src/cuda/context.ts';
import { openDriver } from '../../src/cuda/library.ts';
import { compareLaneInstructions } from './lane.ts';
import { comparePrograms } from './programs.ts';

const { values: flags } = parseArgs({ options: { json: { type: 'string' } } });
using context = openContext(await openDriver());
const comparisons = [...compareLaneInstructions(context), ...comparePrograms(context)];
for (const { name, ok, detail } of comparisons) console.log(`${ok ? '✔' : '✖'} ${name}: ${detail}`);
const failed = comparisons.filter(({ ok }) => !ok);
console.log(`${comparisons.length - failed.length} passed, ${failed.length} failed`);
if (flags.json !== undefined) {
  const { name, multiprocessors } = context.device;
  const device = { name, multiprocessors, capability: capabilityText(context.device) };
  writeFileSync(flags.json, `${JSON.stringify({ device, comparisons }, null, 2)}\n`);
}
process.exitCode = failed.length === 0 ? 0 : 1;
