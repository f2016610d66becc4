// Writes safetensors files in any order of tensors, beside the target first, so that a reader never sees half a file. Knows nothing of models.
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { errors } from '../base/errors.ts';
import { bitsOf, byteLength, type Dtype } from './dtype.ts';
import { writing } from './files.ts';

export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** Where a tensor lies in the file, and the byte ranges of it written so far (sorted, disjoint, not touching). */
interface Slot {
  readonly offset: number;
  readonly bytes: number;
  written: readonly Range[];
}

interface Range {
  readonly start: number;
  readonly end: number;
}

const ALIGNMENT = 8;
const MAX_WRITE_BYTES = 2 ** 30;

/** A file in the making: `create`, `write` every byte of every tensor, then `commit`; `abort` (or leaving a `using` scope) drops it. */
export class SafetensorsWriter implements Disposable {
  readonly path: string;
  private readonly temporary: string;
  private readonly slots: ReadonlyMap<string, Slot>;
  private descriptor: number | null;

  private constructor(path: string, temporary: string, slots: ReadonlyMap<string, Slot>, descriptor: number) {
    this.path = path;
    this.temporary = temporary;
    this.slots = slots;
    this.descriptor = descriptor;
  }

  /**
   * Starts the file `path` under a temporary name in the same folder. Tensors are laid out widest elements first, so that every one is aligned to
   * its element. `metadata` goes to `__metadata__`; readers in Python insist on its `format`. Errors: `output-unwritable`.
   */
  static create(
    path: string,
    specs: readonly TensorSpec[],
    metadata: ReadonlyMap<string, string> = new Map([['format', 'pt']]),
  ): SafetensorsWriter {
    const { header, slots } = layOut(specs, metadata);
    const temporary = `${path}.${randomBytes(4).toString('hex')}.partial`;
    const descriptor = writing(path, () => openSync(temporary, 'wx'));
    const writer = new SafetensorsWriter(path, temporary, slots, descriptor);
    try {
      writer.writeAt(header, 0);
    } catch (error) {
      writer.abort();
      throw error;
    }
    return writer;
  }

  /** Writes `bytes` at byte `start` of the tensor `name`. Errors: `output-unwritable`. */
  write(name: string, bytes: Uint8Array, start = 0): void {
    const slot = this.slots.get(name);
    if (slot === undefined) throw errors.internal(`${this.path} was not created with a tensor ${name}`);
    const end = start + bytes.length;
    if (start < 0 || end > slot.bytes) {
      throw errors.internal(`bytes ${start} to ${end} are written to ${name}, which has ${slot.bytes}`);
    }
    this.writeAt(bytes, slot.offset + start);
    slot.written = withRange(slot.written, { start, end });
  }

  /** Makes the file durable and gives it its name, replacing what was there. Every byte must have been written. Errors: `output-unwritable`. */
  commit(): void {
    const descriptor = this.open();
    for (const [name, { bytes, written }] of this.slots) {
      const whole = bytes === 0 || (written.length === 1 && written[0]!.end - written[0]!.start === bytes);
      if (!whole) throw errors.internal(`${this.path} is committed before all of ${name} was written`);
    }
    writing(this.path, () => {
      fsyncSync(descriptor);
      this.close();
      renameSync(this.temporary, this.path);
    });
  }

  /** Removes the unfinished file; does nothing after `commit` or a second time. */
  abort(): void {
    if (this.descriptor === null) return;
    this.close();
    rmSync(this.temporary, { force: true });
  }

  [Symbol.dispose](): void {
    this.abort();
  }

  private writeAt(bytes: Uint8Array, position: number): void {
    const descriptor = this.open();
    writing(this.path, () => {
      for (let done = 0; done < bytes.length;) {
        done += writeSync(descriptor, bytes, done, Math.min(bytes.length - done, MAX_WRITE_BYTES), position + done);
      }
    });
  }

  private open(): number {
    if (this.descriptor === null) throw errors.internal(`${this.path} is written after it was finished`);
    return this.descriptor;
  }

  private close(): void {
    const descriptor = this.open();
    this.descriptor = null;
    closeSync(descriptor);
  }
}

function layOut(
  specs: readonly TensorSpec[],
  metadata: ReadonlyMap<string, string>,
): { header: Uint8Array; slots: Map<string, Slot> } {
  const entries = metadata.size === 0 ? [] : [`"__metadata__":{${[...metadata].map(member).join(',')}}`];
  const places = new Map<string, Range>();
  let end = 0;
  for (const { name, dtype, shape } of specs.toSorted((a, b) => bitsOf(b.dtype) - bitsOf(a.dtype))) {
    if (places.has(name) || name === '__metadata__')
      throw errors.internal(`a tensor ${name} is written twice or reserved`);
    const start = end;
    end += byteLength(dtype, shape);
    if (!Number.isSafeInteger(end)) throw errors.internal(`the tensor ${name} is too large for a file`);
    places.set(name, { start, end });
    entries.push(member([name, { dtype, shape, data_offsets: [start, end] }]));
  }
  const json = Buffer.from(`{${entries.join(',')}}`);
  const header = Buffer.alloc(Math.ceil((8 + json.length) / ALIGNMENT) * ALIGNMENT, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  const slots = new Map<string, Slot>();
  for (const [name, place] of places) {
    slots.set(name, { offset: header.length + place.start, bytes: place.end - place.start, written: [] });
  }
  return { header, slots };
}

/** One `"key":value` of a JSON object, spelled here because a plain object cannot hold the key __proto__. */
function member([key, value]: readonly [string, unknown]): string {
  return `${JSON.stringify(key)}:${JSON.stringify(value)}`;
}

/** `ranges` (sorted, disjoint, not touching) with `added` merged in. */
function withRange(ranges: readonly Range[], added: Range): readonly Range[] {
  if (added.start === added.end) return ranges;
  const before = ranges.filter((range) => range.end < added.start);
  const after = ranges.filter((range) => range.start > added.end);
  const touching = ranges.slice(before.length, ranges.length - after.length);
  const start = Math.min(added.start, touching[0]?.start ?? added.start);
  const end = Math.max(added.end, touching.at(-1)?.end ?? added.end);
  return [...before, { start, end }, ...after];
}
