// Files of results: there complete or not at all.
import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { writing } from '../formats/files.ts';

/** Errors: `output-unwritable`. */
export function writeWhole(file: string, text: string): void {
  const temporary = `${file}.${randomBytes(4).toString('hex')}.partial`;
  writing(file, () => {
    try {
      writeFileSync(temporary, text);
      renameSync(temporary, file);
    } finally {
      rmSync(temporary, { force: true });
    }
  });
}
