// The drawings in docs/figures/ are what layouts and results give today, and each is shown in a page.
import assert from 'node:assert/strict';
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { figures, folder, tables } from './figures.ts';

const docs = fileURLToPath(new URL('../', folder));
const pages = globSync(['*.md', '../README.md'], { cwd: docs }).map((page) => readFileSync(`${docs}/${page}`, 'utf8'));

/** Cells without the blanks that align them. */
const plain = (text: string): string => text.replaceAll(/ *\| */g, '|').replaceAll(/-{3,}/g, '---');

for (const { page, name, text } of tables) {
  test(`the table of ${name} in ${page} is up to date (node tools/figures.ts writes it)`, () => {
    assert.ok(plain(readFileSync(`${docs}/${page}`, 'utf8')).includes(plain(text)));
  });
}

describe('docs/figures', () => {
  test('has these files and no others', () => {
    assert.deepEqual(readdirSync(folder).toSorted(), Object.keys(figures).toSorted());
  });
  for (const [name, text] of Object.entries(figures)) {
    test(`${name} is up to date (node tools/figures.ts writes it) and shown`, () => {
      assert.equal(readFileSync(new URL(name, folder), 'utf8'), text);
      assert.ok(
        pages.some((page) => [`](figures/${name})`, `](docs/figures/${name})`].some((link) => page.includes(link))),
      );
    });
  }
});
