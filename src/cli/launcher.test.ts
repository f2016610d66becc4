// bin/marlin.js: what starts the command line, and what it says where it cannot.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageVersion } from './version.ts';
import { marlinScript, temporaryFolder } from './run-marlin.fixture.ts';

const root = temporaryFolder();
mkdirSync(join(root, 'bin'));
cpSync(marlinScript, join(root, 'bin/marlin.js'));
writeFileSync(join(root, 'package.json'), '{ "type": "module", "version": "0.0.0" }');

/** Makes a Node believe that it is an old one. */
const OLD =
  'data:text/javascript,Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.1.0" } })';

function launched(
  script: string,
  ...parameters: readonly string[]
): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...parameters.slice(0, -1), script, parameters.at(-1)!],
    {
      encoding: 'utf8',
    },
  );
  return { code: status, stdout, stderr };
}

test('an old Node hands over to the one of the checkout', () => {
  assert.deepEqual(launched(marlinScript, '--import', OLD, '--version'), {
    code: 0,
    stdout: `${packageVersion()}\n`,
    stderr: '',
  });
  assert.equal(launched(marlinScript, '--import', OLD, '--nope').code, 2);
});

test('an old Node without another says what is needed', () => {
  const copy = join(root, 'bin/marlin.js');
  const { code, stdout, stderr } = launched(copy, '--import', OLD, '--version');
  assert.deepEqual([code, stdout], [2, '']);
  assert.match(stderr, /^error marlin-ts needs Node 24 or newer; .* \[node-too-old\]\n {2}fix .*\n$/);
  const json = launched(copy, '--import', OLD, '--json');
  assert.equal(json.code, 2);
  assert.match(json.stdout, /^\{"error":\{"code":"node-too-old","message":".+","fix":".+"\}\}\n$/);
});

test('a checkout without its packages says how to get them', () => {
  mkdirSync(join(root, 'src/cli'), { recursive: true });
  writeFileSync(join(root, 'src/cli/main.ts'), "import 'commander';\n");
  const { code, stderr } = launched(join(root, 'bin/marlin.js'), '--version');
  assert.equal(code, 2);
  assert.match(
    stderr,
    /^error marlin-ts is not installed completely: .*commander.* \[not-installed\]\n {2}fix .*npm ci/,
  );
});
