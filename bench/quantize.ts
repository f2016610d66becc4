// npm run bench:quantize -- --model FOLDER --calib FILE [--json FILE]: what quantizing a model by the recipe of MARLIN costs: CPU seconds of all threads, wall
// seconds, peak memory; the output is thrown away.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { main } from '../src/cli/main.ts';
import { table } from '../src/cli/table.ts';

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string' },
    calib: { type: 'string' },
    samples: { type: 'string', default: '128' },
    length: { type: 'string', default: '1024' },
    json: { type: 'string' },
  },
});
const { model, calib, samples, length } = flags;
if (model === undefined || calib === undefined) {
  console.error('--model takes the folder of a 16-bit model, --calib a text');
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'bench-quantize-'));
try {
  const started = performance.now();
  const line = ['quantize', model, join(folder, 'out'), '--method', 'gptq', '--calib', calib];
  const { stdin, stderr } = process;
  const streams = { stdin, stdout: stderr, stderr };
  const code = await main([...line, '--samples', samples, '--length', length], streams);
  if (code !== 0) process.exit(code);
  const wall = (performance.now() - started) / 1000;
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  const cpu = (userCPUTime + systemCPUTime) / 1e6;
  const peakMebibytes = maxRSS / 1024;
  console.log(
    table(
      ['windows', 'tokens each', 'CPU seconds', 'wall seconds', 'peak memory, MiB'],
      [[samples, length, cpu.toFixed(1), wall.toFixed(1), peakMebibytes.toFixed(0)]],
    ),
  );
  if (flags.json !== undefined) {
    const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).stdout.trim();
    const machine = { cpu: cpus()[0]?.model.trim() ?? 'unknown', cores: availableParallelism(), node: process.version };
    const result = { machine, commit, samples: Number(samples), length: Number(length), cpu, wall, peakMebibytes };
    writeFileSync(`${flags.json}.tmp`, `${JSON.stringify(result, null, 2)}\n`);
    renameSync(`${flags.json}.tmp`, flags.json);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
