// The law of imports: a file in src/ imports from its own folder or from a folder with a smaller number.
// `node tools/layers.ts` reads every import (static, dynamic, type, export-from) and fails with one line for each break.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Layer {
  readonly number: number;
  /** Set where the number alone would allow too much: the only other folders this one may know. */
  readonly only?: readonly string[];
}

/** Every folder of src/ and its number. Folders of equal number do not know each other. */
export const layers: Readonly<Record<string, Layer>> = {
  base: { number: 0 },
  ptx: { number: 1 },
  sim: { number: 2 },
  cuda: { number: 2, only: ['base'] },
  device: { number: 3 },
  kernels: { number: 4 },
  cpu: { number: 4 },
  formats: { number: 5 },
  quantize: { number: 6 },
  text: { number: 6 },
  model: { number: 7 },
  calibrate: { number: 8 },
  engine: { number: 8 },
  server: { number: 9 },
  bench: { number: 9 },
  cli: { number: 10 },
};

/** AssemblyScript: another language with the same file ending. */
const FOREIGN = 'src/cpu/assembly/';

/** A file of the project: its path from the root with forward slashes ('src/text/tokenizer.ts') and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** One import: the path as written (null when it is computed at run time) and its line, from 1. */
export interface Import {
  readonly specifier: string | null;
  readonly line: number;
}

/** The breaks of the law, one readable line each; empty when all is well. Packages and `node:` modules are free to all. */
export function findBreaks(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const folder = folderOf(file.path);
    if (folder === null) return [`${file.path} ${NOWHERE}`];
    return importsOf(file.text).flatMap(({ specifier, line }) => {
      const where = `${file.path}:${line} imports`;
      if (specifier === null) {
        // A test may load what it has just written; the program itself has to say what it loads.
        return file.path.endsWith('.test.ts')
          ? []
          : [`${where} a computed path: write it as a string, so that it can be checked`];
      }
      if (!/^[./]/.test(specifier)) return [];
      const target = posix.join(posix.dirname(file.path), specifier);
      const why = objection(folder, folderOf(target));
      return why === null ? [] : [`${where} ${target}: ${why}`];
    });
  });
}

const NOWHERE = 'is in no known folder of src/ (the table is in tools/layers.ts)';

function objection(from: string, to: string | null): string | null {
  if (to === null) return `it ${NOWHERE}`;
  const [knower, known] = [layers[from]!, layers[to]!];
  if (from === to) return null;
  if (knower.only?.includes(to) === false) return `${from} may know only ${knower.only.join(', ')}`;
  if (known.number < knower.number) return null;
  return `layer ${knower.number} (${from}) may not know layer ${known.number} (${to})`;
}

/** 'text' for 'src/text/tokenizer.ts'; null for a file that lies in no folder of the table. */
function folderOf(path: string): string | null {
  const folder = /^src\/([^/]+)\/./.exec(path)?.[1];
  return folder !== undefined && Object.hasOwn(layers, folder) ? folder : null;
}

/**
 * The imports of a TypeScript source. Outside of `import` and `export` the word `from` is never followed by a string, so three
 * pairs of tokens find them all: `from 'x'`, `import 'x'`, `import('x')`; the last one also covers the type `import('x').T`.
 */
export function importsOf(source: string): Import[] {
  const found: Import[] = [];
  const tokens = tokenize(source);
  for (const [i, token] of tokens.entries()) {
    const previous = tokens[i - 1]?.text;
    const isProperty = tokens[i - 2]?.text === '.';
    if (token.string !== undefined && (previous === 'from' || previous === 'import') && !isProperty) {
      found.push({ specifier: token.string, line: token.line });
    } else if (token.text === '(' && previous === 'import' && !isProperty) {
      found.push({ specifier: tokens[i + 1]?.string ?? null, line: token.line });
    }
  }
  return found;
}

interface Token {
  /** A word or one sign; '' for a string. */
  readonly text: string;
  readonly string?: string;
  readonly line: number;
}

/** What may stand before a `/` that divides; after anything else it opens a regular expression. */
const ENDS_A_VALUE = /^(?:[\w$)\]}]|$)/;
const KEYWORD_BEFORE_REGEX = /^(?:return|typeof|case|in|of|do|else|void|delete|throw|new|await|yield)$/;

const SPACE_OR_COMMENT = /(?:\s|\/\/[^\n]*|\/\*[^]*?\*\/)+/y;
const WORD = /[\w$]+/y;
const STRING = /'((?:[^'\\\n]|\\[^])*)'|"((?:[^"\\\n]|\\[^])*)"/y;
const REGEX = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*/y;
const TEMPLATE_TEXT = /(?:[^`\\$]|\\[^]|\$(?!\{))*/y;

/** Words, signs and strings with their lines; comments, regular expressions and the text of templates are left out. */
function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let line = 1;
  /** For each `${` that is open, how many braces are open inside it. */
  const holes: number[] = [];

  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(source);
    if (match !== null) {
      at += match[0].length;
      for (const character of match[0]) if (character === '\n') line++;
    }
    return match;
  };
  const templateText = (): void => {
    take(TEMPLATE_TEXT);
    if (source[at] === '`') tokens.push({ text: '', line });
    else holes.push(0);
    at += source[at] === '`' ? 1 : 2;
  };

  while (at < source.length) {
    if (take(SPACE_OR_COMMENT) !== null) continue;
    const start = line;
    const string = take(STRING);
    if (string !== null) {
      tokens.push({ text: '', string: string[1] ?? string[2] ?? '', line: start });
      continue;
    }
    const word = take(WORD);
    if (word !== null) {
      tokens.push({ text: word[0], line: start });
      continue;
    }
    const sign = source[at]!;
    const before = tokens.at(-1)?.text;
    const valueBefore = before !== undefined && ENDS_A_VALUE.test(before) && !KEYWORD_BEFORE_REGEX.test(before);
    if (sign === '/' && !valueBefore && take(REGEX) !== null) {
      tokens.push({ text: '', line: start });
      continue;
    }
    at++;
    if (sign === '`') {
      templateText();
    } else if (sign === '}' && holes.at(-1) === 0) {
      holes.pop();
      templateText();
    } else {
      if (holes.length > 0 && (sign === '{' || sign === '}')) holes.push(holes.pop()! + (sign === '{' ? 1 : -1));
      tokens.push({ text: sign, line: start });
    }
  }
  return tokens;
}

/** Every TypeScript file under `root`/src that the law covers, in order of path. */
export function readSources(root: string): SourceFile[] {
  return readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .map((path) => posix.join('src', path.replaceAll('\\', '/')))
    .filter((path) => path.endsWith('.ts') && !path.startsWith(FOREIGN))
    .toSorted()
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
}

if (import.meta.main) {
  const files = readSources(join(dirname(fileURLToPath(import.meta.url)), '..'));
  const breaks = findBreaks(files);
  for (const line of breaks) console.error(line);
  if (breaks.length > 0) process.exitCode = 1;
  else console.log(`layers: ${files.length} files, every import points to its own folder or a smaller number`);
}
