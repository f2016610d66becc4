// Opens what a verb that runs a model needs: first the small files, which tell most mistakes at once, then the weights.
import { statSync } from 'node:fs';
import { errors } from '../base/errors.ts';
import {
  type GenerationDefaults,
  type ModelConfig,
  readGenerationDefaults,
  readModelConfig,
} from '../formats/config.ts';
import { reading } from '../formats/files.ts';
import { type LanguageModel, loadModel } from '../model/language-model.ts';
import { Tokenizer } from '../text/tokenizer.ts';
import type { ModelFlags } from './flags.ts';
import { type Output, withProgress } from './output.ts';

/** The small files of a model folder. */
export interface ModelFolder {
  readonly path: string;
  readonly config: ModelConfig;
  readonly defaults: GenerationDefaults;
  readonly tokenizer: Tokenizer;
}

/** A network with the tokenizer that belongs to it. */
export type TextModel = LanguageModel & { readonly tokenizer: Tokenizer };

/** Errors: `file-not-found`, `not-a-folder`, those of `readModelConfig`, `readGenerationDefaults` and `Tokenizer.load`. */
export function openFolder(path: string): ModelFolder {
  if (!reading(path, () => statSync(path)).isDirectory()) throw errors.notAFolder(path);
  const config = readModelConfig(path);
  return { path, config, defaults: readGenerationDefaults(path), tokenizer: Tokenizer.load(path) };
}

/** Loads the weights, with room for sequences of `context` tokens. Errors: those of `loadModel`. */
export async function openWeights(
  folder: ModelFolder,
  flags: ModelFlags,
  context: number,
  output: Output,
): Promise<TextModel> {
  const { threads, activationBits, device } = flags;
  const model = await withProgress(output, 'Loading', 'layers', async (onProgress) =>
    loadModel(folder.path, {
      device,
      context,
      ...(threads === undefined ? {} : { threads }),
      ...(activationBits === undefined ? {} : { activationBits }),
      onProgress,
    }),
  );
  return { ...model, tokenizer: folder.tokenizer };
}
