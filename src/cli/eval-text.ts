// The text that marlin eval measures on: from a file to windows of tokens. Knows no weights.
import { readFileSync } from 'node:fs';
import { errors } from '../base/errors.ts';
import { reading } from '../formats/files.ts';
import { encodeDocuments, windows } from '../text/documents.ts';
import type { ModelFlags } from './flags.ts';
import type { ModelFolder } from './open.ts';
import { type Output, withProgress } from './output.ts';

export interface EvalFlags extends ModelFlags {
  readonly text: string;
  readonly windows?: number;
  readonly compare?: readonly string[];
}

/** Long enough for the context to help, short enough for every model; --context takes others. */
export const DEFAULT_CONTEXT = 1024;

/** Tokens of a window for models trained for `trained` tokens. */
export function contextOf(flags: EvalFlags, ...trained: readonly number[]): number {
  return flags.context ?? Math.min(DEFAULT_CONTEXT, ...trained);
}

/** Errors: `file-not-found`, `file-unreadable`, `text-not-utf8`. */
export function readText(file: string): string {
  const bytes = reading(file, () => readFileSync(file));
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw errors.textNotUtf8(file);
  }
}

/** The documents of a text as one stream of a model's tokens, until there are `enough`. Errors: `eval-tokens-missing` and those of `Tokenizer.encode`. */
export async function encodeText(
  folder: ModelFolder,
  text: string,
  output: Output,
  enough: number = Infinity,
): Promise<Uint32Array> {
  const defaults = folder.defaults.eosTokenIds;
  // The first of the model's end tokens is the end of a text; others end a turn.
  const eos = [...defaults, ...folder.config.eosTokenIds][0];
  if (eos === undefined) throw errors.evalTokensMissing(folder.path);
  return await withProgress(output, 'Encoding', 'documents', async (report) =>
    encodeDocuments(folder.tokenizer, text, folder.tokenizer.bosTokenId ?? eos, eos, report, enough),
  );
}

/** The windows that --windows asks for, at least one. Errors: `eval-text-short`. */
export function cutWindows(
  tokens: Uint32Array,
  context: number,
  flags: Pick<EvalFlags, 'text' | 'windows'>,
): readonly Uint32Array[] {
  const cut = [...windows(tokens, context)].slice(0, flags.windows ?? Infinity);
  if (cut.length === 0) throw errors.evalTextShort(flags.text, tokens.length, context);
  return cut;
}
