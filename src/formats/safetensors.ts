// Reads safetensors files: the header is checked once, tensors are then read by position, never the whole file.
// Knows nothing of models, shards or quantization.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { z } from 'zod';
import { errors } from '../base/errors.ts';
import { byteLength, isDtype, type Dtype } from './dtype.ts';
import { firstIssue, reading } from './files.ts';

export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major; empty for a scalar. */
  readonly shape: readonly number[];
  /** Of the first byte, counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** In file order. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The free-form `__metadata__` entry. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** The 64-bit little-endian header length in front of the header. */
const PREFIX_BYTES = 8;
/** The limit of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;
/** One `read` call moves at most 2^31 - 1 bytes. */
const MAX_READ_BYTES = 2 ** 30;
/** A header needs 3 levels. */
const MAX_DEPTH = 64;

const size = z.int().nonnegative();
const entrySchema = z.object({ dtype: z.string(), shape: z.array(size), data_offsets: z.tuple([size, size]) });

/**
 * The length of the header that follows `prefix`, the first bytes (up to 8) of a file of `fileBytes` bytes.
 * Errors: `safetensors-truncated`, `safetensors-invalid`.
 */
export function parseHeaderLength(prefix: Uint8Array, fileBytes: number, path: string): number {
  if (prefix.length < PREFIX_BYTES) throw errors.safetensorsTruncated(path, PREFIX_BYTES, fileBytes);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw errors.safetensorsInvalid(path, `the header would be ${length} bytes long, more than ${MAX_HEADER_BYTES}`);
  }
  const end = PREFIX_BYTES + Number(length);
  if (end > fileBytes) throw errors.safetensorsTruncated(path, end, fileBytes);
  return Number(length);
}

/**
 * Checks and decodes a header. `header`: its JSON bytes, without the 8 bytes of length; `fileBytes`: size of the whole file; `path`: for messages.
 * The tensors must cover the data exactly: known dtypes, lengths that agree with the shapes, no overlap, no hole, nothing behind the last.
 * Errors: `safetensors-invalid`, `safetensors-tensor-invalid`, `safetensors-truncated`.
 */
export function parseHeader(header: Uint8Array, fileBytes: number, path: string): SafetensorsHeader {
  const dataStart = PREFIX_BYTES + header.length;
  let metadata: ReadonlyMap<string, string> = new Map();
  const tensors: TensorInfo[] = [];
  // Object.entries and Map keep a tensor called __proto__; bracket assignment on a plain object would lose it.
  for (const [name, entry] of Object.entries(parseObject(header, path))) {
    if (name === '__metadata__') metadata = parseMetadata(entry, path);
    else tensors.push(parseEntry(name, entry, dataStart, path));
  }
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  checkLayout(tensors, dataStart, fileBytes, path);
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), metadata };
}

function parseObject(header: Uint8Array, path: string): object {
  const text = decodeUtf8(header);
  if (text === null) throw errors.safetensorsInvalid(path, 'the header is not UTF-8');
  if (!text.startsWith('{')) throw errors.safetensorsInvalid(path, 'the header does not begin with {');
  let fault: string | null;
  let value: unknown = null;
  try {
    fault = structureFault(text);
    if (fault === null) value = JSON.parse(text);
  } catch (cause) {
    fault = `is not JSON (${cause instanceof Error ? cause.message : String(cause)})`;
  }
  if (fault !== null) throw errors.safetensorsInvalid(path, `the header ${fault}`);
  if (typeof value !== 'object' || value === null) throw errors.internal('a JSON text that begins with { is an object');
  return value;
}

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function parseMetadata(value: unknown, path: string): ReadonlyMap<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw errors.safetensorsInvalid(path, '__metadata__ is not an object');
  }
  return new Map(
    Object.entries(value).map(([key, text]: [string, unknown]) => {
      if (typeof text !== 'string') {
        throw errors.safetensorsInvalid(
          path,
          `__metadata__ holds something else than text under ${JSON.stringify(key)}`,
        );
      }
      return [key, text];
    }),
  );
}

function parseEntry(name: string, value: unknown, dataStart: number, path: string): TensorInfo {
  const parsed = entrySchema.safeParse(value);
  if (!parsed.success) throw errors.safetensorsTensorInvalid(path, name, firstIssue(parsed.error));
  const { dtype, shape, data_offsets: offsets } = parsed.data;
  const [begin, end] = offsets;
  if (!isDtype(dtype)) throw errors.safetensorsTensorInvalid(path, name, `its dtype ${dtype} is unknown`);
  const expected = byteLength(dtype, shape);
  if (!Number.isSafeInteger(expected)) {
    throw errors.safetensorsTensorInvalid(path, name, `its shape [${shape.join(', ')}] is too large`);
  }
  if (begin > end) throw errors.safetensorsTensorInvalid(path, name, `it begins at ${begin}, behind its end at ${end}`);
  if (end - begin !== expected) {
    const need = `${dtype} [${shape.join(', ')}] takes ${expected} bytes`;
    throw errors.safetensorsTensorInvalid(path, name, `${need}, its offsets span ${end - begin}`);
  }
  return { name, dtype, shape, offset: dataStart + begin, bytes: end - begin };
}

/** `tensors` in the order of their offsets. */
function checkLayout(tensors: readonly TensorInfo[], dataStart: number, fileBytes: number, path: string): void {
  let end = dataStart;
  for (const { name, offset, bytes } of tensors) {
    if (offset < end) throw errors.safetensorsTensorInvalid(path, name, 'it overlaps the tensor before it');
    if (offset > end) {
      throw errors.safetensorsTensorInvalid(path, name, `${offset - end} bytes before it belong to no tensor`);
    }
    end += bytes;
  }
  if (end > fileBytes) throw errors.safetensorsTruncated(path, end, fileBytes);
  if (end < fileBytes) throw errors.safetensorsInvalid(path, `its last ${fileBytes - end} bytes belong to no tensor`);
}

/**
 * What JSON.parse would let pass in `text`: a key twice in one object (it keeps the last, silently), or nesting so deep that it costs memory
 * without bound. Null if neither; `text` need not be well-formed.
 */
function structureFault(text: string): string | null {
  const scopes: Set<string>[] = [];
  let last = '""';
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '{' || char === '[') {
      if (scopes.push(new Set()) > MAX_DEPTH) return `is nested deeper than ${MAX_DEPTH} levels`;
    } else if (char === '}' || char === ']') {
      scopes.pop();
    } else if (char === '"') {
      const start = at++;
      while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
      last = text.slice(start, at + 1);
    } else if (char === ':') {
      const key = String(JSON.parse(last)); // "a" and "\u0061" are one key
      const scope = scopes.at(-1) ?? new Set();
      if (scope.has(key)) return `has the key ${JSON.stringify(key)} twice`;
      scope.add(key);
    }
  }
  return null;
}

/** An open file. `read` may be called in any order; dispose closes it. */
export class SafetensorsFile implements Disposable {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  private descriptor: number | null;

  private constructor(path: string, descriptor: number, header: SafetensorsHeader) {
    this.path = path;
    this.descriptor = descriptor;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
  }

  /** Opens `path` and checks its header. Errors: `file-not-found`, `file-unreadable` and those of `parseHeader`. */
  static open(path: string): SafetensorsFile {
    const descriptor = reading(path, () => openSync(path, 'r'));
    try {
      const fileBytes = fstatSync(descriptor).size;
      const prefix = readAt(descriptor, path, new Uint8Array(Math.min(PREFIX_BYTES, fileBytes)), 0);
      const header = new Uint8Array(parseHeaderLength(prefix, fileBytes, path));
      readAt(descriptor, path, header, PREFIX_BYTES);
      return new SafetensorsFile(path, descriptor, parseHeader(header, fileBytes, path));
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  /**
   * Bytes of a tensor of this file, from byte `start` of the tensor: as many as `into` holds (it may be a view of a SharedArrayBuffer), or without
   * `into` all the rest, in a new array. Returns the array it filled. Errors: `file-unreadable`, `safetensors-truncated`.
   */
  read(info: TensorInfo, into?: Uint8Array, start = 0): Uint8Array {
    const target = into ?? new Uint8Array(info.bytes - start);
    if (this.descriptor === null) throw errors.internal(`${this.path} is read after it was closed`);
    if (start < 0 || start + target.length > info.bytes) {
      throw errors.internal(
        `bytes ${start} to ${start + target.length} are read of ${info.name}, which has ${info.bytes}`,
      );
    }
    return readAt(this.descriptor, this.path, target, info.offset + start);
  }

  [Symbol.dispose](): void {
    if (this.descriptor !== null) closeSync(this.descriptor);
    this.descriptor = null;
  }
}

/** Fills `target` from `position` of the file; short reads are continued. */
function readAt(descriptor: number, path: string, target: Uint8Array, position: number): Uint8Array {
  for (let done = 0; done < target.length;) {
    const wanted = Math.min(target.length - done, MAX_READ_BYTES);
    const count = reading(path, () => readSync(descriptor, target, done, wanted, position + done));
    if (count === 0) throw errors.safetensorsTruncated(path, position + target.length, position + done);
    done += count;
  }
  return target;
}
