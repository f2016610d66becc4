// Where the command line writes: results on standard output, progress and remarks on standard error. Knows no verb.
import type { Readable, Writable } from 'node:stream';
import { styleText } from 'node:util';
import { type Progress, startProgress } from '../base/progress.ts';

interface Terminal {
  readonly isTTY?: boolean;
}

/** The standard streams: those of the process, or what a test puts in their place. */
export interface Streams {
  readonly stdin: Readable & Terminal;
  readonly stdout: Writable & Terminal;
  readonly stderr: Writable & Terminal;
}

export interface Output {
  readonly json: boolean;
  readonly streams: Streams;
  /** Text of the result for people; nothing with --json. */
  text(text: string): void;
  /** A remark beside the result; nothing with --json. */
  note(text: string): void;
}

export function createOutput(streams: Streams, json: boolean): Output {
  const { stdout, stderr } = streams;
  return {
    json,
    streams,
    text: (text) => void (json || stdout.write(text)),
    note: (text) => void (json || stderr.write(`${styleText('dim', text, { stream: stderr })}\n`)),
  };
}

/** Prints `value` as the one JSON object of a command. */
export function printJson(output: Output, value: unknown): void {
  output.streams.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Work that is done sooner than this shows no progress. */
const QUICK_MS = 500;

export type Report = (done: number, total: number, label?: string) => void;

/** Runs `work`; what it reports appears on standard error once it turns out to take a while. Nothing with --json. */
export async function withProgress<T>(
  output: Output,
  title: string,
  unit: string,
  work: (report: Report) => Promise<T>,
): Promise<T> {
  const started = performance.now();
  let progress: Progress | null = null;
  const report: Report = (done, total, label) => {
    if (progress === null && (done >= total || performance.now() - started < QUICK_MS)) return;
    progress ??= startProgress({ title, total, unit, silent: output.json, stream: output.streams.stderr });
    progress.update(done, label);
  };
  const stop = (): void => progress?.stop();
  return await work(report).finally(stop);
}
