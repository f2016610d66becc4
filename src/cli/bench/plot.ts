// marlin bench plot: figures of kept results, as SVG files.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { figuresOf } from '../../bench/plot/figures.ts';
import { readPublished } from '../../bench/published.ts';
import { joined, readResults } from '../../bench/results.ts';
import { writing } from '../../formats/files.ts';
import { path } from '../flags.ts';
import type { Output } from '../output.ts';
import type { Verb } from '../verb.ts';
import { writeWhole } from '../write.ts';

function run(files: readonly string[], folder: string, output: Output): unknown {
  const results = joined(files.map((file) => readResults(file)));
  const figures = figuresOf(results, readPublished());
  writing(folder, () => mkdirSync(folder, { recursive: true }));
  const written = figures.map(({ name, svg }) => {
    const file = join(folder, `${name}.svg`);
    writeWhole(file, svg);
    output.text(`${file}\n`);
    return file;
  });
  return { figures: written };
}

export const plotVerb: Verb = {
  name: 'plot',
  examples: [
    'marlin bench gemm --simulate --shapes 128x64 --m 1,8 --output x.json && marlin bench plot x.json --svg figures',
  ],
  define: (command: Command, action) =>
    command
      .description('draw figures of results that "marlin bench gemm --output" kept')
      .argument('<results...>', 'JSON files of one machine')
      .option('--svg <folder>', 'where the figures are written', path('--svg'), '.')
      .action((files: readonly string[], { svg }: { readonly svg: string }) =>
        action((output) => run(files, svg, output)),
      ),
};
