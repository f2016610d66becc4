// Compiled kernels on disk: one file for each key, checked when read, replaced whole when written. What cannot be read is compiled again and
// what cannot be written is not kept: no error of the file system reaches the user. Knows no driver.
import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { errors } from '../base/errors.ts';

/** The variable by which a user moves the cache. */
const VARIABLE = 'MARLIN_CACHE_DIR';
const FOLDER = 'marlin-ts';

/**
 * The folder for what marlin-ts keeps between runs: MARLIN_CACHE_DIR, else XDG_CACHE_HOME/marlin-ts, else ~/.cache/marlin-ts; null on a system
 * without a home. It need not exist. Errors: 'cache-folder-invalid' for a MARLIN_CACHE_DIR that is not absolute or is a file; a relative
 * XDG_CACHE_HOME is ignored, as its specification asks.
 */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env, home: () => string = homedir): string | null {
  const chosen = env[VARIABLE];
  if (chosen !== undefined) {
    if (!isAbsolute(chosen)) throw errors.cacheFolderInvalid(VARIABLE, chosen, 'it is not an absolute path');
    if (statSync(chosen, { throwIfNoEntry: false })?.isDirectory() === false) {
      throw errors.cacheFolderInvalid(VARIABLE, chosen, 'it is a file');
    }
    return chosen;
  }
  const xdg = env['XDG_CACHE_HOME'];
  if (xdg !== undefined && isAbsolute(xdg)) return join(xdg, FOLDER);
  try {
    return join(home(), '.cache', FOLDER);
  } catch {
    return null;
  }
}

/** SHA-256, in hex, of everything a cubin depends on. */
export function cacheKey(parts: readonly (string | number | boolean | null)[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

const MAGIC = 'marlin-ts cubin 1 ';

/** The cubin under `key`, or null if there is none or the file is not what was written. */
export function readCubin(folder: string, key: string): Uint8Array<ArrayBuffer> | null {
  let file: Uint8Array;
  try {
    file = readFileSync(pathOf(folder, key));
  } catch {
    return null;
  }
  const end = file.indexOf(0x0a);
  if (end < 0) return null;
  const cubin = Uint8Array.from(file.subarray(end + 1));
  return new TextDecoder('latin1').decode(file.subarray(0, end)) === header(cubin) ? cubin : null;
}

/** Keeps the cubin under `key`; says whether it could. A reader sees all of it or nothing, whoever else writes the same. */
export function writeCubin(folder: string, key: string, cubin: Uint8Array): boolean {
  const temporary = `${pathOf(folder, key)}.${randomUUID()}.tmp`;
  try {
    mkdirSync(join(folder, SUBFOLDER), { recursive: true });
    writeFileSync(temporary, Buffer.concat([Buffer.from(`${header(cubin)}\n`, 'latin1'), cubin]), { flag: 'wx' });
    renameSync(temporary, pathOf(folder, key));
    return true;
  } catch {
    rmQuietly(temporary);
    return false;
  }
}

const SUBFOLDER = 'cubin';

function pathOf(folder: string, key: string): string {
  return join(folder, SUBFOLDER, `${key}.cubin`);
}

function header(cubin: Uint8Array): string {
  return MAGIC + createHash('sha256').update(cubin).digest('hex');
}

function rmQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The folder is not ours to write: then there is nothing to remove either.
  }
}
