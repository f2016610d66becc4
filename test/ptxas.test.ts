// Every program of the repository through ptxas, for each architecture it can run on: it assembles, without spills or stack frames.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { BASIC, BOXES, HOPPER } from '../src/cuda/smoke-ptx.fixture.ts';
import { architectures, architecturesOf, assembleAll, frameOf, ptxasArchitectures } from '../src/kernels/assemble.ts';
import { catalogue } from '../src/kernels/catalogue.ts';
import { everything } from '../src/ptx/everything.fixture.ts';
import { versionOf } from '../src/ptx/print.ts';
import type { Program } from '../src/ptx/program.ts';
import { instructionPrograms } from '../src/sim/instruction-programs/table.fixture.ts';
import { laneOps, laneProgram } from '../src/sim/lane-programs.fixture.ts';
import { pipelinedSum, tileProduct, vectorAdd, warpSum } from '../src/sim/programs.fixture.ts';

const ofTests: readonly Program[] = [
  everything,
  { ...vectorAdd, name: 'vector_add_of_tests' },
  warpSum,
  tileProduct(),
  pipelinedSum(5),
  ...laneOps.map((op, i) => laneProgram(op, `lane_${i}`)),
  ...instructionPrograms.map(({ program }) => program),
];
/** Examples may share a program. */
const ofCatalogue = new Map(
  catalogue.flatMap((entry) => entry.examples().map(({ program }) => [program.name, program] as const)),
);
const programs = [...ofTests, ...ofCatalogue.values()];
const known = await ptxasArchitectures();

describe('ptxas', { skip: known === null ? 'ptxas is not on PATH' : false }, () => {
  for (const arch of architectures) {
    test(`takes every program for ${arch}`, async () => {
      const taken = programs.filter((program) => architecturesOf(program).includes(arch));
      assert.ok(taken.length > 0);
      // One file a version, so that no program is printed for a later one than its instructions say they need: ptxas starts in 15 ms and compiles one of these in 3.
      for (const same of Map.groupBy(taken, (program) => versionOf(program, arch)).values()) {
        const assemblies = await assembleAll(same, arch);
        for (const [i, { registers, spillBytes, stackBytes, warnings, log }] of assemblies.entries()) {
          const { name } = same[i]!;
          assert.ok(registers > 0, `${name}: ${log}`);
          assert.deepEqual(
            { name, spillBytes, stackBytes, warnings },
            { name, spillBytes: 0, stackBytes: frameOf(same[i]!, arch), warnings: [] },
          );
        }
      }
    });
  }

  test('takes the kernels of the smoke test', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ptxas-'));
    using _ = { [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
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
