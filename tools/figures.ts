// Writes the drawings of the documentation (docs/figures/): from the layouts and fragment maps that kernels use, and from results in bench/results.
import { globSync, writeFileSync } from 'node:fs';
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

if (import.meta.main) for (const [name, text] of Object.entries(figures)) writeFileSync(new URL(name, folder), text);
