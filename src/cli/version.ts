// The version of the package. Knows no verb.
import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** The version in package.json, which lies two folders up both in a checkout and in the package. */
export function packageVersion(): string {
  const json: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return z.object({ version: z.string() }).parse(json).version;
}
