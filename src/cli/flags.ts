// Flags that several verbs share, and how their values are checked. Every value from outside becomes typed here or is refused.
import { fileURLToPath } from 'node:url';
import { type Command, Option } from 'commander';
import { errors } from '../base/errors.ts';
import type { GenerationDefaults } from '../formats/config.ts';
import type { DeviceName } from '../model/language-model.ts';
import type { SamplingParameters } from '../model/sampling.ts';

/** The 4-bit model that comes with the package. */
export const embeddedModel: string = fileURLToPath(new URL('../../models/storyteller-29m-w4', import.meta.url));

/** A parser of whole numbers from `low` to `high`. */
export function integer(flag: string, low: number, high: number = Number.MAX_SAFE_INTEGER): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (value.trim() !== '' && Number.isSafeInteger(number) && number >= low && number <= high) return number;
    const unbounded = high === Number.MAX_SAFE_INTEGER && !(number > high);
    const expected = unbounded ? `a whole number of at least ${low}` : `a whole number from ${low} to ${high}`;
    throw errors.flagInvalid(flag, value, expected);
  };
}

/** A parser of numbers from `low` to `high`; `low` itself is refused when `open`. */
export function decimal(flag: string, low: number, high: number, open = false): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (value.trim() !== '' && number <= high && (open ? number > low : number >= low)) return number;
    throw errors.flagInvalid(
      flag,
      value,
      open ? `a number above ${low} and up to ${high}` : `a number from ${low} to ${high}`,
    );
  };
}

/** A parser of one of a few words. */
export function word<W extends string>(flag: string, words: readonly W[]): (value: string) => W {
  return (value) => {
    const found = words.find((w) => w === value);
    if (found === undefined) throw errors.flagInvalid(flag, value, words.join(', ').replace(/, ([^,]*)$/, ' or $1'));
    return found;
  };
}

/** A parser of paths: only the empty one is refused, which a forgotten shell variable leaves behind. */
export function path(flag: string): (value: string) => string {
  return (value) => {
    if (value.trim() === '') throw errors.pathEmpty(flag);
    return value;
  };
}

export interface ModelFlags {
  readonly model: string;
  readonly device: DeviceName;
  readonly threads?: number;
  readonly context?: number;
  readonly activationBits?: 8 | 16;
}

/** --model, --device, --threads, --context, --activation-bits. `context`: what --context means to the verb, and its least value. */
export function withModelFlags(
  command: Command,
  context: { readonly meaning: string; readonly least: number },
): Command {
  return command
    .addOption(
      new Option('-m, --model <dir>', 'folder of a model: config.json, safetensors, tokenizer.json')
        .default(embeddedModel, 'a small model that comes along')
        .argParser(path('--model')),
    )
    .addOption(
      new Option('--device <name>', 'auto, cpu or cuda')
        .default('auto', 'auto')
        .argParser(word<DeviceName>('--device', ['auto', 'cpu', 'cuda'])),
    )
    .option('--threads <n>', 'CPU threads (default: one a core, at most 16)', integer('--threads', 1, 256))
    .option('--context <n>', context.meaning, integer('--context', context.least))
    .option(
      '--activation-bits <n>',
      'rounding of activations for 4-bit weights on the CPU: 8 (fast) or 16 (exact) (default: 8)',
      activationBits,
    );
}

function activationBits(value: string): 8 | 16 {
  return word('--activation-bits', ['8', '16'])(value) === '8' ? 8 : 16;
}

export interface SamplingFlags {
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly seed?: number;
  readonly maxTokens: number;
}

/** --max-tokens, --temperature, --top-k, --top-p, --min-p, --repetition-penalty, --seed */
export function withSamplingFlags(command: Command, maxTokens: number): Command {
  return command
    .option('-n, --max-tokens <n>', 'most tokens to make', integer('--max-tokens', 1), maxTokens)
    .option('-t, --temperature <t>', 'randomness; 0 always takes the likeliest token', decimal('--temperature', 0, 100))
    .option('--top-k <n>', 'choose among the n likeliest tokens; 0: all', integer('--top-k', 0))
    .option(
      '--top-p <p>',
      'choose among the likeliest tokens that together have this probability; 1: all',
      decimal('--top-p', 0, 1, true),
    )
    .option('--min-p <p>', 'drop tokens less likely than p times the likeliest; 0: none', decimal('--min-p', 0, 1))
    .option(
      '--repetition-penalty <x>',
      'make tokens that occurred less likely; 1: off',
      decimal('--repetition-penalty', 0, 100, true),
    )
    .option('-s, --seed <n>', 'the same seed gives the same text (default: a new one each time)', integer('--seed', 0))
    .addHelpText(
      'after',
      "\nSampling flags that are not given are as the model's generation_config.json says, else off.",
    );
}

/** What the flags say, else what the model's authors chose, else plain sampling. */
export function samplingParameters(flags: SamplingFlags, defaults: GenerationDefaults): SamplingParameters {
  const temperature = defaults.doSample === false ? 0 : (defaults.temperature ?? 1);
  return {
    temperature: flags.temperature ?? temperature,
    topK: flags.topK ?? defaults.topK ?? 0,
    topP: flags.topP ?? defaults.topP ?? 1,
    minP: flags.minP ?? defaults.minP ?? 0,
    repetitionPenalty: flags.repetitionPenalty ?? defaults.repetitionPenalty ?? 1,
  };
}

/** A seed to begin with when the user names none. */
export function freshSeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}
