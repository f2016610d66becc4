// For tests: the C compiler and the header of the CUDA toolkit, where this machine has both. The program itself needs neither.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** header.ts is of this version; older headers lack some of its names. */
const OLDEST_HEADER = 13_000;

/** The folder of cuda.h, or why tests that need it are left out. */
export const toolkit: { readonly include: string; readonly missing: string | null } = find();

function find(): typeof toolkit {
  const roots = [process.env['CUDA_HOME'], process.env['CUDA_PATH'], '/usr/local/cuda'];
  const include = roots
    .filter((root) => root !== undefined)
    .map((root) => join(root, 'include'))
    .find((folder) => existsSync(join(folder, 'cuda.h')));
  if (include === undefined) return { include: '', missing: 'there is no cuda.h (CUDA_HOME or /usr/local/cuda)' };
  const text = readFileSync(join(include, 'cuda.h'), 'utf8');
  const version = Number(/^#define CUDA_VERSION (\d+)/m.exec(text)?.[1] ?? 0);
  if (version < OLDEST_HEADER) return { include, missing: `cuda.h is of version ${version}, before ${OLDEST_HEADER}` };
  if (spawnSync('gcc', ['--version']).status !== 0) return { include, missing: 'there is no gcc' };
  return { include, missing: null };
}

/** Compiles C from standard input with the toolkit's headers; '' or what the compiler complains about. */
export function compileC(source: string, options: readonly string[]): string {
  // Without the macro the header renames symbols that we call by an older version.
  const macro = '-D__CUDA_API_VERSION_INTERNAL';
  const parameters = ['-x', 'c', '-std=c11', '-Werror', '-I', toolkit.include, macro, ...options, '-'];
  const { status, stderr } = spawnSync('gcc', parameters, { input: source, encoding: 'utf8' });
  return status === 0 ? '' : stderr;
}
