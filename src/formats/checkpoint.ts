// A model's tensors by name, whether in one safetensors file or in shards under an index. Knows nothing of what the tensors mean.
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join, win32 } from 'node:path';
import { z } from 'zod';
import { decodeBf16, decodeF16 } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import { objectSchema, reading, readJson } from './files.ts';
import { SafetensorsFile, type TensorInfo } from './safetensors.ts';

const INDEX_NAME = 'model.safetensors.index.json';
const SINGLE_NAME = 'model.safetensors';

// z.record would drop a tensor called __proto__; the entries are checked one by one instead.
const indexSchema = z.object({ weight_map: objectSchema });

/** The open files of a model. Dispose closes them. */
export class Checkpoint implements Disposable {
  /** As given to `open`. */
  readonly path: string;
  readonly files: readonly SafetensorsFile[];
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  private readonly home: ReadonlyMap<string, SafetensorsFile>;

  private constructor(path: string, files: readonly SafetensorsFile[], home: ReadonlyMap<string, SafetensorsFile>) {
    this.path = path;
    this.files = files;
    this.home = home;
    this.tensors = new Map([...home].map(([name, file]) => [name, file.tensors.get(name)!]));
  }

  /**
   * Opens a folder with `model.safetensors` (preferred, as in transformers) or `model.safetensors.index.json`, or one safetensors file.
   * Errors: `file-not-found`, `checkpoint-missing`, `json-invalid`, `shard-missing`, `tensor-missing` and those of `SafetensorsFile.open`.
   */
  static open(path: string): Checkpoint {
    if (!reading(path, () => statSync(path)).isDirectory()) return Checkpoint.single(path, path);
    const file = join(path, SINGLE_NAME);
    if (existsSync(file)) return Checkpoint.single(path, file);
    const index = join(path, INDEX_NAME);
    if (existsSync(index)) return Checkpoint.sharded(path, index);
    throw errors.checkpointMissing(path);
  }

  private static single(path: string, filePath: string): Checkpoint {
    const file = SafetensorsFile.open(filePath);
    return new Checkpoint(path, [file], new Map([...file.tensors.keys()].map((name) => [name, file])));
  }

  private static sharded(path: string, index: string): Checkpoint {
    using opened = new DisposableStack();
    const files = new Map<string, SafetensorsFile>();
    const home = new Map<string, SafetensorsFile>();
    for (const [tensor, fileName] of readWeightMap(index)) {
      let file = files.get(fileName);
      if (file === undefined) {
        const filePath = join(dirname(index), fileName);
        if (!existsSync(filePath)) throw errors.shardMissing(index, fileName);
        file = opened.use(SafetensorsFile.open(filePath));
        files.set(fileName, file);
      }
      if (!file.tensors.has(tensor)) throw errors.tensorMissing(file.path, tensor, []);
      home.set(tensor, file);
    }
    opened.move(); // from here on the checkpoint owns the files
    return new Checkpoint(path, [...files.values()], home);
  }

  /** Errors: `tensor-missing`, with the nearest names. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (info === undefined) throw errors.tensorMissing(this.path, name, nearest(name, this.tensors.keys()));
    return info;
  }

  /** The raw bytes of a tensor; `into` and `start` as in `SafetensorsFile.read`. Errors: `tensor-missing`, `file-unreadable`. */
  read(name: string, into?: Uint8Array, start?: number): Uint8Array {
    const info = this.info(name);
    return this.home.get(name)!.read(info, into, start);
  }

  /** All values of an F16, BF16 or F32 tensor, row-major. Errors: `tensor-missing`, `tensor-mismatch` for another dtype, `file-unreadable`. */
  readFloats(name: string): Float32Array {
    return decodeFloats(this.read(name), this.info(name), this.path);
  }

  [Symbol.dispose](): void {
    for (const file of this.files) file[Symbol.dispose]();
  }
}

/**
 * Values of raw little-endian `bytes` that belong to `info` (all of it or a part); `bytes` must start at a multiple of 4 of its buffer.
 * `path`: for messages. Errors: `tensor-mismatch` unless F16, BF16 or F32.
 */
export function decodeFloats(bytes: Uint8Array, info: TensorInfo, path: string): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes;
  if (info.dtype === 'F32') return new Float32Array(buffer, byteOffset, byteLength / 4).slice();
  if (info.dtype !== 'F16' && info.dtype !== 'BF16') {
    throw errors.tensorMismatch(path, info.name, 'F16, BF16 or F32', info.dtype);
  }
  const values = new Float32Array(byteLength / 2);
  (info.dtype === 'F16' ? decodeF16 : decodeBf16)(new Uint16Array(buffer, byteOffset, values.length), values);
  return values;
}

function readWeightMap(index: string): [tensor: string, file: string][] {
  return Object.entries(readJson(index, indexSchema).weight_map).map(([tensor, file]: [string, unknown]) => {
    if (typeof file !== 'string') throw errors.jsonInvalid(index, `weight_map.${tensor} is not a file name`);
    // A name from a download must not reach out of the folder: neither "../x", "/x" nor "C:\x".
    if (basename(file) !== file || win32.basename(file) !== file || !file.endsWith('.safetensors')) {
      throw errors.jsonInvalid(
        index,
        `weight_map.${tensor} is ${JSON.stringify(file)}, not the name of a safetensors file in this folder`,
      );
    }
    return [tensor, file];
  });
}

/** Up to three of `names` that share the longest beginning with `name`. */
function nearest(name: string, names: Iterable<string>): string[] {
  const shared = (other: string): number => {
    let length = 0;
    while (length < name.length && name[length] === other[length]) length++;
    return length;
  };
  return [...names]
    .map((other) => ({ other, length: shared(other) }))
    .filter(({ length }) => length > 0)
    .toSorted((a, b) => b.length - a.length)
    .slice(0, 3)
    .map(({ other }) => other);
}
