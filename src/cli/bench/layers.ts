// Which layers a bench verb measures: flags that several of them share.
import { type Command, Option } from 'commander';
import { errors } from '../../base/errors.ts';
import { defaultTokens, parseShapes } from '../../bench/shapes.ts';
import type { MatrixSize, Scheme } from '../../kernels/marlin/layout.ts';
import type { HalfType } from '../../kernels/marlin/pack.ts';
import { integer, word } from '../flags.ts';
import { groupSize } from '../kernel/plan.ts';

export interface LayerFlags {
  readonly shapes: readonly MatrixSize[];
  readonly m: readonly number[];
  readonly group: Scheme['group'];
  readonly dtype: HalfType;
  readonly gpu: number;
}

const MOST_TOKENS = 65_536;
const DEFAULT_SHAPES = 'llama-8b';

/** A parser of '1,2,4': ascending, each once. */
export function tokenCounts(value: string): readonly number[] {
  const counts = value.split(',').map(integer('--m', 1, MOST_TOKENS));
  return [...new Set(counts)].toSorted((a, b) => a - b);
}

/** A parser of --shapes. */
function shapes(value: string): readonly MatrixSize[] {
  if (value.trim() === '') throw errors.flagInvalid('--shapes', value, 'llama-8b, llama-70b, paper, baseline or K x N');
  return parseShapes(value);
}

export function layerOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--shapes <sets>',
        'llama-8b, llama-70b, paper, baseline, or K x N such as 4096x6144, with commas between',
      )
        .argParser(shapes)
        .default(parseShapes(DEFAULT_SHAPES), DEFAULT_SHAPES),
    )
    .addOption(
      new Option('--m <counts>', 'numbers of tokens, with commas between')
        .argParser(tokenCounts)
        .default(defaultTokens, defaultTokens.join(',')),
    )
    .option('--group <weights>', 'weights that share a scale: 32, 64 or 128', groupSize, 128)
    .option('--dtype <type>', 'activations: f16 or bf16', word<HalfType>('--dtype', ['f16', 'bf16']), 'f16')
    .option('--gpu <index>', 'which GPU', integer('--gpu', 0, 255), 0);
}
