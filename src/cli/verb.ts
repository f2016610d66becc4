// The form of a verb: how it is declared, so that main.ts is a table of them.
import type { Command } from 'commander';
import type { Output } from './output.ts';

/** What a verb does: prints for people as it goes; what comes of it is the object that --json prints, with `ok: false` if a check failed. */
export type Work = (output: Output, signal: AbortSignal) => unknown;

export interface Verb {
  readonly name: string;
  /** Shown by --help; each is run by a test. */
  readonly examples: readonly string[];
  /** Adds description, arguments and flags; hands what is to be done to `action`. */
  define(command: Command, action: (work: Work) => Promise<void>): Command;
  /** The exit code after `ok: false`; default 2. */
  readonly failureCode?: 1 | 2;
  /** Verbs inside of this one, which then does nothing by itself: `marlin kernel print`. */
  readonly verbs?: readonly Verb[];
}
