// The package as a user installs it: packed, unpacked elsewhere, imported, type-checked and run without the checkout.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const root = fileURLToPath(new URL('..', import.meta.url));
const packageJson = z
  .object({ dependencies: z.record(z.string(), z.string()), exports: z.record(z.string(), z.unknown()) })
  .parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));

describe('the packed package', () => {
  const home = mkdtempSync(join(tmpdir(), 'marlin-package-'));
  after(() => rmSync(home, { recursive: true, force: true }));

  before(() => {
    // dist/ is there: npm test builds first. Dependencies are linked, so that no registry is needed.
    execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', home], { cwd: root });
    const modules = join(home, 'node_modules');
    mkdirSync(join(modules, '@huggingface'), { recursive: true });
    execFileSync('sh', ['-c', 'tar -xzf marlin-ts-*.tgz && mv package node_modules/marlin-ts'], { cwd: home });
    for (const name of [...Object.keys(packageJson.dependencies), '@types'])
      symlinkSync(join(root, 'node_modules', name), join(modules, name));
    writeFileSync(join(home, 'package.json'), '{ "type": "module" }');
  });

  test('runs the embedded model with nothing but the package', () => {
    const output = execFileSync(
      process.execPath,
      [
        'node_modules/marlin-ts/bin/marlin.js',
        'generate',
        'Once upon a time',
        '--max-tokens',
        '8',
        '--seed',
        '3',
        '--json',
      ],
      {
        cwd: home,
        encoding: 'utf8',
      },
    );
    const result = z
      .object({ text: z.string().min(1), tokens: z.literal(8), device: z.literal('cpu') })
      .parse(JSON.parse(output));
    assert.ok(result.text.length > 0);
  });

  test('every export can be imported', () => {
    for (const name of Object.keys(packageJson.exports).filter(
      (path) => !path.endsWith('.json') && !path.endsWith('*'),
    )) {
      const specifier = `marlin-ts${name.slice(1)}`;
      const output = execFileSync(
        process.execPath,
        ['--input-type=module', '-e', `console.log(Object.keys(await import('${specifier}')).length)`],
        { cwd: home, encoding: 'utf8' },
      );
      assert.ok(Number(output) > 0, specifier);
    }
  });

  test('its types check in a strict project of somebody else', () => {
    writeFileSync(
      join(home, 'use.ts'),
      "import { openModel } from 'marlin-ts/model';\nimport { Checkpoint } from 'marlin-ts/checkpoint';\nusing model = openModel('x');\nexport const context: number = model.context;\n// @ts-expect-error a path is text\nCheckpoint.open(7);\n",
    );
    execFileSync(
      join(root, 'node_modules/.bin/tsc'),
      [
        '--noEmit',
        '--strict',
        '--module',
        'nodenext',
        '--target',
        'esnext',
        '--lib',
        'esnext',
        '--types',
        'node',
        'use.ts',
      ],
      {
        cwd: home,
        encoding: 'utf8',
      },
    );
  });
});
