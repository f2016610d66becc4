// npm run test:gpu, or ./run test in a bundle: what the simulator says against what the GPU does. Exit code 1 when they differ.
// The trials run in a process of their own, since a fault ends the GPU for its process: the next one goes on behind the trial that failed.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { conformance } from '../../src/device/conformance.fixture.ts';
import { openDevice } from '../../src/device/open.ts';
import { catalogueTrials } from './catalogue.ts';
import { instructionTrials } from './instructions.ts';
import { laneTrials } from './lane.ts';
import { marlinTrials } from './marlin.ts';
import { programTrials } from './programs.ts';
import { judge, type Trial, type Verdict } from './trial.ts';

const conformanceTrials: readonly Trial[] = conformance.map(({ name, body }) => ({
  name,
  run: (device) => {
    body(device);
    return { ok: true, detail: 'as on the simulator' };
  },
}));

const trials: readonly Trial[] = [
  ...conformanceTrials,
  ...laneTrials,
  ...instructionTrials,
  ...programTrials,
  ...catalogueTrials,
  ...marlinTrials,
];

const { values: flags } = parseArgs({
  options: { json: { type: 'string' }, only: { type: 'string', default: '' }, from: { type: 'string' } },
});
const chosen = trials.filter(({ name }) => name.includes(flags.only));

if (flags.from === undefined) runAll();
else await runFrom(Number(flags.from));

/** The process that tries: a line of JSON for each verdict. It ends itself where the GPU is lost. */
async function runFrom(first: number): Promise<void> {
  using device = await openDevice('nvidia');
  if (first === 0) console.error(device.name);
  for (const trial of chosen.slice(first)) {
    const verdict = judge(trial, device);
    console.log(JSON.stringify(verdict));
    if (/gpu-fault|failed on the GPU|cannot be used any more/.test(verdict.detail)) process.exit(1);
  }
}

function runAll(): void {
  const verdicts: (Verdict & { readonly name: string })[] = [];
  while (verdicts.length < chosen.length) {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [import.meta.filename, '--from', String(verdicts.length), '--only', flags.only],
      { encoding: 'utf8', maxBuffer: 2 ** 28 },
    );
    const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
    for (const line of lines) verdicts.push(JSON.parse(line));
    if (lines.length === 0) {
      // It did not come as far as a verdict: no GPU, or a death without words.
      verdicts.push({ name: chosen[verdicts.length]!.name, ok: false, detail: stderr.trim().slice(-2000) });
      if (/driver-missing|gpu-missing|driver-too-old/.test(stderr)) break;
    }
  }
  for (const { name, ok, detail } of verdicts) console.log(`${ok ? '✔' : '✖'} ${name}: ${detail}`);
  const failed = verdicts.filter(({ ok }) => !ok);
  console.log(`${verdicts.length - failed.length} passed, ${failed.length} failed`);
  if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify({ verdicts }, null, 2)}\n`);
  process.exitCode = failed.length === 0 && verdicts.length === chosen.length ? 0 : 1;
}
