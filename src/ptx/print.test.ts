// The printer: versions as low as they can be, the author's lines, the same text each time. ptxas judges the text in test/ptxas.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { everything } from './everything.fixture.ts';
import { kernel } from './kernel.ts';
import { print, versionOf } from './print.ts';

describe('text', () => {
  test('has the lowest version that its instructions and its architecture need', () => {
    assert.equal(versionOf(everything, 'sm_80'), 7.0);
    assert.equal(versionOf(everything, 'sm_90a'), 8.0);
    assert.match(print(everything), /^\.version 7\.0\n\.target sm_80\n/);
  });

  test('names the lines of the author', () => {
    const lined = print(everything, { lines: true });
    assert.match(lined, /\.file 1 ".*everything\.fixture\.ts"/);
    assert.match(lined, /\.loc 1 \d+ 0/);
  });

  test('is the same each time the kernel is built', () => {
    const build = (): string =>
      print(
        kernel({ name: 'same', threads: 32, params: { x: 'f32*' } }, (k, { x }) =>
          k.stF32(x.at(k.lane), k.ldF32(x.at(k.lane)).add(1)),
        ),
      );
    assert.equal(build(), build());
  });
});
