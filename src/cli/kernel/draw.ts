// marlin kernel draw: the layouts and fragments of a kernel, as text or as SVG files.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { writing } from '../../formats/files.ts';
import type { Entry } from '../../kernels/entry.ts';
import { path } from '../flags.ts';
import type { Output } from '../output.ts';
import type { Verb } from '../verb.ts';
import { writeWhole } from '../write.ts';
import { findEntry } from './pick.ts';

interface DrawFlags {
  readonly svg?: string;
}

function run(entries: readonly Entry[], name: string, { svg: folder }: DrawFlags, output: Output): unknown {
  const drawings = findEntry(entries, name).drawings();
  if (drawings.length === 0) output.text(`The kernel ${name} has no drawings.\n`);
  if (folder !== undefined && drawings.length > 0) writing(folder, () => mkdirSync(folder, { recursive: true }));
  return {
    kernel: name,
    drawings: drawings.map(({ title, text, svg }) => {
      const file = folder === undefined ? null : join(folder, `${slug(`${name} ${title}`)}.svg`);
      if (file === null) output.text(`${title}\n\n${text.trimEnd()}\n\n`);
      else {
        writeWhole(file, svg);
        output.text(`${title}: ${file}\n`);
      }
      return { title, text, file };
    }),
  };
}

/** 'A tile (swizzled)' as 'a-tile-swizzled'. */
function slug(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

export function drawVerb(entries: readonly Entry[]): Verb {
  return {
    name: 'draw',
    examples: ['marlin kernel draw dense16', 'marlin kernel draw dense16 --svg drawings'],
    define: (command: Command, action) =>
      command
        .description('draw the layouts and fragments of a kernel')
        .argument('<name>', 'a name from "marlin kernel list"')
        .option('--svg <folder>', 'write SVG files into this folder instead of text', path('--svg'))
        .action((name: string, flags: DrawFlags) => action((output) => run(entries, name, flags, output))),
  };
}
