// Which candidate was measured to be the best for a shape on a model of GPU: tables that come with the package, and the user's own in the cache folder.
// Knows no kernel and no device.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { cacheFolder } from '../../cuda/cache.ts';
import type { Problem } from './family.ts';
import type { Scheme } from './layout.ts';
import type { HalfType } from './pack.ts';
import type { Measured } from './plan.ts';

export interface TunedRow {
  readonly n: number;
  readonly k: number;
  readonly group: Scheme['group'];
  readonly zeroPoints: boolean;
  readonly type: HalfType;
  /** The largest number of tokens of the bucket. */
  readonly tokens: number;
  readonly kernel: string;
  readonly tiling: string;
  readonly microseconds: number;
}

export interface TunedTable {
  readonly gpu: string;
  readonly rows: readonly TunedRow[];
}

const rowSchema: z.ZodType<TunedRow> = z.object({
  n: z.int().positive(),
  k: z.int().positive(),
  group: z.union([z.literal(32), z.literal(64), z.literal(128)]),
  zeroPoints: z.boolean(),
  type: z.enum(['f16', 'bf16']),
  tokens: z.int().positive(),
  kernel: z.string(),
  tiling: z.string(),
  microseconds: z.number().positive(),
});
const tableSchema: z.ZodType<TunedTable> = z.object({ gpu: z.string(), rows: z.array(rowSchema) });

/** Numbers of tokens that share a measurement, by the largest of them: one, steps of 8 to 64, then powers of two. */
export function bucketOf(tokens: number): number {
  if (tokens === 1) return 1;
  return tokens <= 64 ? 8 * Math.ceil(tokens / 8) : 2 ** Math.ceil(Math.log2(tokens));
}

const keyOf = ({
  n,
  k,
  group,
  zeroPoints,
  type,
  tokens,
}: Omit<TunedRow, 'kernel' | 'tiling' | 'microseconds'>): string => [n, k, group, zeroPoints, type, tokens].join(' ');

/** For the planner; rows of later tables win. */
export function measuredBy(tables: readonly TunedTable[]): Measured {
  const rows = new Map(tables.flatMap((table) => table.rows.map((row) => [keyOf(row), row] as const)));
  return ({ n, k, m, scheme: { group, zeroPoints }, type }: Problem) =>
    rows.get(keyOf({ n, k, group, zeroPoints, type, tokens: bucketOf(m) })) ?? null;
}

/** The rows of `older` with those of `newer` in their places. */
export function merged(older: TunedTable | null, newer: TunedTable): TunedTable {
  const rows = new Map([...(older?.rows ?? []), ...newer.rows].map((row) => [keyOf(row), row] as const));
  return { gpu: newer.gpu, rows: [...rows.values()] };
}

const SUBFOLDER = 'tuned';
/** Tables that come along: beside this file. */
const COMMITTED = join(import.meta.dirname, 'tuned');

/** 'NVIDIA H200' as 'nvidia-h200.json'. */
export const fileName = (gpu: string): string => `${gpu.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.json`;

/** What is known of a GPU: what comes along, then the user's own. What cannot be read is as if it were not there. */
export function tunedTables(
  gpu: string,
  folders: readonly (string | null)[] = [COMMITTED, userFolder()],
): readonly TunedTable[] {
  return folders
    .map((folder) => (folder === null ? null : readTable(folder, gpu)))
    .filter((table) => table !== null)
    .filter((table) => table.gpu === gpu);
}

function userFolder(): string | null {
  const folder = cacheFolder();
  return folder === null ? null : join(folder, SUBFOLDER);
}

function readTable(folder: string, gpu: string): TunedTable | null {
  try {
    if (!readdirSync(folder).includes(fileName(gpu))) return null;
    return tableSchema.parse(JSON.parse(readFileSync(join(folder, fileName(gpu)), 'utf8')));
  } catch {
    return null;
  }
}

/** Keeps a table, with the rows that were there; says where, or null if it could not. A reader sees all of it or nothing. */
export function keepTable(table: TunedTable, folder: string | null = userFolder()): string | null {
  if (folder === null) return null;
  const file = join(folder, fileName(table.gpu));
  const temporary = `${file}.${randomUUID()}.tmp`;
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(temporary, `${JSON.stringify(merged(readTable(folder, table.gpu), table), null, 2)}\n`, {
      flag: 'wx',
    });
    renameSync(temporary, file);
    return file;
  } catch {
    rmQuietly(temporary);
    return null;
  }
}

function rmQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The folder is not ours to write: then there is nothing to remove either.
  }
}
