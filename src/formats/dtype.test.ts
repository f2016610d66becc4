import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bitsOf, byteLength, isDtype } from './dtype.ts';

test('bytes of a shape, scalars and empty tensors included', () => {
  assert.equal(byteLength('F32', []), 4);
  assert.equal(byteLength('BF16', [3, 5]), 30);
  assert.equal(byteLength('I64', [2, 0, 7]), 0);
  assert.equal(byteLength('BOOL', [9]), 9);
});

test('elements narrower than a byte are packed, the end rounded up', () => {
  assert.equal(byteLength('F4', [3]), 2);
  assert.equal(byteLength('F6_E2M3', [5]), 4);
  assert.equal(byteLength('F6_E3M2', [2, 2]), 3);
});

test('a shape too large is not a safe integer, whatever its order and zeros', () => {
  for (const shape of [[2 ** 53], [2 ** 27, 2 ** 27], [2 ** 52, 8], Array.from({ length: 400 }, () => 1000)]) {
    assert.ok(!Number.isSafeInteger(byteLength('U8', shape)), String(shape.length));
  }
  assert.ok(Number.isNaN(byteLength('U8', [...Array.from({ length: 400 }, () => 1000), 0])));
});

test('names', () => {
  assert.ok(isDtype('F8_E8M0') && bitsOf('F8_E8M0') === 8);
  for (const name of ['f16', 'F17', '', 'toString', '__proto__']) assert.equal(isDtype(name), false);
});
