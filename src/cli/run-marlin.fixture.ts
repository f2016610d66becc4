// Test support, used by tests only: runs the command line as a user would (a process) or right here, and makes models for it.
import { spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text as readAll } from 'node:stream/consumers';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type TinyConfig, tinyModel, writeModel } from '../model/tiny-model.fixture.ts';
import { embeddedModel } from './flags.ts';
import { main, verbs } from './main.ts';
import type { Verb } from './verb.ts';

export const marlinScript: string = fileURLToPath(new URL('../../bin/marlin.js', import.meta.url));

export interface Ran {
  /** The exit code, or the name of the signal that ended the process. */
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningChild {
  kill(signal: NodeJS.Signals): void;
  closeOutput(): void;
}

export interface RunOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called whenever there is more of standard output, with how often that was and all of it so far. */
  readonly onOutput?: (times: number, stdout: string, child: RunningChild) => void;
}

/** `marlin ...parameters` in a process of its own. */
export async function marlin(parameters: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = spawn(process.execPath, [marlinScript, ...parameters], { env: { ...process.env, ...options.env } });
  let stdout = '';
  let times = 0;
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    options.onOutput?.(++times, stdout, {
      kill: (signal) => void child.kill(signal),
      closeOutput: () => void child.stdout.destroy(),
    });
  });
  child.stdin.end(options.stdin ?? '');
  child.stdin.on('error', () => undefined); // a command that refuses its flags reads nothing
  const [stderr, code] = await Promise.all([
    readAll(child.stderr),
    new Promise<number | string>((resolve) => child.on('close', (status, signal) => resolve(status ?? signal ?? -1))),
  ]);
  return { code, stdout, stderr };
}

/** The same without a process, in a tenth of the time; with other verbs than ours if `table` says so. */
export async function marlinHere(
  parameters: readonly string[],
  stdin = '',
  table: readonly Verb[] = verbs,
): Promise<Ran> {
  const streams = { stdin: Readable.from([stdin]), stdout: new PassThrough(), stderr: new PassThrough() };
  const [stdout, stderr] = [readAll(streams.stdout), readAll(streams.stderr)];
  const code = await main(parameters, streams, table);
  streams.stdout.end();
  streams.stderr.end();
  return { code, stdout: await stdout, stderr: await stderr };
}

/** The one line of JSON on standard output; anything beside it is an error. */
export function jsonOf(ran: Ran): Record<string, unknown> {
  const [line = '', ...rest] = ran.stdout.split('\n');
  if (rest.join('') !== '' || rest.length !== 1) throw new Error(`not one line of JSON: ${ran.stdout}`);
  const value: unknown = JSON.parse(line);
  if (typeof value !== 'object' || value === null) throw new Error(`not a JSON object: ${line}`);
  return Object.fromEntries(Object.entries(value));
}

/** The code of the error in what --json printed. */
export function errorCodeOf(ran: Ran): string {
  const { error } = jsonOf(ran);
  if (typeof error === 'object' && error !== null && 'message' in error && 'fix' in error && 'code' in error) {
    return String(error.code);
  }
  throw new Error(`no error: ${ran.stdout}`);
}

/** A folder for the tests of a file, removed when they are through. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'marlin-cli-'));
  after(() => rmSync(folder, { recursive: true }));
  return folder;
}

const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'] as const;

/** A random 16-bit model with the tokenizer of the embedded one, in a new folder inside `root`. */
export function writeSourceModel(root: string, changes: Partial<TinyConfig> = {}): string {
  const { config, tensors } = tinyModel(1, { vocab_size: 8192, tie_word_embeddings: true, ...changes });
  const folder = writeModel(root, config, tensors);
  for (const file of TOKENIZER_FILES) copyFileSync(join(embeddedModel, file), join(folder, file));
  return folder;
}
