// The simulator: right results without findings, and for each kind of finding a planted mistake that it names by line.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { kernel } from '../ptx/kernel.ts';
import { rows } from '../ptx/layout.ts';
import { describe as text, type FindingKind } from './findings.ts';
import { pipelinedSum, tileProduct, vectorAdd, warpSum } from './programs.fixture.ts';
import { simulate, type Simulation } from './simulate.ts';

const SEEDS = Array.from({ length: 20 }, (_, seed) => seed);

describe('right programs', () => {
  test('vector add, with a ragged end', () => {
    const n = 1000;
    const [a, b, c] = [
      Float32Array.from({ length: n }, (_, i) => i),
      Float32Array.from({ length: n }, (_, i) => 0.5 * i),
      new Float32Array(n).fill(Number.NaN),
    ];
    assert.deepEqual(simulate(vectorAdd, { grid: [4], args: { a, b, c, n } }).findings, []);
    assert.deepEqual(
      c,
      a.map((x, i) => x + b[i]!),
    );
  });

  test('a sum over a loop and shuffles, with both sides of a branch', () => {
    const x = Float32Array.from({ length: 320 }, (_, i) => i);
    const y = new Float32Array(2);
    assert.deepEqual(simulate(warpSum, { grid: [1], args: { x, y, n: 320 } }).findings, []);
    assert.deepEqual([...y], [51040, 102080]);
  });

  test('a tile product on tensor cores, in any order of warps', () => {
    const random = new Random(1);
    const [A, B] = [
      Float16Array.from({ length: 16 * 64 }, () => random.normal()),
      Float16Array.from({ length: 8 * 64 }, () => random.normal()),
    ];
    const expected = Float64Array.from({ length: 128 }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < 64; k++) sum += A[(i >> 3) * 64 + k]! * B[(i & 7) * 64 + k]!;
      return sum;
    });
    for (const seed of SEEDS) {
      const C = new Float32Array(128).fill(Number.NaN);
      const { findings } = simulate(tileProduct(), { grid: [1], args: { A, B, C }, seed });
      assert.deepEqual(findings.map(text), []);
      assert.ok(relativeError(C, expected) < 1e-6);
    }
  });
});

const pipelined = (
  options?: Parameters<typeof pipelinedSum>[1],
  seed = 0,
): { y: Float32Array; simulation: Simulation } => {
  const x = Float32Array.from({ length: 5 * 128 }, (_, i) => i);
  const y = new Float32Array(128).fill(Number.NaN);
  return { y, simulation: simulate(pipelinedSum(5, options), { grid: [1], args: { x, y }, seed }) };
};

test('asynchronous copies in two stages are right in any order of warps', () => {
  for (const seed of SEEDS) {
    const { y, simulation } = pipelined({}, seed);
    assert.deepEqual(simulation.findings.map(text), []);
    assert.deepEqual(
      [...y],
      Array.from({ length: 128 }, (_, i) => 5 * i + 1280),
    );
  }
});

/** The one finding there must be, at a line of the named file. */
function only(kind: FindingKind, { findings }: Simulation, file: string): void {
  assert.deepEqual([...new Set(findings.map((finding) => finding.kind))], [kind], findings.map(text).join('\n'));
  for (const { where } of findings)
    assert.ok(where.file.endsWith(file) && where.line > 0, `${where.file}:${where.line}`);
}

const tileArgs = (): { A: Float16Array; B: Float16Array; C: Float32Array } => ({
  A: new Float16Array(1024),
  B: new Float16Array(512),
  C: new Float32Array(128),
});

describe('planted mistakes', () => {
  const one = { name: 'planted', threads: 64, params: { x: 'f32*' } } as const;
  const words = rows('b32', [1, 64]);
  const run = (program: Parameters<typeof simulate<typeof one.params>>[0]): Simulation =>
    simulate(program, { grid: [1], args: { x: new Float32Array(64) } });

  test('a forgotten barrier is a race (or a read of nothing) for some order of warps', () => {
    const kinds = new Set(
      SEEDS.flatMap((seed) =>
        simulate(tileProduct({ barrier: false }), { grid: [1], args: tileArgs(), seed }).findings.map(
          (finding) => finding.kind,
        ),
      ),
    );
    assert.ok(kinds.has('race') || kinds.has('uninitialised'));
  });

  test('a race between two warps', () => {
    const program = kernel(one, (k, { x }) => {
      const s = k.shared(words);
      k.stShared(s.at(k.lane), [k.thread.asB32()]);
      k.stGlobal(x, [k.thread.asB32()]);
    });
    only('race', run(program), 'simulate.test.ts');
  });

  test('a race between lanes of one warp that did not meet', () => {
    const program = kernel({ ...one, threads: 32 }, (k, { x }) => {
      const s = k.shared(words);
      k.stShared(s.at(k.lane), [k.lane.asB32()]);
      const [value] = k.ldShared(s.at(k.lane.xor(1)), 1);
      k.stGlobal(x.at(k.lane), [value!]);
    });
    only('race', run(program), 'simulate.test.ts');
  });

  test('reading a copy that was not waited for', () => {
    only('unwaited-copy', pipelined({ pending: 2 }).simulation, 'programs.fixture.ts');
  });

  test('filling a stage that others may still read', () => {
    const kinds = new Set(
      SEEDS.flatMap((seed) => pipelined({ barrier: false }, seed).simulation.findings.map((f) => f.kind)),
    );
    assert.ok(kinds.has('race') || kinds.has('unwaited-copy'), [...kinds].join());
  });

  test('reading shared memory that nobody wrote', () => {
    const program = kernel(one, (k, { x }) =>
      k.stGlobal(x.at(k.thread), [k.ldShared(k.shared(words).at(k.thread), 1)[0]!]),
    );
    only('uninitialised', run(program), 'simulate.test.ts');
  });

  test('leaving a buffer', () => {
    only(
      'out-of-bounds',
      run(kernel(one, (k, { x }) => k.stF32(x.at(k.thread.add(1)), k.ldF32(x)))),
      'simulate.test.ts',
    );
  });

  test('a misaligned vector access', () => {
    const program = kernel({ ...one, threads: 32 }, (k, { x }) => {
      const [a, b] = k.ldGlobal(x.at(1), 2);
      k.stGlobal(x, [a!, b!]);
    });
    only('misaligned', run(program), 'simulate.test.ts');
  });

  test('bank conflicts of a tile that is not swizzled', () => {
    const simulation = simulate(tileProduct({ swizzle: false }), { grid: [1], args: tileArgs() });
    only('bank-conflict', simulation, 'programs.fixture.ts');
    assert.ok(simulation.findings.some(({ detail }) => detail.startsWith('8-way')));
  });

  test('a warp instruction that not all lanes reach', () => {
    const program = kernel({ ...one, threads: 32 }, (k, { x }) =>
      k.if(k.lane.lt(7), () => k.stGlobal(x.at(k.lane), [k.shflBfly(k.lane.asB32(), 1)])),
    );
    const simulation = run(program);
    only('divergence', simulation, 'simulate.test.ts');
    assert.match(simulation.findings[0]!.detail, /lanes 7\.\.31/);
  });

  test('a barrier that one warp never reaches is a deadlock, named and not hung', () => {
    const simulation = run(kernel(one, (k) => k.if(k.warp.eq(0), () => k.barSync())));
    only('deadlock', simulation, 'simulate.test.ts');
    assert.match(simulation.findings[0]!.detail, /warp 0 at bar\.sync \(1 of 2 warps\); 1 of 2 warps have ended/);
  });
});
