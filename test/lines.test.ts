// The author's lines in what ptxas makes: the line table of a cubin names the TypeScript files, and helpers as inlined calls.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { everything } from '../src/ptx/everything.fixture.ts';
import { kernel } from '../src/ptx/kernel.ts';
import { print } from '../src/ptx/print.ts';
import type { Program, Target } from '../src/ptx/program.ts';
import type { F32 } from '../src/ptx/values.ts';
import { dense16 } from '../src/kernels/dense16/kernel.ts';
import { lineRows, type Row } from './line-table.fixture.ts';

const source = readFileSync(import.meta.filename, 'utf8').split('\n');
/** The only line of this file that has the text. */
const lineWith = (text: string): number => 1 + source.findIndex((line) => line.includes(text));

function halved(x: F32): F32 {
  return x.mul(0.5); // the inner helper
}
function smoothed(x: F32): F32 {
  return halved(x).add(x.exp2()); // the outer helper
}
const helpers = kernel({ name: 'helpers', threads: 32, params: { x: 'f32*', n: 'u32' } }, (k, { x, n }) => {
  k.loop(0, n, 1, (i) => {
    const at = x.at(i);
    k.stF32(at, smoothed(k.ldF32(at))); // the kernel
  });
});

/** Line and name of a row and of the calls around it, innermost first. */
function chain(row: Row): string[] {
  return row.inlined === null ? [`${row.line}`] : [`${row.line} in ${row.inlined.name}`, ...chain(row.inlined.at)];
}

const ptxas = spawnSync('ptxas', ['--version']).status === 0;

describe('lines of a cubin', { skip: ptxas ? false : 'ptxas is not on PATH' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'lines-'));
  after(() => rmSync(folder, { recursive: true }));

  const assembled = (program: Program, arch: Target, flag: string): Row[] => {
    const [ptx, cubin] = [join(folder, 'a.ptx'), join(folder, 'a.cubin')];
    writeFileSync(ptx, print(program, { arch, lines: true }));
    const { status, stderr, stdout } = spawnSync('ptxas', [`-arch=${arch}`, flag, ptx, '-o', cubin], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr + stdout);
    return lineRows(cubin);
  };

  for (const arch of ['sm_80', 'sm_90a'] as const) {
    for (const flag of ['-lineinfo', '-g']) {
      test(`name helpers as calls inlined into each other and into the kernel: ${flag}, ${arch}`, () => {
        const rows = assembled(helpers, arch, flag);
        const [inner, outer, body] = ['// the inner helper', '// the outer helper', '// the kernel'].map(lineWith);
        assert.ok(rows.every(({ file }) => file === import.meta.filename));
        const chains = rows.map((row) => chain(row).join(' at '));
        assert.ok(chains.includes(`${inner!} in halved at ${outer!} in smoothed at ${body!}`), chains.join('\n'));
        assert.ok(chains.includes(`${outer!} in smoothed at ${body!}`));
        assert.ok(chains.includes(`${body!}`));
      });
    }

    test(`name the sources of whole kernels: ${arch}`, () => {
      const { filename } = import.meta;
      const root = filename.slice(0, filename.lastIndexOf('/test/'));
      const files = (program: Program): string[] => [
        ...new Set(assembled(program, arch, '-lineinfo').map(({ file }) => file)),
      ];
      assert.deepEqual(files(everything), [`${root}/src/ptx/everything.fixture.ts`]);
      assert.ok(files(dense16({ m: 128, n: 128, k: 256 })).includes(`${root}/src/kernels/dense16/kernel.ts`));
    });
  }
});
