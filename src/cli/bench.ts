// marlin bench: measurements on the GPU, and figures of them.
import type { Command } from 'commander';
import { gemmVerb } from './bench/gemm.ts';
import { plotVerb } from './bench/plot.ts';
import { tuneVerb } from './bench/tune.ts';
import type { Verb } from './verb.ts';

export const bench: Verb = {
  name: 'bench',
  examples: [
    'marlin bench gemm --simulate --shapes 128x64 --m 1,8',
    'marlin bench gemm --simulate --shapes 128x64 --m 8 --json',
  ],
  define: (command: Command) => command.description('measure the 4-bit product on the GPU, and draw what was measured'),
  verbs: [gemmVerb, tuneVerb, plotVerb],
};
