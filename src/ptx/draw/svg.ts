// Drawings as one SVG, side by side: self-contained, with its own colours for light and dark surroundings, in whatever monospace font there is.
import type { Cell, Drawing, LegendEntry } from './drawing.ts';
import { wrap } from './wrap.ts';

/** All in pixels. A character of a monospace font is 0.6 of its size wide. */
const FONT = 12;
const SMALL = 9;
const CHARACTER = 0.6;
const LINE = 18;
const MARGIN = 20;
const GAP = 1.5;
const CELL_HEIGHT = 24;
const CELL_PADDING = 10;
const BETWEEN = 40;

/** A part of the picture and the room it takes. */
interface Part {
  readonly width: number;
  readonly height: number;
  readonly text: string;
}

const textWidth = (text: string, size: number): number => text.length * CHARACTER * size;

/** One SVG of drawings from left to right; their legends, and the notes that all of them have, stand once below. */
export function svg(...drawings: readonly Drawing[]): string {
  const [shared, ...others] = drawings.map(({ notes }) => new Set(notes));
  const common = others.reduce((notes, more) => notes.intersection(more), shared ?? new Set<string>());
  const parts = drawings.map((drawing) => grid(drawing, common));
  const across = parts.reduce((sum, part) => sum + part.width, BETWEEN * (parts.length - 1));
  const room = Math.max(across, 300);
  const key = legend(united(drawings), room);
  const below = notes([...common], room);
  const [keyTop, noteTop] = placesBelow(Math.max(...parts.map((part) => part.height)), key.height);
  const width = Math.ceil(2 * MARGIN + Math.max(across, key.width, below.width));
  const height = Math.ceil(2 * MARGIN + (below.height === 0 ? keyTop + key.height : noteTop + below.height));
  const title = escape(drawings.map((drawing) => drawing.title).join('; '));
  let x = 0;
  const placed = parts.map((part) => {
    const group = moved(x, 0, part.text);
    x += part.width + BETWEEN;
    return group;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${title}">`,
    `<title>${title}</title>`,
    `<style>\n${style(drawings)}\n</style>`,
    `<rect class="paper" width="${width}" height="${height}" rx="8"/>`,
    moved(MARGIN, MARGIN, [...placed, moved(0, keyTop, key.text), moved(0, noteTop, below.text)].join('\n')),
    '</svg>',
    '',
  ].join('\n');
}

/** Where the legend and the notes begin below grids of a height. */
function placesBelow(height: number, keyHeight: number): readonly [key: number, notes: number] {
  return [height + 14, height + 14 + (keyHeight === 0 ? 0 : keyHeight + 8)];
}

const moved = (x: number, y: number, text: string): string =>
  `<g transform="translate(${round(x)} ${round(y)})">\n${text}\n</g>`;

/** The entries of all legends, each once. */
function united(drawings: readonly Drawing[]): LegendEntry[] {
  const entries = drawings.flatMap(({ legend }) => legend);
  return [...new Map(entries.map((entry) => [entry.label, entry])).values()];
}

function notes(sentences: readonly string[], room: number): Part {
  const lines = sentences.flatMap((note) => wrap(note, room / (CHARACTER * FONT)));
  return {
    width: Math.max(0, ...lines.map((line) => textWidth(line, FONT))),
    height: lines.length * LINE,
    text: lines.map((line, i) => `<text class="note" x="0" y="${FONT + i * LINE}">${escape(line)}</text>`).join('\n'),
  };
}

/** Title, grid and the notes that are this drawing's alone. */
function grid(drawing: Drawing, common: ReadonlySet<string>): Part {
  const { title, rowNames, columnNames, cells } = drawing;
  const head = Math.max(0, ...rowNames.map((name) => textWidth(name, FONT))) + 8;
  const cellWidth = Math.max(
    CELL_HEIGHT,
    ...columnNames.map((name) => textWidth(name, SMALL) + 4),
    ...cells.map((cell) => labelWidth(cell) + CELL_PADDING),
  );
  const width = Math.max(head + columnNames.length * cellWidth, textWidth(title, FONT + 2));
  const top = LINE + 28;
  const bottom = top + rowNames.length * CELL_HEIGHT;
  const own = notes(
    drawing.notes.filter((note) => !common.has(note)),
    width,
  );
  const text = [
    `<text class="title" x="0" y="14">${escape(title)}</text>`,
    ...columnNames.map(
      (name, i) =>
        `<text class="name" x="${round(head + (i + 0.5) * cellWidth)}" y="${top - 8}">${escape(name)}</text>`,
    ),
    ...rowNames.map(
      (name, i) =>
        `<text class="row" x="${round(head - 8)}" y="${round(top + (i + 0.5) * CELL_HEIGHT + FONT * 0.35)}">${escape(name)}</text>`,
    ),
    ...cells.map((cell) => drawCell(cell, head + cell.column * cellWidth, top + cell.row * CELL_HEIGHT, cellWidth)),
    moved(0, bottom + 10, own.text),
  ].join('\n');
  return {
    width: Math.max(width, own.width),
    height: own.height === 0 ? bottom : bottom + 10 + own.height,
    text,
  };
}

function labelWidth({ label, detail }: Cell): number {
  return textWidth(label, FONT) + (detail === '' ? 0 : textWidth(detail, SMALL) + 4);
}

function drawCell(cell: Cell, x: number, y: number, width: number): string {
  const box = `x="${round(x + GAP / 2)}" y="${round(y + GAP / 2)}" width="${round(width - GAP)}" height="${CELL_HEIGHT - GAP}" rx="3"`;
  const rect = `<rect class="${classes(cell)}" data-row="${cell.row}" data-column="${cell.column}" ${box}/>`;
  if (cell.label === '') return rect;
  const detail = cell.detail === '' ? '' : `<tspan class="detail" dx="4">${escape(cell.detail)}</tspan>`;
  return `${rect}<text class="label" x="${round(x + width / 2)}" y="${round(y + CELL_HEIGHT / 2 + FONT * 0.35)}">${escape(cell.label)}${detail}</text>`;
}

function classes({ colour, marked }: { readonly colour: number | null; readonly marked: boolean }): string {
  return `${colour === null ? 'none' : `c${colour}`}${marked ? ' marked' : ''}`;
}

/** Swatches with their names, in as many lines as they need. */
function legend(entries: readonly LegendEntry[], room: number): Part {
  const placed: string[] = [];
  let [x, y, widest] = [0, 0, 0];
  for (const entry of entries) {
    const width = 20 + textWidth(entry.label, SMALL + 1) + 14;
    if (x > 0 && x + width > room) [x, y] = [0, y + LINE];
    placed.push(
      `<rect class="${classes(entry)}" x="${round(x + 1)}" y="${y + 1}" width="12" height="12" rx="3"/><text class="key" x="${round(x + 18)}" y="${y + 11}">${escape(entry.label)}</text>`,
    );
    x += width;
    widest = Math.max(widest, x);
  }
  return { width: widest, height: entries.length === 0 ? 0 : y + LINE, text: placed.join('\n') };
}

/** Neighbouring groups of four keys get hues that differ in more than a step. */
const hues = [212, 32, 145, 285, 52, 345, 185, 95];

function style(drawings: readonly Drawing[]): string {
  const colours = drawings.flatMap(({ cells, legend }) => [...cells, ...legend].map(({ colour }) => colour));
  const used = [...new Set(colours)].filter((colour) => colour !== null).toSorted((a, b) => a - b);
  const fills = (saturation: number, light: number, step: number): string =>
    used
      .map(
        (colour) => `.c${colour} { fill: hsl(${hues[colour >> 2]!}, ${saturation}%, ${light + step * (colour & 3)}%) }`,
      )
      .join('\n');
  return `text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; font-size: ${FONT}px; fill: #1f2328 }
.title { font-size: ${FONT + 2}px; font-weight: 600 }
.label { text-anchor: middle }
.detail, .name { font-size: ${SMALL}px }
.name { text-anchor: middle }
.row { text-anchor: end }
.key { font-size: ${SMALL + 1}px }
.name, .row, .key, .note { fill: #59636e }
.detail { fill: #424a53 }
.paper { fill: #ffffff }
.none { fill: #f0f2f4 }
.marked { stroke: #d1242f; stroke-width: 1.5 }
${fills(78, 90, -5)}
@media (prefers-color-scheme: dark) {
text { fill: #f0f3f6 }
.name, .row, .key, .note { fill: #a8b1bb }
.detail { fill: #d1d9e0 }
.paper { fill: #0d1117 }
.none { fill: #1a2029 }
.marked { stroke: #ff6a69 }
${fills(45, 24, 4)}
}`;
}

const round = (x: number): number => Math.round(x * 100) / 100;

function escape(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}
