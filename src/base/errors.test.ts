import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errors, MarlinError } from './errors.ts';

/** Stands for an argument of any type: reads as text, answers every property and call with itself, iterates over itself once. */
const anything: unknown = new Proxy(() => {}, {
  get: (_, key) => {
    if (key === Symbol.toPrimitive) return (hint: string) => (hint === 'number' ? 7 : 'sample');
    if (key === 'toJSON') return () => 'sample';
    if (key === Symbol.iterator) return () => [anything].values();
    return anything;
  },
  apply: () => anything,
});

const entries = Object.entries(errors).map(([name, entry]) => {
  const error: unknown = Reflect.apply(
    entry,
    undefined,
    Array.from({ length: 10 }, () => anything),
  );
  assert.ok(error instanceof MarlinError, `${name} does not make a MarlinError`);
  return { name, error };
});

for (const { name, error } of entries) {
  test(`${name}: a kebab-case code, a message and a fix in whole sentences`, () => {
    assert.match(error.code, /^[a-z0-9]+(?:-[a-z0-9]+)*$/);
    for (const text of [error.message, error.fix]) {
      assert.match(text, /^\S[^]*[.!?]$/, `"${text}" is not a sentence`);
      assert.doesNotMatch(text, /undefined|\[object|\bNaN\b|[.!?][.!?]$/, `"${text}" has a hole in it`);
    }
  });
}

test('no two entries share a code', () => {
  const seen = new Map<string, string>();
  for (const { name, error } of entries) {
    assert.equal(seen.get(error.code), undefined, `${name} and ${seen.get(error.code) ?? ''} are both ${error.code}`);
    seen.set(error.code, name);
  }
});

test('the cause is kept, and its own words are in the message', () => {
  const cause = new Error('EACCES: permission denied');
  const error = errors.fileUnreadable('a.json', cause);
  assert.equal(error.cause, cause);
  assert.equal(error.message, 'a.json cannot be read: EACCES: permission denied.');
  assert.equal(error.name, 'MarlinError');
  assert.equal('cause' in errors.fileNotFound('a.json'), false);
});
