// Parameter bytes against layouts worked out by hand, and every value that must not get through.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openContext } from './context.ts';
import { createFake } from './fake.ts';
import { allocate } from './memory.ts';
import {
  checkDeclared,
  layoutOf,
  type Parameter,
  type ParameterType,
  type Value,
  writeParameter,
} from './parameters.ts';

const declare = (types: readonly ParameterType[]): Parameter[] => types.map((type, i) => ({ name: `p${i}`, type }));

test('each parameter is aligned to its own size', () => {
  const cases: readonly (readonly [readonly ParameterType[], readonly number[], number])[] = [
    [[], [], 0],
    [['u32'], [0], 4],
    [['pointer', 'u32', 's32', 'f32', 'u64'], [0, 8, 12, 16, 24], 32],
    [['u32', 'pointer', 'u32', 'u64', 'f32', 'f32'], [0, 8, 16, 24, 32, 36], 40],
    [['f32', 'f32', 'f32', 'pointer'], [0, 4, 8, 16], 24],
    [['u32', 'tensor-map', 'u32', 'tensor-map'], [0, 128, 256, 384], 512],
  ];
  for (const [types, offsets, bytes] of cases) assert.deepEqual(layoutOf(declare(types)), { offsets, bytes });
});

const write = (parameter: Parameter, value: Value): string => {
  const view = new DataView(new ArrayBuffer(8));
  writeParameter(view, 0, parameter, value, 'k');
  return Buffer.from(view.buffer).toString('hex');
};

test('values as little-endian bytes', () => {
  const [u32, s32, u64, f32] = declare(['u32', 's32', 'u64', 'f32']);
  assert.ok(u32 !== undefined && s32 !== undefined && u64 !== undefined && f32 !== undefined);
  assert.equal(write(u32, 0x01020304), '0403020100000000');
  assert.equal(write(u32, 2 ** 32 - 1), 'ffffffff00000000');
  assert.equal(write(s32, -2), 'feffffff00000000');
  assert.equal(write(s32, -(2 ** 31)), '0000008000000000');
  assert.equal(write(u64, 0x0102030405n), '0504030201000000');
  assert.equal(write(u64, 2n ** 64n - 1n), 'ffffffffffffffff');
  assert.equal(write(u64, 2 ** 40), '0000000000010000');
  assert.equal(write(f32, 1), '0000803f00000000');
  assert.equal(write(f32, -Infinity), '000080ff00000000');
});

test('values of another type or out of range', () => {
  const wrong: readonly (readonly [ParameterType, Value])[] = [
    ['u32', -1],
    ['u32', 2 ** 32],
    ['u32', 1.5],
    ['u32', Number.NaN],
    ['u32', 1n],
    ['s32', 2 ** 31],
    ['s32', -(2 ** 31) - 1],
    ['s32', 1n],
    ['u64', -1],
    ['u64', -1n],
    ['u64', 2n ** 64n],
    ['u64', 2 ** 53],
    ['f32', 1n],
    ['pointer', 4096],
    ['pointer', 4096n],
  ];
  for (const [type, value] of wrong) {
    assert.throws(() => write({ name: 'count', type }, value), {
      code: 'parameter-invalid',
      message: new RegExp(`^The parameter count of the kernel k must be .*; found ${typeof value} `),
    });
  }
});

test('pointers: the address of the memory or slice, aligned as declared', () => {
  using context = openContext(createFake().driver);
  using buffer = allocate(context, 64, 'x');
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(buffer.pointer + 32n);
  assert.equal(write({ name: 'p', type: 'pointer', align: 16 }, buffer.slice(32)), bytes.toString('hex'));
  assert.throws(() => write({ name: 'p', type: 'pointer', align: 16 }, buffer.slice(8)), {
    code: 'parameter-invalid',
    message: /must be device memory at a multiple of 16 bytes; found the device memory "x" from byte 8 at 0x7f/,
  });
  assert.throws(() => write({ name: 'p', type: 'u64' }, buffer), { code: 'parameter-invalid' });
});

test('declarations against the compiled kernel', () => {
  const declared = declare(['pointer', 'u32', 'f32']);
  checkDeclared('k', declared, [8, 4, 4]);
  const wrong = [
    [[8, 4], /3 are declared, and it has 2/],
    [[8, 4, 4, 4], /3 are declared, and it has 4/],
    [[8, 8, 4], /p1 is declared as u32, and it has 8 bytes there/],
  ] as const;
  for (const [compiled, message] of wrong) {
    assert.throws(() => checkDeclared('k', declared, compiled), { code: 'parameters-mismatch', message });
  }
});
