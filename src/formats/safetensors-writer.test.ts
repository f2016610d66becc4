import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { byteLength, type Dtype } from './dtype.ts';
import { SafetensorsFile } from './safetensors.ts';
import { SafetensorsWriter, type TensorSpec } from './safetensors-writer.ts';

const root = mkdtempSync(join(tmpdir(), 'safetensors-writer-'));
after(() => rmSync(root, { recursive: true }));
let folder = root;
beforeEach(() => {
  folder = mkdtempSync(join(root, 'test-'));
});

const dtypes: readonly Dtype[] = ['BOOL', 'U8', 'F16', 'BF16', 'I32', 'F32', 'I64', 'F64', 'F8_E4M3', 'F4', 'F6_E2M3'];

const name = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
  { weight: 1, arbitrary: fc.constantFrom('__proto__', 'constructor', 'toString', '', 'a"\\\n', '\ud800', '0', '1') },
);
const spec: fc.Arbitrary<TensorSpec> = fc.record({
  name: name.filter((text) => text !== '__metadata__'),
  dtype: fc.constantFrom(...dtypes),
  shape: fc.array(fc.nat(4), { maxLength: 4 }),
});
const model = fc.record({
  specs: fc.uniqueArray(spec, { selector: (tensor) => tensor.name, maxLength: 8 }),
  metadata: fc.uniqueArray(fc.tuple(name, fc.string({ unit: 'binary' })), { selector: ([key]) => key, maxLength: 3 }),
  seed: fc.nat(),
  pieces: fc.integer({ min: 1, max: 4 }),
});

test('what is written, in any order and in pieces, is read back', () => {
  const path = join(folder, 'model.safetensors');
  fc.assert(
    fc.property(model, ({ specs, metadata, seed, pieces }) => {
      const bytesOf = (tensor: TensorSpec): Uint8Array =>
        Uint8Array.from(
          { length: byteLength(tensor.dtype, tensor.shape) },
          (_, i) => (seed + specs.indexOf(tensor) * 37 + i * 11) & 255,
        );
      using writer = SafetensorsWriter.create(path, specs, new Map(metadata));
      const writes = specs.flatMap((tensor) => {
        const bytes = bytesOf(tensor);
        const step = Math.max(1, Math.ceil(bytes.length / pieces));
        return Array.from({ length: Math.ceil(bytes.length / step) }, (_, i) => ({ tensor, start: i * step, bytes }));
      });
      writes.sort(
        (a, b) =>
          ((a.start * 7 + seed) % 5) - ((b.start * 7 + seed) % 5) || specs.indexOf(b.tensor) - specs.indexOf(a.tensor),
      );
      for (const { tensor, start, bytes } of writes) {
        writer.write(tensor.name, bytes.subarray(start, start + Math.ceil(bytes.length / pieces)), start);
      }
      writer.commit();

      using file = SafetensorsFile.open(path);
      assert.deepEqual(new Set(file.tensors.keys()), new Set(specs.map((tensor) => tensor.name)));
      assert.deepEqual(file.metadata, new Map(metadata));
      for (const tensor of specs) {
        const info = file.tensors.get(tensor.name)!;
        assert.equal(info.dtype, tensor.dtype);
        assert.deepEqual(info.shape, tensor.shape);
        assert.deepEqual(file.read(info), bytesOf(tensor));
      }
      assert.deepEqual(readdirSync(folder), ['model.safetensors']);
    }),
    { numRuns: 200 },
  );
});

describe('the layout', () => {
  test('header padded with spaces, data 8-byte aligned, every tensor aligned to its element, {"format":"pt"}', () => {
    const path = join(folder, 'model.safetensors');
    using writer = SafetensorsWriter.create(path, [
      { name: 'odd', dtype: 'U8', shape: [3] },
      { name: 'half', dtype: 'F16', shape: [5] },
      { name: 'long', dtype: 'I64', shape: [1] },
      { name: 'word', dtype: 'I32', shape: [1] },
    ]);
    for (const [tensor, bytes] of [
      ['odd', 3],
      ['half', 10],
      ['long', 8],
      ['word', 4],
    ] as const)
      writer.write(tensor, new Uint8Array(bytes));
    writer.commit();
    const bytes = readFileSync(path);
    const dataStart = 8 + Number(bytes.readBigUInt64LE());
    assert.equal(dataStart % 8, 0);
    const header = bytes.toString('utf8', 8, dataStart);
    assert.match(header, /^\{"__metadata__":\{"format":"pt"\},.*\} *$/);
    using file = SafetensorsFile.open(path);
    const sizes: Record<string, number> = { odd: 1, half: 2, long: 8, word: 4 };
    for (const info of file.tensors.values()) assert.equal(info.offset % sizes[info.name]!, 0, info.name);
  });
});

describe('nothing is lost', () => {
  const specs: readonly TensorSpec[] = [{ name: 'a', dtype: 'U8', shape: [4] }];

  test('before commit the old file stands; abort leaves it so, also twice and after commit', () => {
    const path = join(folder, 'model.safetensors');
    writeFileSync(path, 'old');
    const writer = SafetensorsWriter.create(path, specs);
    writer.write('a', Uint8Array.of(1, 2, 3, 4));
    assert.equal(readFileSync(path, 'utf8'), 'old');
    assert.equal(readdirSync(folder).length, 2);
    writer.abort();
    writer.abort();
    assert.deepEqual(readdirSync(folder), ['model.safetensors']);
    assert.equal(readFileSync(path, 'utf8'), 'old');

    const second = SafetensorsWriter.create(path, specs);
    second.write('a', Uint8Array.of(1, 2, 3, 4));
    second.commit();
    second.abort();
    using file = SafetensorsFile.open(path);
    assert.deepEqual([...file.read(file.tensors.get('a')!)], [1, 2, 3, 4]);
    assert.throws(() => second.write('a', Uint8Array.of(1)), { code: 'internal' });
    assert.throws(() => second.commit(), { code: 'internal' });
  });

  test('commit with bytes missing is refused, wherever they are missing', () => {
    const path = join(folder, 'model.safetensors');
    for (const [start, count] of [
      [0, 0],
      [0, 3],
      [1, 3],
    ] as const) {
      using writer = SafetensorsWriter.create(path, specs);
      writer.write('a', new Uint8Array(count), start);
      assert.throws(() => writer.commit(), { code: 'internal' });
    }
    using writer = SafetensorsWriter.create(path, specs);
    writer.write('a', new Uint8Array(1), 0);
    writer.write('a', new Uint8Array(1), 3);
    assert.throws(() => writer.commit(), { code: 'internal' });
    writer.write('a', new Uint8Array(3), 1); // overlaps what is there
    writer.commit();
    assert.deepEqual(readdirSync(folder), ['model.safetensors']);
  });

  test('writes out of bounds, unknown and double names are refused', () => {
    const path = join(folder, 'model.safetensors');
    using writer = SafetensorsWriter.create(path, specs);
    assert.throws(() => writer.write('a', new Uint8Array(5)), { code: 'internal' });
    assert.throws(() => writer.write('a', new Uint8Array(1), 4), { code: 'internal' });
    assert.throws(() => writer.write('a', new Uint8Array(1), -1), { code: 'internal' });
    assert.throws(() => writer.write('b', new Uint8Array(1)), { code: 'internal' });
    assert.throws(() => SafetensorsWriter.create(path, [...specs, ...specs]), { code: 'internal' });
    assert.throws(() => SafetensorsWriter.create(path, [{ ...specs[0]!, name: '__metadata__' }]), { code: 'internal' });
  });

  test('a folder that is not there', () => {
    const path = join(folder, 'nowhere', 'model.safetensors');
    assert.throws(() => SafetensorsWriter.create(path, specs), { code: 'output-unwritable' });
  });
});
