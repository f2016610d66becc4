// What may end a command from outside: Ctrl-C and its relatives, and a standard output that takes no more.
import { constants } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import type { Streams } from './output.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
type Signal = (typeof SIGNALS)[number];

/** Ctrl-C (SIGINT), or being asked to end by SIGTERM or SIGHUP. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  /** 128 + the signal's number, as shells count: 130 for Ctrl-C. */
  readonly exitCode: number;

  constructor(signal: Signal) {
    super('Stopped.');
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** Standard output takes no more: its reader is gone (`marlin ... | head`), or its disk is full (`cause`). */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

/** npm passes a Ctrl-C on that the terminal has delivered already; only a later one is a second one. */
const SECOND_SIGNAL_MS = 500;

/**
 * Runs `work` with a signal that aborts on Ctrl-C (`Interrupted`) and when standard output takes no more (`OutputClosed`), so that it can tidy
 * up; a second Ctrl-C ends the process at once. Settles when standard output has taken everything.
 * Errors: those of `work`; `OutputClosed` with a cause when output was lost, not when its reader just went away.
 */
export async function interruptible<T>(streams: Streams, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let interruptedAt: number | null = null;
  let lost: Error | null = null;
  const onSignal = (name: NodeJS.Signals): void => {
    const reason = new Interrupted(SIGNALS.find((known) => known === name) ?? 'SIGTERM');
    if (interruptedAt !== null && performance.now() - interruptedAt > SECOND_SIGNAL_MS) process.exit(reason.exitCode);
    interruptedAt ??= performance.now();
    controller.abort(reason);
  };
  const onOutputError = (cause: NodeJS.ErrnoException): void => {
    if (cause.code !== 'EPIPE') lost ??= cause;
    controller.abort(new OutputClosed());
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  streams.stdout.on('error', onOutputError);
  streams.stderr.on('error', ignore); // remarks that nobody can read are no reason to stop
  try {
    const result = await work(controller.signal);
    await new Promise<void>((resolve) => streams.stdout.write('', () => resolve()));
    if (lost !== null) throw new OutputClosed('Standard output took no more.', { cause: lost });
    return result;
  } finally {
    // After a first Ctrl-C the process is about to end; were nobody listening, the second delivery of the same one would kill it.
    if (interruptedAt === null) for (const name of SIGNALS) process.off(name, onSignal);
    streams.stdout.off('error', onOutputError);
    streams.stderr.off('error', ignore);
  }
}

function ignore(): void {}

/** A pause in long work in which Ctrl-C is heard. Errors: the reason of the abort. */
export async function breathe(signal: AbortSignal): Promise<void> {
  await setImmediate();
  signal.throwIfAborted();
}
