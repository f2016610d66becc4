// marlin kernel print: a kernel's PTX.
import type { Command } from 'commander';
import { errors } from '../../base/errors.ts';
import { architectures, architecturesOf } from '../../kernels/assemble.ts';
import type { Entry } from '../../kernels/entry.ts';
import { print } from '../../ptx/print.ts';
import type { Target } from '../../ptx/program.ts';
import { word } from '../flags.ts';
import type { Output } from '../output.ts';
import type { Verb } from '../verb.ts';
import { findEntry, findExamples } from './pick.ts';

interface PrintFlags {
  readonly arch?: Target;
  readonly example?: string;
  readonly lines?: true;
}

function run(entries: readonly Entry[], name: string, flags: PrintFlags, output: Output): unknown {
  const { name: example, program } = findExamples(findEntry(entries, name), flags.example)[0]!;
  const archs = architecturesOf(program);
  const arch = flags.arch ?? program.target;
  if (flags.arch !== undefined && !archs.includes(flags.arch)) throw errors.kernelArchUnsupported(name, arch, archs);
  const ptx = print(program, { arch, lines: flags.lines === true });
  output.text(ptx);
  return { kernel: name, example, arch, ptx };
}

export function printVerb(entries: readonly Entry[]): Verb {
  return {
    name: 'print',
    examples: ['marlin kernel print vector-add', 'marlin kernel print dense16 --arch sm_90a --lines'],
    define: (command: Command, action) =>
      command
        .description('print the PTX of a kernel')
        .argument('<name>', 'a name from "marlin kernel list"')
        .option(
          '--arch <arch>',
          `${architectures.join(', ')} (default: the least it runs on)`,
          word('--arch', architectures),
        )
        .option('--example <name>', 'the shape to print it for (default: its first example)')
        .option('--lines', 'name the lines of its TypeScript, for profilers')
        .action((name: string, flags: PrintFlags) => action((output) => run(entries, name, flags, output))),
  };
}
