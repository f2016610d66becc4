// node bench/gpu/decode-main.ts --random-weights llama-3-8b [--json FILE], or ./run decode in a bundle.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { machine } from '../../src/bench/machine.ts';
import { table } from '../../src/cli/table.ts';
import { openNvidia } from '../../src/device/nvidia.ts';
import { measureDecode } from './decode.ts';
import { kinds, shapes } from './synthetic.ts';

const { values: flags } = parseArgs({
  options: { json: { type: 'string' }, 'random-weights': { type: 'string', default: 'llama-3-8b' } },
});
const name = flags['random-weights'];
const found = Object.entries(shapes).find(([shape]) => shape === name);
if (found === undefined) {
  console.error(`--random-weights takes ${Object.keys(shapes).join(' or ')}`);
  process.exit(2);
}
using device = await openNvidia();
const results = kinds.map((kind) => measureDecode(device, found[1], kind));
console.log(`${device.name}, random weights in the shape of ${name}, one sequence`);
console.log(
  table(
    ['weights', 'decode, tokens/s', 'behind a prompt', 'GB/s of weights', '% of a copy', 'prefill, tokens/s'],
    results.map(({ kind, decode, decodeBehind, bytesPerSecond, copyBytesPerSecond, prefill, prefillTokens }) => [
      kind,
      decode.toFixed(1),
      decodeBehind.toFixed(1),
      (bytesPerSecond / 1e9).toFixed(0),
      ((100 * bytesPerSecond) / copyBytesPerSecond).toFixed(1),
      `${prefill.toFixed(0)} (${prefillTokens})`,
    ]),
  ),
);
console.log(
  table(
    ['weights', 'programs', 'loaded in, ms', 'slowest, ms', '', 'first token, ms'],
    results.map(({ kind, loads }) => [
      kind,
      loads.programs,
      loads.milliseconds.toFixed(0),
      loads.slowestMilliseconds.toFixed(0),
      loads.slowest,
      loads.firstTokenMilliseconds.toFixed(0),
    ]),
  ),
);
if (flags.json !== undefined) {
  const { state, ...facts } = machine(device);
  writeFileSync(
    flags.json,
    `${JSON.stringify({ machine: facts, stateAfterwards: state, model: name, results }, null, 2)}\n`,
  );
}
