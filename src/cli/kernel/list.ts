// marlin kernel list: what there is, and what each kernel takes of a multiprocessor.
import type { Command } from 'commander';
import { MarlinError } from '../../base/errors.ts';
import { architecturesOf, assemble, ptxasArchitectures } from '../../kernels/assemble.ts';
import type { Entry } from '../../kernels/entry.ts';
import type { Program } from '../../ptx/program.ts';
import type { Output } from '../output.ts';
import { table } from '../table.ts';
import type { Verb } from '../verb.ts';

async function run(entries: readonly Entry[], output: Output, signal: AbortSignal): Promise<unknown> {
  const ptxas = (await ptxasArchitectures()) !== null;
  const kernels = await Promise.all(
    entries.map(async (entry) => {
      const examples = entry.examples();
      const { program } = examples[0]!;
      const { target, threads, cluster, sharedBytes } = program;
      return {
        name: entry.name,
        title: entry.title,
        target,
        archs: architecturesOf(program),
        threads,
        cluster,
        sharedBytes,
        registers: ptxas ? await registersOf(program, signal) : null,
        examples: examples.map(({ name }) => name),
      };
    }),
  );
  output.text(
    table(
      ['kernel', 'target', 'threads', 'shared bytes', 'registers', 'what it does'],
      kernels.map(({ name, target, threads, sharedBytes, registers, title }) => [
        name,
        target,
        threads,
        sharedBytes,
        registers ?? '-',
        title,
      ]),
    ),
  );
  if (!ptxas) output.note('Registers are told by ptxas, which is not on PATH.');
  return { kernels };
}

/** Null when this ptxas is too old for the kernel: a list says what it can. */
async function registersOf(program: Program, signal: AbortSignal): Promise<number | null> {
  try {
    return (await assemble(program, program.target, signal)).registers;
  } catch (error) {
    if (error instanceof MarlinError) return null;
    throw error;
  }
}

export function listVerb(entries: readonly Entry[]): Verb {
  return {
    name: 'list',
    examples: ['marlin kernel list', 'marlin kernel list --json'],
    define: (command: Command, action) =>
      command
        .description('list the kernels: threads, shared memory, registers')
        .action(() => action((output, signal) => run(entries, output, signal))),
  };
}
