import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { MarlinError } from '../base/errors.ts';
import { parseHeader, parseHeaderLength, SafetensorsFile } from './safetensors.ts';

const folder = mkdtempSync(join(tmpdir(), 'safetensors-'));
after(() => rmSync(folder, { recursive: true }));

/** A file made by hand, not by our writer: the length, the header as given, `dataBytes` bytes counting up. */
function fileBytes(header: string | Uint8Array, dataBytes: number, declaredLength?: bigint): Buffer {
  const json = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(declaredLength ?? BigInt(json.length));
  return Buffer.concat([prefix, json, Buffer.from(Array.from({ length: dataBytes }, (_, i) => i & 255))]);
}

function put(bytes: Uint8Array): string {
  const path = join(folder, 'model.safetensors');
  writeFileSync(path, bytes);
  return path;
}

/** Opens and reads everything; the code of the error, or null. Anything but a MarlinError fails the test. */
function codeOf(bytes: Uint8Array): { code: string | null; message: string } {
  try {
    using file = SafetensorsFile.open(put(bytes));
    for (const info of file.tensors.values()) assert.equal(file.read(info).length, info.bytes);
    return { code: null, message: '' };
  } catch (error) {
    assert.ok(error instanceof MarlinError, String(error));
    return { code: error.code, message: error.message };
  }
}

const tensor = (dtype: string, shape: readonly unknown[], begin: number, end: number): string =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] });

const SMALL =
  `{"__metadata__":{"format":"pt"},"a":${tensor('F16', [2, 3], 0, 12)},` +
  `"__proto__":${tensor('I64', [], 12, 20)},"none":${tensor('U8', [0, 5], 20, 20)},"c":${tensor('U8', [4], 20, 24)}}`;

describe('a good file', () => {
  test('every tensor with its place, rank 0, zero size, __proto__ and metadata', () => {
    using file = SafetensorsFile.open(put(fileBytes(SMALL, 24)));
    const start = 8 + SMALL.length;
    assert.deepEqual(
      [...file.tensors.values()],
      [
        { name: 'a', dtype: 'F16', shape: [2, 3], offset: start, bytes: 12 },
        { name: '__proto__', dtype: 'I64', shape: [], offset: start + 12, bytes: 8 },
        { name: 'none', dtype: 'U8', shape: [0, 5], offset: start + 20, bytes: 0 },
        { name: 'c', dtype: 'U8', shape: [4], offset: start + 20, bytes: 4 },
      ],
    );
    assert.deepEqual([...file.metadata], [['format', 'pt']]);
    assert.deepEqual([...file.read(file.tensors.get('__proto__')!)], [12, 13, 14, 15, 16, 17, 18, 19]);
    assert.deepEqual([...file.read(file.tensors.get('none')!)], []);
  });

  test('a part of a tensor, into a given array', () => {
    using file = SafetensorsFile.open(put(fileBytes(SMALL, 24)));
    const a = file.tensors.get('a')!;
    const into = new Uint8Array(3);
    assert.equal(file.read(a, into, 5), into);
    assert.deepEqual([...into], [5, 6, 7]);
    assert.deepEqual([...file.read(a, undefined, 10)], [10, 11]);
    for (const [bytes, from] of [
      [3, 10],
      [1, -1],
      [13, 0],
    ] as const) {
      assert.throws(() => file.read(a, new Uint8Array(bytes), from), { code: 'internal' });
    }
  });

  test('straight into shared memory', () => {
    using file = SafetensorsFile.open(put(fileBytes(SMALL, 24)));
    const shared = new Uint8Array(new SharedArrayBuffer(16));
    file.read(file.tensors.get('c')!, shared.subarray(6, 10));
    assert.deepEqual([...shared], [0, 0, 0, 0, 0, 0, 20, 21, 22, 23, 0, 0, 0, 0, 0, 0]);
  });

  test('no tensors, trailing spaces in the header, keys that are not ours', () => {
    assert.equal(codeOf(fileBytes('{}', 0)).code, null);
    assert.equal(
      codeOf(fileBytes('{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"extra":{"x":[1]}}}   ', 1)).code,
      null,
    );
  });

  test('reading after dispose or after the file shrank is refused', () => {
    const path = put(fileBytes(SMALL, 24));
    const file = SafetensorsFile.open(path);
    truncateSync(path, 8 + SMALL.length + 21);
    assert.throws(() => file.read(file.tensors.get('c')!), { code: 'safetensors-truncated' });
    file[Symbol.dispose]();
    file[Symbol.dispose]();
    assert.throws(() => file.read(file.tensors.get('c')!), { code: 'internal' });
  });
});

describe('a bad file is refused with a typed error', () => {
  const nested = `{"a":${'['.repeat(1_000_000)}`;
  const cases: readonly [title: string, bytes: Uint8Array, code: string, message: RegExp][] = [
    ['empty', new Uint8Array(0), 'safetensors-truncated', /promises 8 bytes, the file has 0/],
    [
      'header length beyond the file',
      fileBytes('{}', 0, 3n),
      'safetensors-truncated',
      /promises 11 bytes, the file has 10/,
    ],
    ['header length above the limit', fileBytes('{}', 0, 100_000_001n), 'safetensors-invalid', /100000001 bytes long/],
    ['header length of 2^64 - 1', fileBytes('{}', 0, 2n ** 64n - 1n), 'safetensors-invalid', /18446744073709551615/],
    ['empty header', fileBytes('', 0), 'safetensors-invalid', /does not begin with \{/],
    ['not UTF-8', fileBytes(Uint8Array.of(0x7b, 0xff, 0x7d), 0), 'safetensors-invalid', /not UTF-8/],
    ['a byte order mark', fileBytes('\ufeff{}', 0), 'safetensors-invalid', /does not begin with \{/],
    ['not JSON', fileBytes('{"a":}', 0), 'safetensors-invalid', /not JSON/],
    ['text behind the JSON', fileBytes('{}x', 0), 'safetensors-invalid', /not JSON/],
    ['an open string', fileBytes('{"a', 0), 'safetensors-invalid', /not JSON/],
    ['a colon with no key', fileBytes('{:}', 0), 'safetensors-invalid', /not JSON/],
    ['not an object', fileBytes('[]', 0), 'safetensors-invalid', /does not begin with \{/],
    ['deep nesting', fileBytes(nested, 0), 'safetensors-invalid', /nested deeper/],
    [
      'a tensor twice',
      fileBytes(`{"a":${tensor('U8', [1], 0, 1)},"a":${tensor('U8', [1], 0, 1)}}`, 1),
      'safetensors-invalid',
      /"a" twice/,
    ],
    [
      'the same, spelled otherwise',
      fileBytes(`{"a":${tensor('U8', [1], 0, 1)},"\\u0061":${tensor('U8', [1], 0, 1)}}`, 1),
      'safetensors-invalid',
      /"a" twice/,
    ],
    [
      'a field twice',
      fileBytes('{"a":{"dtype":"U8","dtype":"I8","shape":[],"data_offsets":[0,1]}}', 1),
      'safetensors-invalid',
      /"dtype" twice/,
    ],
    [
      '__proto__ twice',
      fileBytes(`{"__proto__":${tensor('U8', [], 0, 1)},"__proto__":${tensor('U8', [], 0, 1)}}`, 1),
      'safetensors-invalid',
      /"__proto__" twice/,
    ],
    ['metadata that is no object', fileBytes('{"__metadata__":[]}', 0), 'safetensors-invalid', /__metadata__ is not/],
    [
      'metadata that is not text',
      fileBytes('{"__metadata__":{"k":1}}', 0),
      'safetensors-invalid',
      /__metadata__ .*"k"/,
    ],
    ['an entry that is no object', fileBytes('{"a":7}', 0), 'safetensors-tensor-invalid', /"a" wrongly/],
    [
      'an entry without a shape',
      fileBytes('{"a":{"dtype":"U8","data_offsets":[0,1]}}', 1),
      'safetensors-tensor-invalid',
      /"a" .*shape/,
    ],
    [
      'an unknown dtype',
      fileBytes(`{"a":${tensor('F17', [1], 0, 1)}}`, 1),
      'safetensors-tensor-invalid',
      /dtype F17 is unknown/,
    ],
    [
      'a dtype that every object has',
      fileBytes(`{"a":${tensor('constructor', [1], 0, 1)}}`, 1),
      'safetensors-tensor-invalid',
      /dtype constructor is unknown/,
    ],
    ['a negative size', fileBytes(`{"a":${tensor('U8', [-1], 0, 1)}}`, 1), 'safetensors-tensor-invalid', /shape\.0/],
    ['a fractional size', fileBytes(`{"a":${tensor('U8', [1.5], 0, 1)}}`, 1), 'safetensors-tensor-invalid', /shape\.0/],
    [
      'a size that is text',
      fileBytes(`{"a":${tensor('U8', ['1'], 0, 1)}}`, 1),
      'safetensors-tensor-invalid',
      /shape\.0/,
    ],
    [
      'a size beyond exact numbers',
      fileBytes(`{"a":${tensor('U8', [2 ** 53], 0, 1)}}`, 1),
      'safetensors-tensor-invalid',
      /shape\.0/,
    ],
    [
      'a product beyond exact numbers',
      fileBytes(`{"a":${tensor('U8', [2 ** 30, 2 ** 30], 0, 1)}}`, 1),
      'safetensors-tensor-invalid',
      /too large/,
    ],
    [
      'a product that wraps to the right size',
      fileBytes(`{"a":${tensor('U8', [2 ** 32, 2 ** 32], 0, 0)}}`, 0),
      'safetensors-tensor-invalid',
      /too large/,
    ],
    [
      'a negative offset',
      fileBytes(`{"a":${tensor('U8', [1], -1, 0)}}`, 1),
      'safetensors-tensor-invalid',
      /data_offsets\.0/,
    ],
    [
      'three offsets',
      fileBytes('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', 1),
      'safetensors-tensor-invalid',
      /data_offsets/,
    ],
    [
      'begin behind end',
      fileBytes(`{"a":${tensor('U8', [1], 1, 0)}}`, 1),
      'safetensors-tensor-invalid',
      /behind its end/,
    ],
    [
      'a length that does not fit',
      fileBytes(`{"a":${tensor('F16', [3], 0, 5)}}`, 5),
      'safetensors-tensor-invalid',
      /takes 6 bytes, its offsets span 5/,
    ],
    [
      'an overlap',
      fileBytes(`{"a":${tensor('U8', [4], 0, 4)},"b":${tensor('U8', [4], 3, 7)}}`, 7),
      'safetensors-tensor-invalid',
      /"b" .*overlaps/,
    ],
    [
      'the same bytes twice',
      fileBytes(`{"a":${tensor('U8', [4], 0, 4)},"b":${tensor('U8', [4], 0, 4)}}`, 4),
      'safetensors-tensor-invalid',
      /overlaps/,
    ],
    [
      'a zero-size tensor inside another',
      fileBytes(`{"a":${tensor('U8', [4], 0, 4)},"b":${tensor('U8', [0], 2, 2)}}`, 4),
      'safetensors-tensor-invalid',
      /"b" .*overlaps/,
    ],
    [
      'a hole',
      fileBytes(`{"a":${tensor('U8', [4], 0, 4)},"b":${tensor('U8', [4], 6, 10)}}`, 10),
      'safetensors-tensor-invalid',
      /"b" .*2 bytes before it/,
    ],
    [
      'a hole in front',
      fileBytes(`{"a":${tensor('U8', [4], 1, 5)}}`, 5),
      'safetensors-tensor-invalid',
      /1 bytes before it/,
    ],
    ['bytes behind the last', fileBytes(`{"a":${tensor('U8', [4], 0, 4)}}`, 7), 'safetensors-invalid', /last 3 bytes/],
    [
      'data beyond the file',
      fileBytes(`{"a":${tensor('U8', [2 ** 40], 0, 2 ** 40)}}`, 7),
      'safetensors-truncated',
      /promises 1099511627\d+ bytes/,
    ],
  ];
  for (const [title, bytes, code, message] of cases) {
    test(title, () => {
      const found = codeOf(bytes);
      assert.equal(found.code, code, found.message);
      assert.match(found.message, message);
      assert.match(found.message, /model\.safetensors/);
    });
  }

  test('not there, or a folder', () => {
    assert.throws(() => SafetensorsFile.open(join(folder, 'nowhere.safetensors')), { code: 'file-not-found' });
    assert.throws(() => SafetensorsFile.open(folder), { code: 'file-unreadable' });
  });
});

const parse = (bytes: Uint8Array): void => {
  try {
    const length = parseHeaderLength(bytes.subarray(0, 8), bytes.length, 'x');
    const { tensors } = parseHeader(bytes.subarray(8, 8 + length), bytes.length, 'x');
    const total = [...tensors.values()].reduce((sum, info) => sum + info.bytes, 0);
    assert.equal(total, bytes.length - 8 - length);
  } catch (error) {
    assert.ok(error instanceof MarlinError && error.code !== 'internal', String(error));
  }
};

describe('damage', () => {
  test('cut at any length: truncated', () => {
    const whole = fileBytes(SMALL, 24);
    for (let length = 0; length < whole.length; length++) {
      assert.equal(codeOf(whole.subarray(0, length)).code, 'safetensors-truncated', `cut at ${length}`);
    }
    assert.equal(codeOf(whole).code, null);
  });

  test('any one flipped bit, and random bytes: opens or is refused, nothing else', () => {
    const whole = fileBytes(SMALL, 24);
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bytes = Uint8Array.from(whole);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      parse(bytes);
    }
    const edits = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 })), {
      minLength: 2,
      maxLength: 6,
    });
    fc.assert(
      fc.property(edits, (changes) => {
        const bytes = Uint8Array.from(whole);
        for (const [at, value] of changes) bytes[at] = value;
        parse(bytes);
      }),
      { numRuns: 2000 },
    );
    fc.assert(fc.property(fc.uint8Array({ minLength: 8, maxLength: 64 }), parse), { numRuns: 500 });
    fc.assert(
      fc.property(fc.json(), (json) => parse(fileBytes(json, 0))),
      { numRuns: 500 },
    );
  });
});
