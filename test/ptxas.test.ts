// Every program of the repository through ptxas, for each architecture it can run on: it assembles, without spills or stack frames.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { BASIC, BOXES, HOPPER } from '../src/cuda/smoke-ptx.fixture.ts';
import { has } from '../src/ptx/builder.ts';
import { everything } from '../src/ptx/everything.fixture.ts';
import { print } from '../src/ptx/print.ts';
import type { Program, Target } from '../src/ptx/program.ts';
import { dense16 } from '../src/kernels/dense16/kernel.ts';
import { laneOps, laneProgram } from '../src/sim/lane-programs.fixture.ts';
import { pipelinedSum, tileProduct, vectorAdd, warpSum } from '../src/sim/programs.fixture.ts';

const programs: readonly Program[] = [
  everything,
  vectorAdd,
  warpSum,
  tileProduct(),
  pipelinedSum(5),
  dense16({ m: 1024, n: 1024, k: 1024 }),
  ...laneOps.map((op, i) => laneProgram(op, `lane_${i}`)),
];
const targets: readonly Target[] = ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_120'];
const ptxas = spawnSync('ptxas', ['--version']).status === 0;

describe('ptxas', { skip: ptxas ? false : 'ptxas is not on PATH' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'ptxas-'));
  after(() => rmSync(folder, { recursive: true }));
  for (const arch of targets) {
    test(`takes every program for ${arch}`, () => {
      // One file an architecture: ptxas starts in 15 ms and compiles one of these in 3.
      const taken = programs.filter((program) => has(arch, program.target));
      assert.ok(taken.length > 0);
      const [first, ...rest] = taken.map((program) => print(program, { arch }));
      const version = Math.max(
        ...taken.map((program) => Number(/^\.version (\S+)/.exec(print(program, { arch }))![1])),
      );
      const header = (text: string): string =>
        text.replace(/^(\.version .*|\.target .*|\.address_size .*|\.extern .*)\n/gm, '');
      const text = [
        `.version ${version.toFixed(1)}`,
        `.target ${arch}`,
        '.address_size 64',
        '.extern .shared .align 128 .b8 smem[];',
        header(first!),
        ...rest.map(header),
      ].join('\n');
      const file = join(folder, `${arch}.ptx`);
      writeFileSync(file, text);
      const { status, stderr, stdout } = spawnSync(
        'ptxas',
        [`-arch=${arch}`, '-v', file, '-o', join(folder, `${arch}.cubin`)],
        { encoding: 'utf8' },
      );
      assert.equal(status, 0, stderr + stdout);
      assert.doesNotMatch(stderr + stdout, /[1-9]\d* bytes (stack frame|spill)/);
    });
  }

  test('takes the kernels of the smoke test', () => {
    for (const [arch, text] of [
      ['sm_80', BASIC],
      ['sm_90a', HOPPER],
      ['sm_90a', BOXES],
    ] as const) {
      const file = join(folder, 'smoke.ptx');
      writeFileSync(file, text);
      const out = join(folder, 'smoke.cubin');
      const { status, stderr } = spawnSync('ptxas', [`-arch=${arch}`, file, '-o', out], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    }
  });
});
