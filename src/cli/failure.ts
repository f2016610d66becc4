// What a person, a script and the shell are told when a command fails: message and fix, one JSON object, an exit code.
import { styleText } from 'node:util';
import { CommanderError } from 'commander';
import { errors, MarlinError } from '../base/errors.ts';
import { Interrupted, OutputClosed } from './interrupt.ts';
import { type Output, printJson } from './output.ts';

/** Tells about an error and returns the exit code: 2 for what the user can mend, 130 for Ctrl-C, 1 for a bug. */
export function reportFailure(error: unknown, output: Output): number {
  if (error instanceof OutputClosed && error.cause === undefined) return 0;
  if (error instanceof OutputClosed) {
    // Where results cannot be printed, a JSON object cannot either.
    printProblem(errors.outputUnwritable('Standard output', error.cause), output);
    return 2;
  }
  if (error instanceof Interrupted) {
    const { message } = error;
    if (output.json) printJson(output, { error: { code: 'interrupted', message, fix: 'Run the command again.' } });
    else output.note(message);
    return error.exitCode;
  }
  const problem = error instanceof MarlinError ? error : errors.internal(messageOf(error));
  if (output.json) {
    const { code, message, fix } = problem;
    printJson(output, { error: { code, message, fix } });
  } else printProblem(problem, output);
  if (problem.code !== 'internal') return 2;
  // A bug: its stack belongs into the report.
  output.streams.stderr.write(`${error instanceof Error ? error.stack : ''}\n`);
  return 1;
}

/** Message and fix on standard error. */
export function printProblem(problem: MarlinError, output: Output): void {
  const { stderr } = output.streams;
  stderr.write(`${styleText('red', 'error', { stream: stderr })} ${problem.message} [${problem.code}]\n`);
  stderr.write(`${styleText('green', '  fix', { stream: stderr })} ${problem.fix}\n`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What is wrong with a command line of `parameters`, in the words of the catalogue. `verb`: the one it names ('kernel print'), if it is one of ours. */
export function usageError(error: CommanderError, parameters: readonly string[], verb: string | null): MarlinError {
  const what = error.message
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  switch (error.code) {
    case 'commander.excessArguments':
      return errors.commandInvalid(what, verb, 'Put quotes around a text with spaces. ');
    case 'commander.unknownOption': {
      const hint = 'If it is text and no flag, put -- in front of it, after all flags. ';
      return errors.commandInvalid(what, verb, /'-[^-]/.test(what) ? hint : '');
    }
    case 'commander.help':
      return errors.commandInvalid(
        `there is no help for ${parameters.slice(parameters.indexOf('help') + 1).join(' ')}`,
        verb,
      );
    default:
      return errors.commandInvalid(what, verb);
  }
}
