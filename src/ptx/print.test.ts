// The printer: text that ptxas takes for every architecture the program can run on, without spills; versions as low as they can be.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { has } from './builder.ts';
import { kernel } from './kernel.ts';
import { print, versionOf } from './print.ts';
import type { Target } from './program.ts';
import { half2, lut } from './values.ts';

const KEEP = lut((a, b, c) => (a & b) | c);
const HALF_1024 = 0x64006400;

/** Uses every kind of control flow and most arithmetic; what it computes does not matter here. */
const everything = kernel(
  { name: 'everything', threads: 64, params: { x: 'f32*', w: 'b32*', n: 'u32', scale: 'f32' } },
  (k, { x, w, n, scale }) => {
    const [word] = k.ldGlobal(w.at(k.thread), 1, { readOnly: true });
    const low = word!.lop3(0x000f000f, HALF_1024, KEEP).asF16x2().sub(half2(1032));
    const high = word!
      .lop3(0x00f000f0, HALF_1024, KEEP)
      .asF16x2()
      .fma(half2(1 / 16), half2(-72));
    const sum = k.var(low.add(high).lower().f16ToF32().mul(scale));
    k.loop(0, n, 2, (i) => {
      k.if(
        i.mod(3).eq(0),
        () => sum.set(sum.fma(0.5, i.toF32())),
        () => sum.set(sum.max(-1).exp2()),
      );
    });
    const left = k.var(n.min(100));
    k.while(
      () => left.gt(1),
      () => left.set(left.shr(1)),
    );
    const other = k.shflIdx(sum, left.and(31));
    k.stF32(
      x.at(k.thread),
      k.select(other.lt(3), other.rsqrt(), other.neg()).add(word!.permute(0, 0x3210).rotate(7).asU32().div(10).toF32()),
    );
  },
);

describe('text', () => {
  test('has the lowest version that its instructions and its architecture need', () => {
    assert.equal(versionOf(everything, 'sm_80'), 7.0);
    assert.equal(versionOf(everything, 'sm_90a'), 8.0);
    assert.match(print(everything), /^\.version 7\.0\n\.target sm_80\n/);
  });

  test('names the lines of the author', () => {
    const lined = print(everything, { lines: true });
    assert.match(lined, /\.file 1 ".*print\.test\.ts"/);
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

const ptxas = spawnSync('ptxas', ['--version']).status === 0;

describe('ptxas', { skip: ptxas ? false : 'ptxas is not on PATH' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'ptx-'));
  after(() => rmSync(folder, { recursive: true }));
  const targets: readonly Target[] = ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_120'];
  for (const arch of targets.filter((target) => has(target, everything.target))) {
    test(`assembles for ${arch} without spills`, () => {
      const file = join(folder, `${arch}.ptx`);
      writeFileSync(file, print(everything, { arch, lines: true }));
      const { status, stderr, stdout } = spawnSync(
        'ptxas',
        [`-arch=${arch}`, '-v', file, '-o', join(folder, `${arch}.cubin`)],
        { encoding: 'utf8' },
      );
      assert.equal(status, 0, stderr + stdout);
      assert.doesNotMatch(stderr + stdout, /[1-9]\d* bytes (stack frame|spill)/);
    });
  }
});
