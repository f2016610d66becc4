// Every number in header.ts against the real cuda.h, by the C compiler. The GPU cannot tell a wrong offset from a wrong launch.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as header from './header.ts';
import { TENSOR_MAP_ALIGN } from './parameters.ts';
import { compileC, toolkit } from './toolkit.fixture.ts';

const skip = toolkit.missing ?? false;

/** One static assertion for each constant, and for each structure its size and fields. */
function assertions(values: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => {
    if (typeof value === 'number') return [`_Static_assert((long long)${name} == ${value}LL, "${name}");`];
    assert.ok(typeof value === 'object' && value !== null);
    return Object.entries(value).map(([field, offset]) =>
      field === 'bytes'
        ? `_Static_assert(sizeof(${name}) == ${offset}, "sizeof ${name}");`
        : `_Static_assert(offsetof(${name}, ${field}) == ${offset}, "${name}.${field}");`,
    );
  });
}

function compile(lines: readonly string[]): string {
  return compileC(['#include <stddef.h>', '#include <cuda.h>', ...lines].join('\n'), ['-fsyntax-only']);
}

test('all constants and structures are those of cuda.h', { skip }, () => {
  const lines = assertions(header);
  assert.ok(lines.length > 100, `${lines.length} assertions`);
  lines.push(`_Static_assert(_Alignof(CUtensorMap) == ${TENSOR_MAP_ALIGN}, "alignment of CUtensorMap");`);
  assert.equal(compile(lines), '');
});

test('a wrong constant, a wrong size and a wrong offset are found', { skip }, () => {
  const wrong = assertions({
    CUDA_ERROR_ILLEGAL_ADDRESS: 701,
    CUlaunchConfig: { bytes: 48, hStream: 28 },
  });
  const complaints = compile(wrong);
  for (const what of ['CUDA_ERROR_ILLEGAL_ADDRESS', 'sizeof CUlaunchConfig', 'CUlaunchConfig.hStream']) {
    assert.match(complaints, new RegExp(`static assertion failed: "${what}"`));
  }
});

test('the values of the launch attributes start where header.ts says, whatever union member is meant', { skip }, () => {
  const { value } = header.CUlaunchAttribute;
  const fields = [
    ['value.clusterDim.x', value],
    ['value.clusterDim.z', value + 8],
    ['value.programmaticStreamSerializationAllowed', value],
  ];
  const lines = fields.map(
    ([field, offset]) => `_Static_assert(offsetof(CUlaunchAttribute, ${field}) == ${offset}, "${field}");`,
  );
  assert.equal(compile(lines), '');
});
