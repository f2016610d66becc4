// Runs the examples of the documentation: `ts` blocks as programs, `npx marlin` lines of `sh` blocks as commands. `console` blocks are only shown.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';

const root = fileURLToPath(new URL('..', import.meta.url));
const pages = globSync(['*.md', 'docs/*.md', 'models/*/README.md'], { cwd: root });

/** Fenced blocks of a page that carry a language. */
function blocks(page: string): { readonly language: string; readonly code: string }[] {
  const text = readFileSync(`${root}/${page}`, 'utf8');
  return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language = '', code = '']) => ({ language, code }));
}

const run = (command: string, parameters: readonly string[]): string =>
  execFileSync(command, parameters, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

for (const page of pages) {
  describe(page, () => {
    for (const { language, code } of blocks(page)) {
      if (language === 'ts') {
        test(code.split('\n')[0], () => {
          assert.notEqual(run(process.execPath, ['--input-type=module-typescript', '-e', code]).trim(), '');
        });
      }
      if (language !== 'sh') continue;
      for (const line of code.trim().split('\n')) {
        test(line, () => {
          assert.match(line, /^npx marlin /, 'an sh block holds npx marlin lines only');
          const output = run('sh', ['-c', line.replace(/^npx marlin/, `"${process.execPath}" bin/marlin.js`)]);
          assert.notEqual(output.trim(), '');
          if (line.endsWith('--json')) assert.equal(typeof JSON.parse(output), 'object');
        });
      }
    }
  });
}

test('there are pages with examples', () => {
  assert.ok(pages.some((page) => blocks(page).some(({ language }) => language === 'ts')));
});
