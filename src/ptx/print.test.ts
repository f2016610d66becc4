// The printer: versions as low as they can be, the author's lines, the same text each time. ptxas judges the text in test/ptxas.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { everything } from './everything.fixture.ts';
import { kernel } from './kernel.ts';
import { print, versionOf } from './print.ts';
import type { F32 } from './values.ts';

/** The line of 'file line column'. */
const lineOf = (place: string): string => place.split(' ')[1]!;

describe('text', () => {
  test('has the lowest version that its instructions and its architecture need', () => {
    assert.equal(versionOf(everything, 'sm_80'), 7.0);
    assert.equal(versionOf(everything, 'sm_90a'), 8.0);
    assert.match(print(everything), /^\.version 7\.0\n\.target sm_80\n/);
  });

  test('names the lines of the author', () => {
    const lined = print(everything, { lines: true });
    assert.match(lined, /\.file 1 ".*everything\.fixture\.ts"/);
    assert.match(lined, /\.loc 1 \d+ \d+\n/);
    assert.doesNotMatch(lined, /inlined_at|debug_str/);
    assert.doesNotMatch(print(everything), /\.loc|\.file/);
  });

  test('shows helpers as functions inlined at the line that called them, however deep, and needs 7.2 for it only then', () => {
    const halfOf = (x: F32): F32 => x.mul(0.5);
    function smoothed(x: F32): F32 {
      return halfOf(x).add(1);
    }
    const program = kernel({ name: 'helpers', threads: 32, params: { x: 'f32*' } }, (k, { x }) => {
      k.loop(0, k.lane, 1, () => {
        k.stF32(x, smoothed(k.ldF32(x)));
      });
    });
    const lined = print(program, { lines: true });
    const load = /(\.loc 1 \d+ \d+)\n\tld\.global/.exec(lined)![1]!;
    const [, call, inner, innermost] =
      /\.loc (1 \d+ \d+)\n\t\.loc (1 \d+ \d+), function_name (?:.*)\n\t\.loc (1 \d+ \d+), function_name (?:.*)\n\tmul/.exec(
        lined,
      )!;
    assert.equal(lineOf(call!), lineOf(load.slice('.loc '.length)));
    assert.ok(lined.includes(`.loc ${inner!}, function_name $L__function0, inlined_at ${call!}\n`));
    assert.ok(lined.includes(`.loc ${innermost!}, function_name $L__function1, inlined_at ${inner!}\n`));
    const bytes = (text: string): string => [...new TextEncoder().encode(text), 0].join(', ');
    assert.ok(lined.includes(`$L__function0:\n.b8 ${bytes('smoothed')}\n$L__function1:\n.b8 ${bytes('halfOf')}\n`));
    assert.match(lined, /^\.version 7\.2\n/);
    assert.match(print(program), /^\.version 7\.0\n/);
  });

  test('a .loc stands before an instruction only where the line changes', () => {
    const lined = print(everything, { lines: true });
    const locs = [...lined.matchAll(/\.loc .*/g)].map(([loc]) => loc);
    assert.ok(locs.length > 10);
    for (const [i, loc] of locs.entries()) if (i > 0) assert.notEqual(loc, locs[i - 1]);
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
