// Writes the drawings of the documentation (docs/figures/): from the layouts and fragment maps that kernels use, and from results in bench/results.
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { figuresOf } from '../src/bench/plot/figures.ts';
import { readPublished } from '../src/bench/published.ts';
import { joined, readResults } from '../src/bench/results.ts';
import { join } from 'node:path';
import { type Drawing, drawAccess, drawFragment, drawLayout, ldmatrixRows } from '../src/ptx/draw/drawing.ts';
import { svg } from '../src/ptx/draw/svg.ts';
import { fragmentA, fragmentB, fragmentC } from '../src/ptx/isa/fragments.ts';
import { type Layout, rows, type Span, swizzled } from '../src/ptx/layout.ts';

const plain = rows('f16', [8, 64]);
const swizzle = swizzled('f16', [8, 64]);
const firstMatrix = (tile: Layout, title: string): Drawing =>
  drawAccess(tile, (lane) => (lane < 8 ? ldmatrixRows()(lane) : null), { title, bytes: 16 });
const spanned = (span: Span): Drawing =>
  drawLayout(swizzled('f16', [8, span / 2], span), { title: `span ${span}: rows of ${span / 2} f16` });

const measured = globSync('../bench/results/gpu-gemm-*.json', { cwd: import.meta.dirname })
  .toSorted()
  .map((file) => readResults(join(import.meta.dirname, file)));

/** Each file's name and what belongs in it. */
export const figures: Readonly<Record<string, string>> = {
  'fragment-a.svg': svg(drawFragment(fragmentA, { title: 'A: 16 rows, 16 k', rows: 16, columns: 16, register: 'a' })),
  'fragment-b-c.svg': svg(
    drawFragment(fragmentB, { title: 'B: 16 k, 8 columns', rows: 16, columns: 8, register: 'b' }),
    drawFragment(fragmentC, { title: 'C: 16 rows, 8 columns', rows: 16, columns: 8, register: 'c' }),
  ),
  'rows-and-swizzled.svg': svg(
    drawLayout(plain, { title: "rows('f16', [8, 64])" }),
    drawLayout(swizzle, { title: "swizzled('f16', [8, 64])" }),
  ),
  'ldmatrix.svg': svg(firstMatrix(plain, 'a matrix of ldmatrix from rows'), firstMatrix(swizzle, 'from swizzled')),
  'spans.svg': svg(...([128, 64, 32] as const).map(spanned)),
  ...Object.fromEntries(
    figuresOf(joined(measured), readPublished()).map((figure) => [`${figure.name}.svg`, figure.svg]),
  ),
};

export const folder: URL = new URL('../docs/figures/', import.meta.url);

const stepsSchema = z.object({
  machine: z.object({ gpu: z.string() }),
  size: z.object({ k: z.number(), n: z.number() }),
  tokens: z.number(),
  steps: z.array(z.object({ name: z.string(), microseconds: z.number(), bytesPerSecond: z.number() })),
});

function stepsTable(file: string): string {
  const { machine, size, tokens, steps } = stepsSchema.parse(
    JSON.parse(readFileSync(new URL(`../bench/results/${file}`, import.meta.url), 'utf8')),
  );
  const first = steps[0]!.microseconds;
  return [
    `${machine.gpu}, ${size.k} x ${size.n}, ${tokens} tokens:`,
    '',
    '| step | us | GB/s of weights | times the first |',
    '| --- | ---: | ---: | ---: |',
    ...steps.map(
      ({ name, microseconds, bytesPerSecond }) =>
        `| ${name} | ${microseconds.toFixed(1)} | ${(bytesPerSecond / 1e9).toFixed(0)} | ${(first / microseconds).toFixed(1)} |`,
    ),
  ].join('\n');
}

/** Tables that results give, by page and name: they stand between <!-- name --> and <!-- /name -->. */
export const tables: readonly { readonly page: string; readonly name: string; readonly text: string }[] = [
  { page: '4-marlin.md', name: 'steps', text: stepsTable('gpu-steps-h100.json') },
];

/** A page with a table in its place. */
export function withTable(page: string, name: string, text: string): string {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(start), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`the page has no ${start} before ${end}`);
  return `${page.slice(0, from + start.length)}\n\n${text}\n\n${page.slice(to)}`;
}

if (import.meta.main) {
  for (const [name, text] of Object.entries(figures)) writeFileSync(new URL(name, folder), text);
  for (const { page, name, text } of tables) {
    const file = new URL(`../${page}`, folder);
    writeFileSync(file, withTable(readFileSync(file, 'utf8'), name, text));
  }
}
