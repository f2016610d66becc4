// ./run steps [--shape KxN] [--json FILE] in a GPU bundle, or node bench/gpu/steps-main.ts: what each step towards the 4-bit product is worth.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { machine } from '../../src/bench/machine.ts';
import { parseShapes } from '../../src/bench/shapes.ts';
import { table } from '../../src/cli/table.ts';
import { openNvidia } from '../../src/device/nvidia.ts';
import { TOKENS } from '../../src/kernels/marlin/levels/operands.ts';
import { measureSteps } from './steps.ts';

const { values: flags } = parseArgs({
  options: { json: { type: 'string' }, shape: { type: 'string', default: '8192x8192' } },
});
const size = parseShapes(flags.shape)[0]!;
using device = await openNvidia();
const steps = measureSteps(device, size);
console.log(`${device.name}, ${size.k} x ${size.n}, ${TOKENS} tokens, weights cold in the cache`);
console.log(
  table(
    ['step', 'us', 'GB/s of weights'],
    steps.map(({ name, microseconds, bytesPerSecond }) => [
      name,
      microseconds.toFixed(1),
      (bytesPerSecond / 1e9).toFixed(0),
    ]),
  ),
);
if (flags.json !== undefined)
  writeFileSync(flags.json, `${JSON.stringify({ machine: machine(device), size, tokens: TOKENS, steps }, null, 2)}\n`);
