// The command line: a table of verbs, and what all of them share (--json, help with examples, exit codes).
import { Command, CommanderError } from 'commander';
import { errors } from '../base/errors.ts';
import { bench } from './bench.ts';
import { chat } from './chat.ts';
import { convert } from './convert.ts';
import { doctor } from './doctor.ts';
import { evaluate } from './eval.ts';
import { reportFailure, usageError } from './failure.ts';
import { generate } from './generate.ts';
import { inspect } from './inspect.ts';
import { interruptible } from './interrupt.ts';
import { kernel } from './kernel.ts';
import { createOutput, type Output, printJson, type Streams } from './output.ts';
import { quantize } from './quantize.ts';
import type { Verb } from './verb.ts';
import { packageVersion } from './version.ts';

export const verbs: readonly Verb[] = [generate, chat, quantize, convert, evaluate, inspect, kernel, bench, doctor];

const JSON_FLAG = ['--json', 'print one JSON object on standard output and nothing else there'] as const;

/** Runs one command line and returns the exit code: 0, 2 (the user can mend it), 130 (Ctrl-C), 1 (a bug, or what a verb says of its own failed checks). */
export async function main(
  parameters: readonly string[],
  streams: Streams = process,
  table: readonly Verb[] = verbs,
): Promise<number> {
  const end = parameters.indexOf('--');
  const json = parameters.slice(0, end < 0 ? undefined : end).includes('--json');
  const output = createOutput(streams, json);
  try {
    return await interruptible(streams, async (signal) => {
      try {
        return await runVerb(parameters, table, output, signal);
      } catch (error) {
        return reportFailure(error, output);
      }
    });
  } catch (error) {
    return reportFailure(error, output);
  }
}

async function runVerb(
  parameters: readonly string[],
  table: readonly Verb[],
  output: Output,
  signal: AbortSignal,
): Promise<number> {
  let exitCode = 0;
  let said = '';
  const program = new Command('marlin')
    .description('4-bit language models from TypeScript')
    .version(packageVersion())
    .option(...JSON_FLAG)
    .exitOverride()
    .configureOutput({ writeOut: (text) => void (said += text), writeErr: () => undefined })
    .helpCommand(true)
    .addHelpText('after', examplesText(table.map((verb) => verb.examples[0]!)));
  const add = (parent: Command, verb: Verb): Command => {
    const command = verb
      .define(parent.command(verb.name), async (work) => {
        const result = await work(output, signal);
        if (output.json) printJson(output, result);
        exitCode = failedChecks(result) ? (verb.failureCode ?? 2) : 0;
      })
      .option(...JSON_FLAG)
      .addHelpText('after', examplesText(verb.examples));
    for (const inner of verb.verbs ?? []) add(command, inner);
    return command;
  };
  for (const verb of table) add(program, verb);
  const words = parameters.filter((parameter) => parameter !== '--json');
  const path = pathOf(words, table);
  const name = path.length === 0 ? null : path.map((verb) => verb.name).join(' ');
  const inner = path.length === 0 ? table : path.at(-1)!.verbs;
  if (inner !== undefined && words.length === path.length) {
    if (output.json) throw errors.commandInvalid('it names no verb', name);
    path.reduce((command, verb) => command.commands.find((known) => known.name() === verb.name)!, program).outputHelp();
    output.text(said);
    return 2;
  }
  try {
    await program.parseAsync([...parameters], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw usageError(error, parameters, name);
    if (!output.json) output.text(said);
    else printJson(output, error.code === 'commander.version' ? { version: packageVersion() } : { help: said });
    return 0;
  }
}

/** The verbs that `words` begin with, each inside of the one before it. */
function pathOf([word, ...rest]: readonly string[], table: readonly Verb[]): readonly Verb[] {
  const verb = table.find(({ name }) => name === word);
  return verb === undefined ? [] : [verb, ...pathOf(rest, verb.verbs ?? [])];
}

function examplesText(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((example) => `  $ ${example}\n`).join('')}`;
}

function failedChecks(result: unknown): boolean {
  return typeof result === 'object' && result !== null && 'ok' in result && result.ok === false;
}
