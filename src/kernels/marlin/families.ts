// The kernels of the 4-bit product that a plan chooses among: one line each.
import type { Family } from './family.ts';
import { ampereFamily } from './ampere/family.ts';
import { simpleFamily } from './simple.ts';
import { streamFamily } from './stream/family.ts';
import { tileFamily } from './tile/family.ts';

export const families: readonly Family[] = [streamFamily, tileFamily, ampereFamily, simpleFamily];
