// What `marlin bench gemm` finds out, as data: rows, means over layers, and the file they are kept in.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { errors } from '../base/errors.ts';

export interface GemmRow {
  readonly k: number;
  readonly n: number;
  readonly m: number;
  readonly group: number;
  readonly dtype: 'f16' | 'bf16';
  readonly kernel: string;
  readonly tiling: string;
  /** Of one product: the median. */
  readonly microseconds: number;
  /** Weights with scales, activations and outputs over that time. */
  readonly gigabytesPerSecond: number;
  readonly teraflops: number;
  /** cuBLAS fp16 in the same run; null without it. */
  readonly fp16Microseconds: number | null;
  /** A pure read of the packed weights, not in the cache, in the same run. */
  readonly readMicroseconds: number;
  /** The larger of that and the arithmetic at the rate of fp16 in the same run. */
  readonly idealMicroseconds: number;
  /** Norm-wise relative error over sampled outputs; null where one is no number. */
  readonly error: number | null;
  readonly ok: boolean;
}

export interface Mean {
  readonly m: number;
  /** Geometric means over the layers, of times over that of fp16; null without fp16. */
  readonly speedup: number | null;
  readonly idealSpeedup: number | null;
  /** Geometric mean of our time over the ideal one. */
  readonly timesIdeal: number;
  /** Of the best published kernel of each layer; null where some layer was not published. */
  readonly published: number | null;
}

export interface GemmResults {
  readonly what: 'gemm';
  readonly date: string;
  /** Null for the simulator, whose times mean nothing. */
  readonly machine: Readonly<Record<string, unknown>> | null;
  readonly fp16: { readonly name: string; readonly version: number; readonly teraflops: number } | null;
  readonly rows: readonly GemmRow[];
}

const rowSchema: z.ZodType<GemmRow> = z.object({
  k: z.number().positive(),
  n: z.number().positive(),
  m: z.number().positive(),
  group: z.number(),
  dtype: z.enum(['f16', 'bf16']),
  kernel: z.string(),
  tiling: z.string(),
  microseconds: z.number().positive(),
  gigabytesPerSecond: z.number(),
  teraflops: z.number(),
  fp16Microseconds: z.number().positive().nullable(),
  readMicroseconds: z.number().positive(),
  idealMicroseconds: z.number().positive(),
  error: z.number().nullable(),
  ok: z.boolean(),
});

const resultsSchema: z.ZodType<GemmResults> = z.object({
  what: z.literal('gemm'),
  date: z.string(),
  machine: z.record(z.string(), z.unknown()).nullable(),
  fp16: z.object({ name: z.string(), version: z.number(), teraflops: z.number() }).nullable(),
  rows: z.array(rowSchema).min(1),
});

/** Errors: 'file-not-found', 'file-unreadable', 'json-invalid'. */
export function readResults(file: string): GemmResults {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw missing ? errors.fileNotFound(file) : errors.fileUnreadable(file, error);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw errors.jsonInvalid(file, 'it is no JSON');
  }
  const parsed = resultsSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw errors.jsonInvalid(file, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

/** The rows of all; later ones take the place of earlier ones. What they have in common is the first's. */
export function joined(all: readonly GemmResults[]): GemmResults {
  const rows = new Map(
    all.flatMap((results) =>
      results.rows.map((row) => [`${row.k} ${row.n} ${row.m} ${row.group} ${row.dtype}`, row] as const),
    ),
  );
  return { ...all[0]!, rows: [...rows.values()] };
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** Of the rows whose results are right, for each number of tokens in ascending order. */
export function meansOf(
  rows: readonly GemmRow[],
  publishedSpeedup: (row: GemmRow) => number | null = () => null,
): readonly Mean[] {
  const right = rows.filter(({ ok }) => ok);
  const tokens = [...new Set(right.map(({ m }) => m))].toSorted((a, b) => a - b);
  return tokens.map((m) => {
    const some = right.filter((row) => row.m === m);
    const mean = (of: (row: GemmRow) => number | null): number | null => {
      const values = some.map(of);
      return values.includes(null) ? null : geometricMean(values.filter((value) => value !== null));
    };
    return {
      m,
      speedup: mean(speedupOf),
      idealSpeedup: mean((row) =>
        row.fp16Microseconds === null ? null : row.fp16Microseconds / row.idealMicroseconds,
      ),
      timesIdeal: geometricMean(some.map(timesIdeal)),
      published: mean(publishedSpeedup),
    };
  });
}

export const speedupOf = ({ fp16Microseconds, microseconds }: GemmRow): number | null =>
  fp16Microseconds === null ? null : fp16Microseconds / microseconds;

export const timesIdeal = ({ microseconds, idealMicroseconds }: GemmRow): number => microseconds / idealMicroseconds;
