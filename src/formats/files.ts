// Small files with typed errors: JSON in, JSON out, and the words for what a failed read or write means. Knows no format.
import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { errors, MarlinError } from '../base/errors.ts';

/** Any JSON object. */
export const objectSchema: z.ZodType<Readonly<Record<string, unknown>>> = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'not a JSON object',
);

/** Runs `read`; a file-system failure becomes `file-not-found` or `file-unreadable` about `path`. */
export function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof MarlinError) throw cause;
    throw isMissing(cause) ? errors.fileNotFound(path) : errors.fileUnreadable(path, cause);
  }
}

/** Runs `write`; a file-system failure becomes `output-unwritable` about `path`. */
export function writing<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (cause) {
    if (cause instanceof MarlinError) throw cause;
    throw errors.outputUnwritable(path, cause);
  }
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
}

/** A JSON file, checked against `schema`. Errors: `file-not-found`, `file-unreadable`, `json-invalid`. */
export function readJson<T>(path: string, schema: z.ZodType<T>): T {
  const bytes = reading(path, () => readFileSync(path));
  return check(parseJson(bytes, path), schema, path);
}

function parseJson(bytes: Uint8Array, path: string, reviver?: (key: string, value: unknown) => unknown): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes), reviver);
  } catch (cause) {
    throw errors.jsonInvalid(path, cause instanceof Error ? cause.message : String(cause));
  }
}

declare global {
  interface JSON {
    /** ES2026; missing in TypeScript's library. */
    rawJSON(text: string): unknown;
  }
}

/**
 * A JSON object to be written again with changes: its numbers keep their spelling (10000.0, 1e-05), which readers in Python take for their type.
 * Not for calculating. Errors: `file-not-found`, `file-unreadable`, `json-invalid`.
 */
export function readJsonVerbatim(path: string): Readonly<Record<string, unknown>> {
  const bytes = reading(path, () => readFileSync(path));
  return check(parseJson(bytes, path, keepSpelling), objectSchema, path);
}

function keepSpelling(_key: string, value: unknown, context?: { source: string }): unknown {
  return typeof value === 'number' && context !== undefined ? JSON.rawJSON(context.source) : value;
}

/** `value` if it fits `schema`; otherwise `json-invalid`, naming the first field that does not fit. */
export function check<T>(value: unknown, schema: z.ZodType<T>, path: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw errors.jsonInvalid(path, firstIssue(result.error));
}

/** The first thing wrong, as "field: what"; for use inside another message. */
export function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0]!;
  const field = issue.path.map(String).join('.');
  return field === '' ? issue.message : `${field}: ${issue.message}`;
}

/** Writes `value` as indented JSON. Errors: `output-unwritable`. */
export function writeJson(path: string, value: unknown): void {
  writing(path, () => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`));
}
