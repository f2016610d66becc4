// marlin kernel: each of its verbs over the catalogue and over kernels with planted mistakes, for people and as JSON.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { z } from 'zod';
import { ptxasArchitectures } from '../kernels/assemble.ts';
import { catalogue } from '../kernels/catalogue.ts';
import { type Drawing, type Entry, entry, type Example, example } from '../kernels/entry.ts';
import { kernel } from '../ptx/kernel.ts';
import { rows } from '../ptx/layout.ts';
import type { Program, Target } from '../ptx/program.ts';
import { kernelVerb } from './kernel.ts';
import { near } from './kernel/pick.ts';
import { flat } from './kernel/simulate.ts';
import { errorCodeOf, jsonOf, marlinHere, type Ran, temporaryFolder } from './run-marlin.fixture.ts';

type XY = { readonly x: 'f32*'; readonly y: 'f32*' };
const N = 64;

interface Mistakes {
  readonly barrier?: boolean;
  /** Added to every element. */
  readonly plus?: number;
  readonly target?: Target;
}

/** y = x by way of shared memory: each thread stores what a thread of the other warp loaded. */
function copy({ barrier = true, plus = 0, target = 'sm_80' }: Mistakes = {}): Program<XY> {
  return kernel({ name: 'copy', threads: N, params: { x: 'f32*', y: 'f32*' }, target }, (k, { x, y }) => {
    const tile = k.shared(rows('f32', [1, N]));
    const other = k.thread.xor(32);
    k.stShared(tile.at(k.thread), [k.ldF32(x.at(k.thread)).asB32()]);
    if (barrier) k.barSync();
    k.stF32(y.at(other), k.ldShared(tile.at(other), 1)[0]!.asF32().add(plus));
  });
}

/** 1024 threads leave 64 registers each; this one keeps 200 values alive over a barrier. */
const greedy: Program<XY> = kernel(
  { name: 'greedy', threads: 1024, params: { x: 'f32*', y: 'f32*' } },
  (k, { x, y }) => {
    const values = Array.from({ length: 200 }, (_, i) => k.ldF32(x.at(k.thread.add(1024 * i))));
    k.barSync();
    for (const [i, value] of values.entries()) k.stF32(y.at(k.thread.add(1024 * i)), value.add(values[199 - i]!));
  },
);

function planted(program: Program<XY>, length = N): Example {
  return example({
    name: 'only',
    program,
    grid: [1],
    args: () => ({ x: new Float32Array(length).fill(1), y: new Float32Array(length) }),
    check: ({ x, y }) => ({ error: program === greedy ? 0 : Math.abs(x[5]! - y[5]!), bound: 0.25 }),
  });
}

const drawings: readonly Drawing[] = [
  { title: 'A tile (swizzled)', text: 'ab\nba\n', svg: '<svg>tile</svg>' },
  { title: 'A fragment', text: 'cc', svg: '<svg>fragment</svg>' },
];
const entries: readonly Entry[] = [
  entry({ name: 'good', title: 'y = x', examples: () => [planted(copy())], drawings: () => drawings }),
  entry({ name: 'racing', title: 'y = x without a barrier', examples: () => [planted(copy({ barrier: false }))] }),
  entry({ name: 'wrong', title: 'y = x + 1', examples: () => [planted(copy({ plus: 1 }))] }),
  entry({ name: 'hopper', title: 'y = x on one chip', examples: () => [planted(copy({ target: 'sm_90a' }))] }),
  entry({ name: 'greedy', title: 'too many registers', examples: () => [planted(greedy, 1024 * 200)] }),
];
const table = [kernelVerb(entries)];
const run = (...line: readonly string[]): Promise<Ran> => marlinHere(['kernel', ...line], '', table);
const root = temporaryFolder();
const ptxas = (await ptxasArchitectures()) === null ? 'ptxas is not on PATH' : false;

function withoutPtxas(t: TestContext): void {
  onlyOnPath(t, '/nowhere');
}

function onlyOnPath(t: TestContext, folder: string): void {
  const before = process.env['PATH'];
  process.env['PATH'] = folder;
  t.after(() => {
    process.env['PATH'] = before;
  });
}

async function fails(code: string, ...line: readonly string[]): Promise<Ran> {
  const ran = await run(...line);
  assert.deepEqual([ran.code, ran.stdout], [2, '']);
  assert.match(ran.stderr, new RegExp(`^error .* \\[${code}\\]\\n {2}fix .*\\n$`));
  assert.equal(errorCodeOf(await run(...line, '--json')), code);
  return ran;
}

const finding = z.strictObject({
  kind: z.string(),
  file: z.string(),
  line: z.number(),
  detail: z.string(),
  fix: z.string(),
  count: z.number(),
});

describe('names', () => {
  test('an unknown one is an error that names the near ones', async () => {
    for (const verb of ['print', 'simulate', 'draw', 'verify']) {
      const { stderr } = await fails('kernel-name-unknown', verb, 'god');
      assert.match(stderr, /There is no kernel god \(did you mean good\?\)/);
      assert.match(
        (await fails('kernel-name-unknown', verb, 'xyzxyz')).stderr,
        /no kernel xyzxyz\.[^]*marlin kernel list/,
      );
    }
  });

  test('near: typing mistakes, capitals, beginnings; nothing far away', () => {
    const names = ['vector-add', 'dense16', 'dense16-wgmma', 'good'];
    assert.deepEqual(near('vectoradd', names), ['vector-add']);
    assert.deepEqual(near('DENSE', names), ['dense16', 'dense16-wgmma']);
    assert.deepEqual(near('dense16-wgma', names), ['dense16-wgmma']);
    assert.deepEqual(near('', names), []);
    assert.deepEqual(near('softmax', names), []);
  });

  test('so is an unknown example', async () => {
    for (const verb of ['print', 'simulate']) {
      const { stderr } = await fails('kernel-example-unknown', verb, 'good', '--example', 'other');
      assert.match(stderr, /Its examples are only\./);
    }
  });
});

describe('list', () => {
  const row = z.strictObject({
    name: z.string(),
    title: z.string(),
    target: z.string(),
    archs: z.array(z.string()).min(1),
    threads: z.number().min(32),
    cluster: z.number().min(1),
    sharedBytes: z.number(),
    registers: z.number().min(1).nullable(),
    examples: z.array(z.string()).min(1),
  });
  const shape = z.strictObject({ kernels: z.array(row) });

  test('has every kernel, for people', async () => {
    const { code, stdout } = await marlinHere(['kernel', 'list']);
    assert.equal(code, 0);
    for (const { name, title } of catalogue) assert.match(stdout, new RegExp(`^${name} .*sm_\\d+`, 'm'), title);
  });

  test('--json', { skip: ptxas }, async () => {
    const { kernels } = shape.parse(jsonOf(await run('list', '--json')));
    assert.deepEqual(
      kernels.map(({ name, target, threads, sharedBytes }) => [name, target, threads, sharedBytes]),
      [
        ['good', 'sm_80', 64, 256],
        ['racing', 'sm_80', 64, 256],
        ['wrong', 'sm_80', 64, 256],
        ['hopper', 'sm_90a', 64, 256],
        ['greedy', 'sm_80', 1024, 0],
      ],
    );
    assert.deepEqual(kernels[3]!.archs, ['sm_90a']);
    assert.equal(kernels[4]!.registers, 64);
  });

  test('without ptxas it says why there are no registers', async (t) => {
    withoutPtxas(t);
    const { code, stdout, stderr } = await run('list');
    assert.equal(code, 0);
    assert.match(stdout, /^good +sm_80 +64 +256 +- +y = x$/m);
    assert.match(stderr, /ptxas, which is not on PATH/);
    const { kernels } = shape.parse(jsonOf(await run('list', '--json')));
    assert.ok(kernels.every(({ registers }) => registers === null));
  });
});

describe('print', () => {
  test('the PTX, for the least architecture or another one', async () => {
    const { code, stdout, stderr } = await run('print', 'good');
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^\.version 7\.0\n\.target sm_80\n[^]*\.visible \.entry copy\([^]*ret;\n\}\n$/);
    assert.match((await run('print', 'good', '--arch', 'sm_120')).stdout, /^\.target sm_120$/m);
    const { kernel: name, example: shape, arch, ptx } = jsonOf(await run('print', 'good', '--json'));
    assert.deepEqual([name, shape, arch, ptx], ['good', 'only', 'sm_80', stdout]);
  });

  test('--lines names the TypeScript', async () => {
    assert.doesNotMatch((await run('print', 'good')).stdout, /\.loc/);
    assert.match((await run('print', 'good', '--lines')).stdout, /\.loc 1 \d+ \d+[^]*\.file 1 ".*kernel\.test\.ts"/);
  });

  test('an architecture it cannot run on is refused', async () => {
    const { stderr } = await fails('kernel-arch-unsupported', 'print', 'hopper', '--arch', 'sm_80');
    assert.match(stderr, /hopper needs instructions or shared memory that sm_80 lacks.*\n.*Choose one of sm_90a\./);
    await fails('kernel-arch-unsupported', 'print', 'hopper', '--arch', 'sm_120');
    assert.equal((await run('print', 'hopper', '--arch', 'sm_90a')).code, 0);
  });
});

describe('simulate', () => {
  const shape = z.strictObject({
    ok: z.boolean(),
    kernel: z.string(),
    runs: z.array(
      z.strictObject({
        ok: z.boolean(),
        example: z.string(),
        program: z.string(),
        grid: z.array(z.number()),
        seed: z.number(),
        error: z.number().nullable(),
        bound: z.number(),
        findings: z.array(finding),
        counters: z.looseObject({ instructions: z.number().min(1) }),
      }),
    ),
  });

  test('a right kernel: error, counters, exit code 0', async () => {
    const { code, stdout } = await run('simulate', 'good');
    assert.equal(code, 0);
    assert.match(stdout, /^✔ only, seed 1: error 0 \(at most 2\.5e-1\), 0 findings\n(.*\n)* +instructions +\d+\n/);
    const { ok, runs } = shape.parse(jsonOf(await run('simulate', 'good', '--seed', '4', '--seeds', '3', '--json')));
    assert.equal(ok, true);
    assert.deepEqual(
      runs.map(({ seed, error, grid }) => [seed, error, grid]),
      [4, 5, 6].map((seed) => [seed, 0, [1]]),
    );
  });

  test('every example of the catalogue, or one of them', async () => {
    const all = shape.parse(jsonOf(await marlinHere(['kernel', 'simulate', 'vector-add', '--json'])));
    assert.deepEqual(
      all.runs.map((one) => one.example),
      ['1000', '1024', '1'],
    );
    const line = ['kernel', 'simulate', 'vector-add', '--example', '1024', '--json'];
    assert.equal(shape.parse(jsonOf(await marlinHere(line))).runs.length, 1);
  });

  test('findings: line and fix, exit code 2', async () => {
    const { code, stdout } = await run('simulate', 'racing');
    assert.equal(code, 2);
    assert.match(stdout, /^✖ only, seed 1: .*\n(.*\n)* {4}race at kernel\.test\.ts:\d+.*: .*barrier/);
    const ran = await run('simulate', 'racing', '--json');
    assert.equal(ran.code, 2);
    const { ok, runs } = shape.parse(jsonOf(ran));
    assert.deepEqual([ok, runs[0]!.ok], [false, false]);
    const race = runs[0]!.findings.find(({ kind }) => kind === 'race');
    const source = readFileSync(import.meta.filename, 'utf8').split('\n');
    assert.match(source[race!.line - 1]!, /ldShared|stShared/);
    assert.equal(race!.file, import.meta.filename);
  });

  test('a wrong result: exit code 2 without a finding', async () => {
    const { code, stdout } = await run('simulate', 'wrong');
    assert.equal(code, 2);
    assert.match(stdout, /^✖ only, seed 1: error 1\.0e\+0 \(at most 2\.5e-1\), 0 findings/);
    assert.equal(shape.parse(jsonOf(await run('simulate', 'wrong', '--json'))).ok, false);
  });

  test('counters of any depth are one list', () => {
    const counters = { instructions: 3, bytes: { shared: 4, global: { read: 5 } }, kinds: new Map([['mma', 6]]) };
    assert.deepEqual(flat(counters), [
      ['instructions', 3],
      ['bytes.shared', 4],
      ['bytes.global.read', 5],
      ['kinds.mma', 6],
    ]);
  });
});

describe('draw', () => {
  test('text for a terminal', async () => {
    const { code, stdout } = await run('draw', 'good');
    assert.deepEqual([code, stdout], [0, 'A tile (swizzled)\n\nab\nba\n\nA fragment\n\ncc\n\n']);
    const { kernel: name, drawings: list } = jsonOf(await run('draw', 'good', '--json'));
    assert.equal(name, 'good');
    assert.deepEqual(
      list,
      drawings.map(({ title, text }) => ({ title, text, file: null })),
    );
  });

  test('--svg writes files, over older ones, and leaves nothing else', async () => {
    const folder = join(root, 'new', 'drawings');
    for (let time = 0; time < 2; time++) {
      const { code, stdout } = await run('draw', 'good', '--svg', folder);
      assert.equal(code, 0);
      const files = ['good-a-fragment.svg', 'good-a-tile-swizzled.svg'];
      assert.deepEqual(readdirSync(folder).toSorted(), files);
      assert.equal(readFileSync(join(folder, files[1]!), 'utf8'), '<svg>tile</svg>');
      assert.ok(stdout.includes(join(folder, files[0]!)) && !stdout.includes('ab\nba'));
    }
  });

  test('a folder that cannot be made or written is an error', async () => {
    const file = join(root, 'a-file');
    writeFileSync(file, '');
    await fails('output-unwritable', 'draw', 'good', '--svg', file);
    const taken = join(root, 'taken');
    mkdirSync(join(taken, 'good-a-tile-swizzled.svg'), { recursive: true });
    await fails('output-unwritable', 'draw', 'good', '--svg', taken);
    assert.deepEqual(readdirSync(taken), ['good-a-tile-swizzled.svg']);
  });

  test('a kernel without drawings says so, and makes no folder', async () => {
    const folder = join(root, 'none');
    assert.deepEqual(await run('draw', 'wrong', '--svg', folder), {
      code: 0,
      stdout: 'The kernel wrong has no drawings.\n',
      stderr: '',
    });
    assert.equal(existsSync(folder), false);
    assert.deepEqual(jsonOf(await run('draw', 'wrong', '--json')), { kernel: 'wrong', drawings: [] });
  });
});

describe('verify', () => {
  const shape = z.strictObject({
    ok: z.boolean(),
    programs: z.number(),
    assembled: z.number().nullable(),
    archs: z.array(z.string()),
    spills: z.number(),
    findings: z.number(),
    seconds: z.number(),
    seeds: z.number(),
    problems: z.array(z.string()),
    details: z.array(
      z.strictObject({
        kernel: z.string(),
        example: z.string(),
        program: z.string(),
        assemblies: z
          .array(
            z.strictObject({
              arch: z.string(),
              registers: z.number(),
              spillBytes: z.number(),
              stackBytes: z.number(),
              warnings: z.array(z.string()),
              refused: z.string().nullable(),
            }),
          )
          .nullable(),
        runs: z.array(
          z.strictObject({
            seed: z.number(),
            findings: z.array(finding),
            error: z.number().nullable(),
            bound: z.number(),
          }),
        ),
      }),
    ),
  });
  const verified = async (...line: readonly string[]): Promise<[number | string, z.infer<typeof shape>]> => {
    const ran = await run('verify', ...line, '--json');
    assert.equal(ran.stderr, '');
    return [ran.code, shape.parse(jsonOf(ran))];
  };

  test('the whole catalogue is right', { skip: ptxas }, async () => {
    const ran = await marlinHere(['kernel', 'verify', '--all', '--seeds', '1', '--json']);
    const { ok, programs, assembled, archs, spills, findings, problems } = shape.parse(jsonOf(ran));
    assert.deepEqual([ran.code, ok, spills, findings, problems], [0, true, 0, 0, []]);
    assert.deepEqual(archs, ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_120']);
    assert.ok(programs >= catalogue.length && assembled === programs);
  });

  test('without names, and with --all, every kernel', async (t) => {
    withoutPtxas(t);
    for (const line of [[], ['--all'], ['good', '--all']]) {
      const [code, { programs, details }] = await verified(...line, '--seeds', '1');
      assert.deepEqual([code, programs], [1, entries.length]);
      assert.deepEqual(
        details.map((one) => one.kernel),
        entries.map(({ name }) => name),
      );
    }
  });

  test('for people: a table, and a sentence at its end', { skip: ptxas }, async () => {
    const { code, stdout } = await run('verify', 'good', 'hopper');
    assert.equal(code, 0);
    assert.match(stdout, /^good +only +5 +\d+ +0 +0 +2\.5e-1$/m);
    assert.match(stdout, /^hopper +only +1 +\d+ +0 +0 +2\.5e-1$/m);
    assert.match(stdout, /\n✔ 2 programs: 2 assembled for .*, 0 with spills; 0 findings over 3 seeds\n$/);
  });

  test('each architecture a kernel runs on, and no other', { skip: ptxas }, async () => {
    const [code, { assembled, archs, details }] = await verified('hopper', '--seeds', '1');
    assert.deepEqual([code, assembled, archs], [0, 1, ['sm_90a']]);
    assert.deepEqual(
      details[0]!.assemblies!.map(({ arch }) => arch),
      ['sm_90a'],
    );
  });

  test('spills: exit code 1', { skip: ptxas }, async () => {
    const [code, { ok, spills, findings, problems, details }] = await verified('greedy', '--seeds', '1');
    assert.deepEqual([code, ok, spills, findings], [1, false, 5, 0]);
    assert.match(problems[0]!, /^greedy \(greedy\) for sm_80: \d+ bytes of spills, \d+ bytes of stack$/);
    assert.ok(details[0]!.assemblies!.every(({ spillBytes, stackBytes }) => spillBytes > 0 && stackBytes > 0));
  });

  test('findings: exit code 1, counted over the seeds', async () => {
    const [code, { ok, findings, problems }] = await verified('racing', 'good');
    assert.deepEqual([code, ok], [1, false]);
    assert.ok(findings >= 3, String(findings));
    assert.ok(problems.some((problem) => /^racing only, seed 3: race at kernel\.test\.ts:\d+/.test(problem)));
    const { code: again, stdout } = await run('verify', 'racing', 'good');
    assert.equal(again, 1);
    assert.match(stdout, /\n✖ racing only, seed 2: race .*\n/);
  });

  test('a wrong result: exit code 1', async () => {
    const [code, { ok, findings, problems }] = await verified('wrong', '--seeds', '1');
    assert.deepEqual([code, ok, findings], [1, false, 0]);
    assert.deepEqual(problems, ['wrong only, seed 1: error 1.0e+0 is above 2.5e-1']);
  });

  test('without ptxas it simulates all the same', async (t) => {
    withoutPtxas(t);
    const [code, { ok, assembled, archs, programs, findings, details }] = await verified('good');
    assert.deepEqual([code, ok, programs, assembled, archs, findings], [0, true, 1, null, [], 0]);
    assert.deepEqual([details[0]!.assemblies, details[0]!.runs.length], [null, 3]);
    assert.equal((await verified('racing'))[0], 1);
    const { stdout, stderr } = await run('verify', 'good');
    assert.match(stdout, /✔ 1 programs: not assembled; 0 findings over 3 seeds/);
    assert.match(stderr, /ptxas is not on PATH/);
  });

  test('remarks about lost speed: exit code 1; a ptxas that knows less than we do is used for what it knows', async (t) => {
    const bin = join(root, 'old-ptxas');
    mkdirSync(bin);
    const remark =
      "ptxas info : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized in 'copy'";
    const says = `Allowed values: 'sm_80','sm_86'\n${remark}\nptxas info : Compiling entry function 'copy' for 'sm_80'\nptxas info : Used 9 registers`;
    writeFileSync(join(bin, 'ptxas'), `#!/bin/sh\nwhile read -r line; do echo "$line"; done <<'END'\n${says}\nEND\n`);
    chmodSync(join(bin, 'ptxas'), 0o755);
    onlyOnPath(t, bin);
    const [code, { ok, assembled, archs, spills, problems }] = await verified('good', '--seeds', '1');
    assert.deepEqual([code, ok, assembled, archs, spills], [1, false, 1, ['sm_80', 'sm_86'], 0]);
    assert.deepEqual(
      problems,
      archs.map((arch) => `good (copy) for ${arch}: ${remark}`),
    );
    const { stdout, stderr } = await run('verify', 'good', '--seeds', '1');
    assert.ok(stdout.includes(`✖ good (copy) for sm_80: ${remark}\n`));
    assert.match(stderr, /does not know sm_89, sm_90a, sm_120/);
  });

  test('what ptxas refuses: exit code 1 with its words', { skip: ptxas }, async () => {
    const broken = { ...copy(), params: {} };
    const only = example({
      name: 'only',
      program: broken,
      grid: [1],
      args: () => ({}),
      check: () => ({ error: 0, bound: 0 }),
    });
    const verb = kernelVerb([entry({ name: 'broken', title: 'no parameters', examples: () => [only] })]);
    const ran = await marlinHere(['kernel', 'verify', '--seeds', '1', '--json'], '', [verb]);
    const { ok, assembled, problems } = shape.parse(jsonOf(ran));
    assert.deepEqual([ran.code, ok, assembled], [1, false, 0]);
    assert.match(problems[0]!, /^broken \(copy\) for sm_80: ptxas does not take copy for sm_80\. It says: .*error/);
  });
});
