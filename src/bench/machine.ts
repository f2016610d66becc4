// What a result depends on besides the code: the GPU, its driver and clocks, the commit.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { versionText } from '../cuda/driver.ts';
import type { NvidiaDevice } from '../device/nvidia.ts';

const QUERY = 'driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu';

const ROOT = join(import.meta.dirname, '..', '..');
/** Written by tools/gpu-bundle.ts; a checkout has git instead, and an installed package neither. */
const COMMIT_FILE = join(ROOT, 'COMMIT');

export interface Machine {
  readonly gpu: string;
  readonly arch: string;
  readonly multiprocessors: number;
  readonly l2Bytes: number;
  /** The newest CUDA the driver supports. */
  readonly cuda: string;
  readonly node: string;
  /** The GPU's state now, by the names of nvidia-smi; null without that tool. */
  readonly state: Readonly<Record<string, string>> | null;
  /** With '-dirty' where files had been changed; null outside of git. */
  readonly commit: string | null;
}

export function machine({ name, facts, context }: NvidiaDevice): Machine {
  const { arch, multiprocessors, l2Bytes } = facts;
  const cuda = versionText(context.driverVersion);
  return { gpu: name, arch, multiprocessors, l2Bytes, cuda, node: process.version, state: state(), commit: commit() };
}

function state(): Machine['state'] {
  const { status, stdout } = spawnSync('nvidia-smi', [`--query-gpu=${QUERY}`, '--format=csv,noheader', '--id=0'], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  if (status !== 0) return null;
  const values = stdout.trim().split(', ');
  return Object.fromEntries(QUERY.split(',').map((field, i) => [field, values[i] ?? '']));
}

export function commit(): string | null {
  if (existsSync(COMMIT_FILE)) return readFileSync(COMMIT_FILE, 'utf8').trim();
  if (!existsSync(join(ROOT, '.git'))) return null;
  const { status, stdout } = spawnSync('git', ['describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'], {
    encoding: 'utf8',
    cwd: ROOT,
  });
  return status === 0 ? stdout.trim() : null;
}
