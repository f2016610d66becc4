import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { WriteStream } from 'node:tty';
import { promisify } from 'node:util';
import { Command, type Option } from 'commander';
import { main, verbs } from './main.ts';
import { embeddedModel } from './flags.ts';
import {
  errorCodeOf,
  jsonOf,
  marlin,
  marlinHere,
  marlinScript,
  temporaryFolder,
  writeSourceModel,
} from './run-marlin.fixture.ts';
import type { Verb } from './verb.ts';
import { packageVersion } from './version.ts';

const root = temporaryFolder();

interface Named {
  /** 'kernel print' */
  readonly name: string;
  readonly verb: Verb;
}

/** Verbs, and the verbs inside of them. */
function within(table: readonly Verb[], prefix = ''): readonly Named[] {
  return table.flatMap((verb) => [
    { name: `${prefix}${verb.name}`, verb },
    ...within(verb.verbs ?? [], `${prefix}${verb.name} `),
  ]);
}
const named = within(verbs);

function optionsOf({ verb }: Named): readonly Option[] {
  return verb.define(new Command(verb.name), () => Promise.resolve()).options;
}

/** Arguments that each verb needs beside its flags. */
const ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  generate: ['a text'],
  quantize: ['in', 'out'],
  convert: ['in', 'out', '--format', 'gptq'],
  eval: ['--text', 'book.txt'],
  inspect: ['model'],
  'kernel print': ['vector-add'],
  'kernel simulate': ['vector-add'],
  'kernel draw': ['vector-add'],
  'bench plot': ['x.json'],
  'kernel plan': ['--m', '1', '--n', '64', '--k', '64'],
};

describe('what is asked of the program itself', () => {
  test('--version prints the version of package.json', async () => {
    const version = packageVersion();
    assert.match(version, /^\d+\.\d+\.\d+/);
    assert.deepEqual(await marlin(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' });
    assert.deepEqual(jsonOf(await marlinHere(['--version', '--json'])), { version });
  });

  test('--help names every verb and shows examples', async () => {
    const { code, stdout, stderr } = await marlin(['--help']);
    assert.equal(code, 0);
    assert.equal(stderr, '');
    for (const { name, examples } of verbs) {
      assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
      assert.ok(stdout.includes(`$ ${examples[0]!}`));
    }
  });

  test('without a verb the help is shown, but it is no success', async () => {
    const { stdout } = await marlinHere(['--help']);
    assert.deepEqual(await marlin([]), { code: 2, stdout, stderr: '' });
    assert.equal(errorCodeOf(await marlinHere(['--json'])), 'command-invalid');
  });

  test('every verb has its help, in three ways, with all its examples', async () => {
    for (const { name, verb } of named) {
      const path = name.split(' ');
      const ran = await marlinHere([...path, '--help']);
      assert.equal(ran.code, 0, name);
      assert.equal(ran.stderr, '');
      assert.match(ran.stdout, new RegExp(`^Usage: marlin ${name} `));
      assert.match(ran.stdout, /--json/);
      for (const example of verb.examples) assert.ok(ran.stdout.includes(`  $ ${example}\n`), example);
      assert.deepEqual(await marlinHere([...path.slice(0, -1), 'help', ...path.slice(-1)]), ran);
      assert.deepEqual(jsonOf(await marlinHere([...path, '--help', '--json'])), { help: ran.stdout });
    }
  });

  test('help hides no path of this machine', async () => {
    for (const { name } of named)
      assert.ok(!(await marlinHere([...name.split(' '), '--help'])).stdout.includes(embeddedModel), name);
  });

  test('a verb of verbs shows its help, but it is no success', async () => {
    const { stdout } = await marlinHere(['kernel', '--help']);
    assert.deepEqual(await marlinHere(['kernel']), { code: 2, stdout, stderr: '' });
    const ran = await marlinHere(['kernel', '--json']);
    assert.deepEqual([ran.code, errorCodeOf(ran)], [2, 'command-invalid']);
  });
});

describe('a command line that is not understood', () => {
  const cases: readonly (readonly [line: readonly string[], message: RegExp, fix: RegExp])[] = [
    [['nope'], /unknown command 'nope'/, /marlin --help/],
    [['generat', 'x'], /unknown command 'generat' \(Did you mean generate\?\)/, /marlin --help/],
    [['help', 'nope'], /there is no help for nope/, /marlin --help/],
    [['generate'], /missing required argument 'prompt'/, /marlin generate --help/],
    [['generate', 'two', 'words'], /too many arguments/, /quotes/],
    [['generate', '- a list'], /unknown option '- a list'/, /put -- in front/],
    [['generate', 'x', '--sed', '1'], /unknown option '--sed' \(Did you mean --seed\?\)/, /marlin generate --help/],
    [['generate', 'x', '--seed'], /'-s, --seed <n>' argument missing/, /marlin generate --help/],
    [['eval'], /required option '--text <file>' not specified/, /marlin eval --help/],
    [['quantize', 'in'], /missing required argument 'out'/, /marlin quantize --help/],
    [['kernel', 'nope'], /unknown command 'nope'/, /marlin kernel --help/],
    [['kernel', 'prin', 'x'], /unknown command 'prin' \(Did you mean print\?\)/, /marlin kernel --help/],
    [['kernel', 'print'], /missing required argument 'name'/, /marlin kernel print --help/],
    [['kernel', 'help', 'nope'], /there is no help for nope/, /marlin kernel --help/],
    [['--nope'], /unknown option '--nope'/, /marlin --help/],
  ];
  for (const [line, message, fix] of cases) {
    test(`marlin ${line.join(' ')}`, async () => {
      const { code, stdout, stderr } = await marlinHere(line);
      assert.deepEqual([code, stdout], [2, '']);
      const [first = '', second = '', ...rest] = stderr.split('\n');
      assert.match(first, /^error .* \[command-invalid\]$/);
      assert.match(first, message);
      assert.match(second, /^ {2}fix /);
      assert.match(second, fix);
      assert.deepEqual(rest, ['']);
      const ran = await marlinHere([...line, '--json']);
      assert.deepEqual([ran.code, ran.stderr, errorCodeOf(ran)], [2, '', 'command-invalid']);
    });
  }

  test('every verb refuses an unknown flag', async () => {
    for (const { name } of named) {
      const ran = await marlinHere([...name.split(' '), ...(ARGUMENTS[name] ?? []), '--no-such-flag', '--json']);
      assert.deepEqual([ran.code, errorCodeOf(ran)], [2, 'command-invalid'], name);
    }
  });

  test('behind -- a text may look like a flag', async () => {
    const { code, stdout } = await marlin(['generate', '-n', '1', '--', '--json']);
    assert.equal(code, 0);
    assert.ok(stdout.startsWith('--json'));
  });
});

describe('flag values', () => {
  const counts = ['', ' ', 'many', '1.5', '-1', '0', '1e99', 'NaN', 'Infinity'];
  const unit = ['', 'much', '-0.1', '1.1', 'NaN'];
  /** What each flag must refuse. */
  const BAD: Readonly<Record<string, readonly string[]>> = {
    '--model': ['', ' '],
    '--device': ['', 'gpu', 'CPU', 'cuda:0'],
    '--threads': [...counts, '257'],
    '--context': counts,
    '--activation-bits': ['', '4', '8.0', 'exact'],
    '--max-tokens': counts,
    '--temperature': ['', 'hot', '-0.1', '101', 'NaN', 'Infinity'],
    '--top-k': ['', 'few', '-1', '0.5'],
    '--top-p': [...unit, '0'],
    '--min-p': unit,
    '--repetition-penalty': ['', 'strict', '0', '-1', '101'],
    '--seeds': [...counts, '10001'],
    '--arch': ['', 'sm_75', 'SM_90A', '90a', 'sm_90a '],
    '--svg': ['', ' '],
    '--seed': ['', 'abc', '-1', '0.5', '9007199254740992'],
    '--text': ['', ' '],
    '--windows': counts,
    '--compare': ['', ' ', 'one-folder'],
    '--method': ['', 'awq', 'RTN'],
    '--group': ['', 'row', '-128', '0', '4', '12', '64.5'],
    '--clip': ['', 'max', 'MSE'],
    '--format': ['', 'gguf', 'GPTQ', 'gptq_v2'],
    '--dtype': ['', 'f32', 'F16', 'half'],
    '--m': counts,
    '--candidates': [...counts, '101'],
    '--n': counts,
    '--k': counts,
    '--shapes': ['', ' ', 'llama', '4096', '100x64', '128x20', '128x64,'],
    '--gpu': ['', 'first', '-1', '0.5', '256'],
    '--output': ['', ' '],
    '--multiprocessors': [...counts, '10001'],
  };
  const ANYTHING = ['--system', '--example', '--tuned'];

  test('every flag that takes a value is in this table', () => {
    const taking = named.flatMap(optionsOf).filter((option) => option.required || option.optional);
    assert.deepEqual(new Set(taking.map((option) => option.long!)), new Set([...Object.keys(BAD), ...ANYTHING]));
  });

  for (const one of named) {
    const { name } = one;
    for (const { long } of optionsOf(one)) {
      const values = BAD[long!];
      if (values === undefined) continue;
      test(`marlin ${name} ${long!} refuses ${values.map((value) => JSON.stringify(value)).join(' ')}`, async () => {
        for (const value of values) {
          const line = [...name.split(' '), ...(ARGUMENTS[name] ?? []), long!, value];
          const { code, stdout, stderr } = await marlinHere(line);
          assert.deepEqual([code, stdout], [2, ''], value);
          assert.match(stderr, /^error .* \[(flag-invalid|path-empty|group-unsupported)\]\n {2}fix .*\n$/);
          assert.equal((await marlinHere([...line, '--json'])).code, 2);
        }
      });
    }
  }

  test('the message says what is expected', async () => {
    const { stderr } = await marlinHere(['generate', 'x', '--seed', '']);
    assert.match(stderr, /--seed "" is not usable: expected a whole number of at least 0\. \[flag-invalid\]/);
    assert.match((await marlinHere(['generate', 'x', '--device', 'tpu'])).stderr, /expected auto, cpu or cuda/);
    assert.match((await marlinHere(['generate', 'x', '--top-p', '0'])).stderr, /a number above 0 and up to 1/);
  });
});

describe('examples', () => {
  // As a user would: in a shell, in a folder where the named files are.
  const bin = join(root, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'marlin'), `#!/bin/sh\nexec '${process.execPath}' '${marlinScript}' "$@"\n`);
  chmodSync(join(bin, 'marlin'), 0o755);
  const model = writeSourceModel(root, { max_position_embeddings: 64, hidden_size: 128, intermediate_size: 128 });
  const book = 'The fox went home, and the hen stayed in the barn until the morning. '.repeat(80);

  for (const { name, verb } of named) {
    for (const example of verb.examples) {
      test(example, async () => {
        const cwd = mkdtempSync(join(root, 'example-'));
        symlinkSync(model, join(cwd, 'my-model'));
        if (name !== 'quantize') symlinkSync(embeddedModel, join(cwd, 'my-model-w4'));
        for (const file of ['book.txt', 'heldout.txt', 'opening.txt']) {
          writeFileSync(join(cwd, file), file === 'opening.txt' ? 'Once upon a time' : book);
        }
        const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}` };
        const running = promisify(execFile)('sh', ['-c', example], { cwd, env });
        running.child.stdin?.end();
        const { stdout } = await running; // rejects when the exit code is not 0
        if (example.includes('--json')) jsonOf({ code: 0, stdout, stderr: '' });
        else if (name !== 'chat') assert.notEqual(stdout, '');
      });
    }
  }
});

describe('colours', () => {
  const failing = ['inspect', '/no/such/folder'];

  /** What a terminal of the given environment gets on standard error. */
  async function onTerminal(variables: Readonly<Record<string, string>>): Promise<string> {
    const getColorDepth = (): number =>
      WriteStream.prototype.getColorDepth.call(stderr, { ...variables, TERM: 'xterm' });
    const stderr: PassThrough = Object.assign(new PassThrough(), { isTTY: true, getColorDepth });
    await main(failing, { stdin: Readable.from(['']), stdout: new PassThrough(), stderr });
    return String(stderr.read());
  }

  test('a terminal gets some, unless NO_COLOR is set', async () => {
    assert.ok((await onTerminal({})).startsWith('\x1b[31merror\x1b[39m There is no'));
    assert.ok((await onTerminal({ NO_COLOR: '1' })).startsWith('error There is no'));
  });

  test('a pipe gets none', async () => {
    assert.match((await marlin(failing)).stderr, /^error .*\n {2}fix .*\n$/);
  });
});

test('nothing listens any more when main is through', async () => {
  const before = process.listenerCount('SIGINT');
  await marlinHere(['--version']);
  assert.equal(process.listenerCount('SIGINT'), before);
});
