// The tensors of a model folder, written job by job into one safetensors file or several under an index. Knows nothing of what tensors mean.
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Checkpoint } from '../formats/checkpoint.ts';
import { byteLength } from '../formats/dtype.ts';
import { writeJson } from '../formats/files.ts';
import type { TensorInfo } from '../formats/safetensors.ts';
import { SafetensorsWriter, type TensorSpec } from '../formats/safetensors-writer.ts';

/** Tensors that are written together, so into one file. */
export interface ShardJob {
  /** What to show while it is worked on. */
  readonly label: string;
  readonly specs: readonly TensorSpec[];
  /** Writes every byte of every tensor of `specs`. */
  readonly write: (writer: SafetensorsWriter) => Promise<void>;
}

export interface ShardOptions {
  /** Jobs done, of how many, and the one being worked on. */
  readonly onProgress?: (done: number, total: number, label: string) => void;
  /** Most bytes of tensors in one file. */
  readonly shardBytes?: number;
}

/** Shards of a few GB are what download tools expect. */
const SHARD_BYTES = 5e9;
const COPY_BYTES = 2 ** 24;

/** Bytes of all tensors of `specs`. */
export function bytesOf(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, { dtype, shape }) => sum + byteLength(dtype, shape), 0);
}

/** Writes all shards and, if there are several, their index into `folder`. Errors: `output-unwritable`, those of the jobs. */
export async function writeShards(folder: string, jobs: readonly ShardJob[], options: ShardOptions): Promise<void> {
  const shards = splitShards(jobs, options.shardBytes ?? SHARD_BYTES);
  const weightMap: [string, string][] = [];
  let done = 0;
  for (const [index, shard] of shards.entries()) {
    const fileName = shardName(index, shards.length);
    using writer = SafetensorsWriter.create(
      join(folder, fileName),
      shard.flatMap((job) => job.specs),
    );
    for (const { label, specs, write } of shard) {
      options.onProgress?.(done, jobs.length, label);
      await write(writer);
      for (const spec of specs) weightMap.push([spec.name, fileName]);
      done++;
    }
    writer.commit();
  }
  if (shards.length > 1) {
    writeJson(join(folder, 'model.safetensors.index.json'), {
      metadata: { total_size: bytesOf(jobs.flatMap((job) => job.specs)) },
      weight_map: Object.fromEntries(weightMap),
    });
  }
  options.onProgress?.(done, jobs.length, 'model.safetensors');
}

function splitShards(jobs: readonly ShardJob[], limit: number): ShardJob[][] {
  const shards: ShardJob[][] = [];
  let shard: ShardJob[] = [];
  let filled = Infinity;
  for (const job of jobs) {
    const bytes = bytesOf(job.specs);
    if (filled + bytes > limit) {
      shards.push((shard = []));
      filled = 0;
    }
    shard.push(job);
    filled += bytes;
  }
  return shards;
}

function shardName(index: number, shards: number): string {
  const [number, of] = [index + 1, shards].map((n) => String(n).padStart(5, '0'));
  return shards === 1 ? 'model.safetensors' : `model-${number}-of-${of}.safetensors`;
}

/** Writes a tensor as it is stored, part by part. Errors: those of reading, `output-unwritable`; the signal's reason when aborted. */
export async function copyTensor(
  checkpoint: Checkpoint,
  info: TensorInfo,
  writer: SafetensorsWriter,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let start = 0; start < info.bytes; start += COPY_BYTES) {
    await letAbort(signal);
    const part = new Uint8Array(Math.min(COPY_BYTES, info.bytes - start));
    writer.write(info.name, checkpoint.read(info.name, part, start), start);
  }
}

/** Lets the event loop run, so that a Ctrl-C arrives, then stops if the work was aborted. */
export async function letAbort(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}
