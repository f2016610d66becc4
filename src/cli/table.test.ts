import assert from 'node:assert/strict';
import { test } from 'node:test';
import { megabytes, percent, table } from './table.ts';

test('a table: text to the left, numbers with or without a unit to the right', () => {
  const rows = [
    ['one', 1, '512 x 512', '8.2 kB', '0.50 %'],
    ['eleven', 11, '8 x 8', '140.1 MB', '12.00 %'],
  ];
  assert.equal(
    table(['name', 'n', 'shape', 'size', 'error'], rows),
    [
      'name     n  shape          size    error',
      '──────  ──  ─────────  ────────  ───────',
      'one      1  512 x 512    8.2 kB   0.50 %',
      'eleven  11  8 x 8      140.1 MB  12.00 %',
      '',
    ].join('\n'),
  );
});

test('a table without rows', () => {
  assert.equal(table(['name', 'n'], []), 'name  n\n────  ─\n');
});

test('sizes in the unit that suits them', () => {
  assert.deepEqual([0, 1023, 999_949, 1e6, 21_403_176, 4.5e9].map(megabytes), [
    '0.0 kB',
    '1.0 kB',
    '999.9 kB',
    '1.0 MB',
    '21.4 MB',
    '4.50 GB',
  ]);
});

test('fractions in percent', () => {
  assert.deepEqual([0, 0.00126, 1].map(percent), ['0.00 %', '0.13 %', '100.00 %']);
});
