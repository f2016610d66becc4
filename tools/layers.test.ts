import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { findBreaks, importsOf, layers, readSources } from './layers.ts';

const breaksOf = (path: string, text: string): string[] => findBreaks([{ path, text }]);
const specifiers = (text: string): (string | null)[] => importsOf(text).map((found) => found.specifier);

describe('the law', () => {
  test('allows the own folder, smaller numbers, packages and node:', () => {
    const text = `
      import { a } from './other.ts';
      import { b } from '../base/errors.ts';
      import type { C } from '../cpu/deep/inside.ts';
      import { z } from 'zod';
      import fs from 'node:fs';
    `;
    assert.deepEqual(breaksOf('src/model/x.ts', text), []);
  });

  test('refuses a larger number, with file, line and both layers', () => {
    assert.deepEqual(breaksOf('src/cpu/x.ts', `\n\nimport { y } from '../model/y.ts';\n`), [
      'src/cpu/x.ts:3 imports src/model/y.ts: layer 4 (cpu) may not know layer 7 (model)',
    ]);
  });

  test('refuses a twin of the same number', () => {
    assert.deepEqual(breaksOf('src/text/x.ts', `export * from '../quantize/y.ts';`), [
      'src/text/x.ts:1 imports src/quantize/y.ts: layer 6 (text) may not know layer 6 (quantize)',
    ]);
  });

  test('keeps cuda from everything but base', () => {
    assert.deepEqual(breaksOf('src/cuda/x.ts', `import '../base/y.ts'; import '../ptx/y.ts';`), [
      'src/cuda/x.ts:1 imports src/ptx/y.ts: cuda may know only base',
    ]);
  });

  test('refuses folders that the table does not have, and files outside of src', () => {
    const nowhere = 'is in no known folder of src/ (the table is in tools/layers.ts)';
    assert.deepEqual(breaksOf('src/utils/x.ts', ''), [`src/utils/x.ts ${nowhere}`]);
    assert.deepEqual(breaksOf('src/x.ts', ''), [`src/x.ts ${nowhere}`]);
    assert.deepEqual(breaksOf('src/toString/x.ts', ''), [`src/toString/x.ts ${nowhere}`]);
    assert.deepEqual(breaksOf('src/cli/x.ts', `import '../utils/y.ts';`), [
      `src/cli/x.ts:1 imports src/utils/y.ts: it ${nowhere}`,
    ]);
    assert.deepEqual(breaksOf('src/cli/x.ts', `import '../../tools/y.ts';`), [
      `src/cli/x.ts:1 imports tools/y.ts: it ${nowhere}`,
    ]);
  });

  test('refuses a computed path, except in a test', () => {
    const text = 'const m = await import(path);';
    assert.deepEqual(breaksOf('src/cli/x.ts', text), [
      'src/cli/x.ts:1 imports a computed path: write it as a string, so that it can be checked',
    ]);
    assert.deepEqual(breaksOf('src/cli/x.test.ts', text), []);
  });

  test('every pair of folders: allowed exactly when the number is smaller or the folder is the same', () => {
    for (const [from, knower] of Object.entries(layers)) {
      for (const [to, known] of Object.entries(layers)) {
        const allowed = from === to || (known.number < knower.number && (from !== 'cuda' || to === 'base'));
        assert.equal(
          breaksOf(`src/${from}/x.ts`, `import '../${to}/y.ts'`).length,
          allowed ? 0 : 1,
          `${from} -> ${to}`,
        );
      }
    }
  });
});

describe('reading imports', () => {
  test('finds every form', () => {
    const text = `
      import './a';
      import b from "./b";
      import * as c from './c';
      import d, { type D, dd as e } from './d';
      import {
        one, // from 'nowhere'
        two,
      } from './e';
      import type F from './f';
      import json from './g.json' with { type: 'json' };
      export { h } from './h';
      export * from './i';
      export type { J } from './j';
      const k = await import('./k');
      let l: import('./l').L<string>;
      let m: typeof import(/* here */ './m');
    `;
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g.json', 'h', 'i', 'j', 'k', 'l', 'm'];
    assert.deepEqual(
      specifiers(text),
      names.map((name) => `./${name}`),
    );
  });

  test('counts lines through comments, templates and lists of names', () => {
    const text = "/* 1\n2 */\n// 3\nconst t = `4\n5 ${x}\n6`;\nimport {\n  y,\n} from './y';\n";
    assert.deepEqual(importsOf(text), [{ specifier: './y', line: 9 }]);
  });

  test('is not fooled by comments, strings, templates, regular expressions and properties', () => {
    const text = `
      // import './a';
      /* import './a'; */
      const s = "import './a'", t = 'from "./a"', it = 'it\\'s from';
      const u = \`import './a' \${f({ x: \`from './a'\` })} from './a'\`;
      const r = /['"\`/]import [/'"]/, q = x / y / from.length;
      if (a < b) return /from '.\\/a'/.test(c);
      Array.from('./a'); import.meta.resolve('./a'); loader.import('./a');
    `;
    assert.deepEqual(specifiers(text), []);
  });

  test('goes on correctly after each of them', () => {
    for (const trap of [
      '/[/"]/;',
      "'it\\'s';",
      '`${`}`}`;',
      '`\\``;',
      'a / b; c / d;',
      "// '\n",
      '/* " */',
      '`$`;',
      '`${ {a: {}} }`;',
    ]) {
      assert.deepEqual(specifiers(`const x = 1; ${trap} import './real';`), ['./real'], trap);
      assert.deepEqual(specifiers(`const x = ${trap}\n import './real';`), ['./real'], trap);
    }
  });
});

test('reads src/**/*.ts in order and leaves the AssemblyScript out', () => {
  const root = mkdtempSync(join(tmpdir(), 'layers-'));
  try {
    for (const path of [
      'src/text/b.ts',
      'src/base/deep/a.ts',
      'src/cpu/assembly/w.ts',
      'src/text/notes.md',
      'tools/t.ts',
    ]) {
      mkdirSync(join(root, dirname(path)), { recursive: true });
      writeFileSync(join(root, path), path);
    }
    assert.deepEqual(readSources(root), [
      { path: 'src/base/deep/a.ts', text: 'src/base/deep/a.ts' },
      { path: 'src/text/b.ts', text: 'src/text/b.ts' },
    ]);
  } finally {
    rmSync(root, { recursive: true });
  }
});
