// marlin kernel: the kernels of the catalogue, listed, printed, simulated, drawn and verified; and which one a product gets.
import type { Command } from 'commander';
import { catalogue } from '../kernels/catalogue.ts';
import type { Entry } from '../kernels/entry.ts';
import { drawVerb } from './kernel/draw.ts';
import { listVerb } from './kernel/list.ts';
import { planVerb } from './kernel/plan.ts';
import { printVerb } from './kernel/print.ts';
import { simulateVerb } from './kernel/simulate.ts';
import { verifyVerb } from './kernel/verify.ts';
import type { Verb } from './verb.ts';

/** The verb over other kernels than ours, for tests. */
export function kernelVerb(entries: readonly Entry[]): Verb {
  return {
    name: 'kernel',
    examples: ['marlin kernel list', 'marlin kernel verify --all --json'],
    define: (command: Command) =>
      command.description('list, print, simulate, draw and verify GPU kernels, and see which one a product gets'),
    verbs: [...[listVerb, printVerb, simulateVerb, drawVerb, verifyVerb].map((verb) => verb(entries)), planVerb],
  };
}

export const kernel: Verb = kernelVerb(catalogue);
