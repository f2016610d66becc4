// The folder of a quantized model around its tensors: appears complete or not at all, with config.json and the files engines read beside it.
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { errors } from '../base/errors.ts';
import { readJsonVerbatim, reading, writeJson, writing } from '../formats/files.ts';
import type { Json } from '../formats/quantization.ts';

/** What a model folder holds for this and other engines besides weights and config.json. */
const SIDE_FILES: readonly RegExp[] = [
  /^tokenizer\.(json|model)$/,
  /^(tokenizer|generation)_config\.json$/,
  /^(special_tokens_map|added_tokens|vocab)\.json$/,
  /^merges\.txt$/,
  /^chat_template\./,
  /^(LICENSE|NOTICE)/,
];

/** Errors: `output-exists` unless nothing or an empty folder is at `output`. */
export function refuseExisting(output: string): void {
  if (!existsSync(output)) return;
  const empty = reading(output, () => statSync(output).isDirectory() && readdirSync(output).length === 0);
  if (!empty) throw errors.outputExists(output);
}

/**
 * Lets `fill` write into a temporary folder beside `output` and gives it that name once `fill` is through; the parent must exist. When anything
 * fails the temporary folder is removed and `output` is as it was. Errors: `output-exists`, `output-unwritable`, those of `fill`.
 */
export async function makeFolder<T>(output: string, fill: (folder: string) => Promise<T>): Promise<T> {
  const target = resolve(output);
  refuseExisting(target);
  const temporary = `${target}.${randomBytes(4).toString('hex')}.partial`;
  writing(output, () => mkdirSync(temporary));
  try {
    const result = await fill(temporary);
    writing(output, () => {
      if (existsSync(target)) rmdirSync(target); // empty when looked at above; refuses if no longer
      renameSync(temporary, target);
    });
    return result;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/**
 * Writes into `folder` what belongs beside the weights: the config.json of the model in `input` with `quantization` as its `quantization_config`, and
 * copies of its other small files. Errors: `file-unreadable`, `output-unwritable`.
 */
export function writeSideFiles(input: string, folder: string, fields: Json): void {
  // compression_config is the older name of quantization_config.
  const { compression_config: _, ...config } = readJsonVerbatim(join(input, 'config.json'));
  writeJson(join(folder, 'config.json'), { ...config, ...fields });
  for (const name of readdirSync(input)) {
    if (!SIDE_FILES.some((pattern) => pattern.test(name))) continue;
    const bytes = reading(join(input, name), () => readFileSync(join(input, name)));
    writing(join(folder, name), () => writeFileSync(join(folder, name), bytes)); // not copyFile, which would copy "read-only" too
  }
}
