// marlin doctor: what this machine offers, as text for a person and for a bug report.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Command } from 'commander';
import { errors, MarlinError } from '../base/errors.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { readModelConfig } from '../formats/config.ts';
import { simdLevel } from '../cpu/kernels.ts';
import { embeddedModel } from './flags.ts';
import type { Output } from './output.ts';
import { megabytes } from './table.ts';
import type { Verb } from './verb.ts';

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do when it is not; null when nothing needs to be done. */
  readonly fix: string | null;
}

interface Gpu {
  readonly name: string;
  readonly driver: string;
  readonly memory: string;
  readonly computeCapability: string;
}

/** GPUs by the driver's own tool, which comes with every driver; empty without one. */
function gpus(): Gpu[] {
  const { status, stdout } = spawnSync(
    'nvidia-smi',
    ['--query-gpu=name,driver_version,memory.total,compute_cap', '--format=csv,noheader'],
    {
      encoding: 'utf8',
      timeout: 10_000,
    },
  );
  if (status !== 0) return [];
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.split(', '))
    .map(([name = '', driver = '', memory = '', computeCapability = '']) => ({
      name,
      driver,
      memory,
      computeCapability,
    }));
}

/** A check by trying: `attempt` returns what there is, its error says what is wrong. */
function tried(name: string, attempt: () => string): Check {
  try {
    return { name, ok: true, detail: attempt(), fix: null };
  } catch (error) {
    const problem = error instanceof MarlinError ? error : errors.internal(String(error));
    return { name, ok: false, detail: problem.message, fix: problem.fix };
  }
}

function kernels(): string {
  const level = simdLevel();
  if (level === null) throw errors.cpuUnsupported();
  return level === 'relaxed' ? 'relaxed SIMD' : 'plain SIMD only: about a fifth of the speed of relaxed SIMD';
}

function model(): string {
  readModelConfig(embeddedModel);
  Checkpoint.open(embeddedModel)[Symbol.dispose]();
  return embeddedModel;
}

function gpuCheck(found: readonly Gpu[]): Check {
  const driver = existsSync('/proc/driver/nvidia/version')
    ? readFileSync('/proc/driver/nvidia/version', 'utf8').split('\n')[0]!
    : null;
  const names = found.map(
    (gpu) => `${gpu.name} (compute capability ${gpu.computeCapability}, ${gpu.memory}, driver ${gpu.driver})`,
  );
  const detail = names.length > 0 ? names.join('; ') : (driver ?? 'none found');
  return { name: 'NVIDIA GPU', ok: true, detail: `${detail}; this version runs models on the CPU`, fix: null };
}

function checks(found: readonly Gpu[]): Check[] {
  const [major = 0] = process.versions.node.split('.').map(Number);
  return [
    {
      name: 'Node',
      ok: major >= 24,
      detail: `${process.version} (V8 ${process.versions.v8}) on ${process.platform} ${process.arch}`,
      fix: major >= 24 ? null : 'Install Node 24 or newer.',
    },
    {
      name: 'Processor',
      ok: true,
      detail: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} usable cores, ${megabytes(totalmem())} memory`,
      fix: null,
    },
    tried('WebAssembly kernels', kernels),
    tried('Embedded model', model),
    gpuCheck(found),
  ];
}

function run(output: Output): unknown {
  const found = gpus();
  const list = checks(found);
  for (const check of list) {
    output.text(`${check.ok ? '✔' : '✖'} ${check.name}: ${check.detail}\n`);
    if (check.fix !== null) output.text(`    fix: ${check.fix}\n`);
  }
  return {
    ok: list.every((check) => check.ok),
    node: process.version,
    v8: process.versions.v8,
    platform: `${process.platform}-${process.arch}`,
    cpu: cpus()[0]?.model.trim() ?? null,
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    gpus: found,
    checks: list,
  };
}

export const doctor: Verb = {
  name: 'doctor',
  examples: ['marlin doctor', 'marlin doctor --json'],
  define: (command: Command, action) =>
    command.description('check Node, processor, kernels, GPU and driver').action(() => action((output) => run(output))),
};
