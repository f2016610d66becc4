// marlin doctor: what this machine offers, as text for a person and for a bug report.
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Command } from 'commander';
import { errors, MarlinError } from '../base/errors.ts';
import { Checkpoint } from '../formats/checkpoint.ts';
import { readModelConfig } from '../formats/config.ts';
import { simdLevel } from '../cpu/kernels.ts';
import { embeddedModel } from './flags.ts';
import { type GpuReport, reportGpus } from './gpus.ts';
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
  if (level === 'plain') return 'plain SIMD only: about a fifth of the speed of relaxed SIMD';
  return level === 'relaxed' ? 'relaxed SIMD' : 'relaxed SIMD, bytes multiplied in pairs';
}

function model(): string {
  readModelConfig(embeddedModel);
  Checkpoint.open(embeddedModel)[Symbol.dispose]();
  return embeddedModel;
}

function gpuCheck({ detail, fix }: GpuReport): Check {
  return { name: 'NVIDIA GPU', ok: true, detail: `${detail}; this version runs models on the CPU`, fix };
}

function checks(gpus: GpuReport): Check[] {
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
    gpuCheck(gpus),
  ];
}

async function run(output: Output): Promise<unknown> {
  const report = await reportGpus();
  const list = checks(report);
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
    gpus: report.gpus,
    checks: list,
  };
}

export const doctor: Verb = {
  name: 'doctor',
  examples: ['marlin doctor', 'marlin doctor --json'],
  define: (command: Command, action) =>
    command.description('check Node, processor, kernels, GPU and driver').action(() => action((output) => run(output))),
};
