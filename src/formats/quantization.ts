// What a checkpoint says of its own quantization, in our words, and how a field of such a description is refused. Knows no format.
import { errors } from '../base/errors.ts';

export type QuantizationMethod = 'compressed-tensors' | 'gptq' | 'awq' | 'marlin';

export interface QuantizationConfig {
  readonly method: QuantizationMethod;
  /** Weights along K sharing a scale. */
  readonly group: number | 'channel';
  /** Whether every zero point is said to be 8. */
  readonly symmetric: boolean;
  /** Whether columns are said to be assigned to groups in activation order. What counts are the tensors: many files say so and are not. */
  readonly activationOrder: boolean;
  readonly storedZero: StoredZero;
  /**
   * Modules said to be left alone: names, or "re:" and a regular expression. For showing only: whether a module is quantized is decided by its
   * tensors (`isQuantized`), which cannot disagree with the file.
   */
  readonly ignore: readonly string[];
}

/**
 * What a stored zero point z means. `literal`: z. `minus-one`: z + 1, so 1..16. `minus-one-of-words`: 0x11111111 was subtracted from whole words of
 * eight, where the borrow of a true 0 reaches the next one, and is added back in the same way.
 */
export type StoredZero = 'literal' | 'minus-one' | 'minus-one-of-words';

export type Json = Readonly<Record<string, unknown>>;

/** `value` as a JSON object; null if it is none. */
export function object(value: unknown): Json | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : null;
}

export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

/** The fields of a description of one method, and what is said where one is refused. */
export class Description {
  readonly path: string;
  private readonly supported: string;

  /** `path`: of the file, for messages; `supported`: what to have instead. */
  constructor(path: string, supported: string) {
    this.path = path;
    this.supported = supported;
  }

  /** Refuses `found` unless it is one of `allowed`. Errors: `quantization-unsupported`. */
  only(field: string, found: unknown, ...allowed: readonly unknown[]): void {
    if (!allowed.map(shown).includes(shown(found))) this.refuse(field, found);
  }

  refuse(field: string, found: unknown): never {
    throw errors.quantizationUnsupported(this.path, field, shown(found), this.supported);
  }

  /** A group size: a count, or -1 for one group a channel. */
  group(field: string, found: unknown): number | 'channel' {
    if (found === -1) return 'channel';
    return isCount(found) ? found : this.refuse(field, found);
  }

  flag(field: string, found: unknown, otherwise: boolean): boolean {
    this.only(field, found, true, false, null, undefined);
    return typeof found === 'boolean' ? found : otherwise;
  }

  names(field: string, found: unknown): readonly string[] {
    const names: unknown = found ?? [];
    if (isStrings(names)) return names;
    throw errors.jsonInvalid(this.path, `quantization_config.${field} is not a list of names`);
  }
}

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing';
}

/** The first of several spellings of a field that is there; null counts as not there. */
export function either(json: Json, ...names: readonly string[]): unknown {
  for (const name of names) if (json[name] !== null && json[name] !== undefined) return json[name];
  return undefined;
}
