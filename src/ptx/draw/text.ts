// A drawing as lines of plain characters; grids that are too wide are cut into blocks of columns.
import type { Cell, Drawing } from './drawing.ts';
import { wrap } from './wrap.ts';

export interface TextOptions {
  /** Characters a line may have; default 100. */
  readonly width?: number;
  /** Colours by ANSI escapes; default none. */
  readonly ansi?: boolean;
}

/** The drawing as text, its title first if it has one. A label and its detail are joined by a dot, what is marked has a ! behind it. */
export function text(drawing: Drawing, options: TextOptions = {}): string {
  const { width = 100, ansi = false } = options;
  const { rowNames, columnNames, cells } = drawing;
  const head = Math.max(0, ...rowNames.map((name) => name.length));
  const wide = Math.max(...columnNames.map((name) => name.length), ...cells.map((cell) => wordOf(cell).length));
  const perBlock = Math.max(1, Math.floor((width - head) / (wide + 1)));
  const byPlace = new Map(cells.map((cell) => [cell.row * columnNames.length + cell.column, cell]));
  const blocks: string[] = [];
  for (let first = 0; first < columnNames.length; first += perBlock) {
    const columns = columnNames.slice(first, first + perBlock);
    const lines = rowNames.map((name, row) => {
      const words = columns.map((_, i) => {
        const cell = byPlace.get(row * columnNames.length + first + i);
        return ` ${cell === undefined ? ' '.repeat(wide) : painted(wordOf(cell).padStart(wide), cell, ansi)}`;
      });
      return `${name.padStart(head)}${words.join('')}`;
    });
    blocks.push(
      [`${' '.repeat(head)}${columns.map((name) => ` ${name.padStart(wide)}`).join('')}`, ...lines].join('\n'),
    );
  }
  const marks = drawing.cells.some(({ marked }) => marked)
    ? drawing.legend.filter(({ marked }) => marked).map(({ label }) => `! ${label}`)
    : [];
  const colours = ansi
    ? drawing.legend.flatMap(({ label, colour }) => (colour === null ? [] : [paint(` ${label} `, colour)]))
    : [];
  return [
    ...(drawing.title === '' ? [] : [...wrap(drawing.title, width), '']),
    blocks.join('\n\n'),
    '',
    ...(colours.length > 0 ? [colours.join(' ')] : []),
    ...marks,
    ...drawing.notes.flatMap((note) => wrap(note, width)),
    '',
  ]
    .flatMap((part) => part.split('\n'))
    .map((line) => line.trimEnd())
    .join('\n');
}

function wordOf({ label, detail, marked }: Cell): string {
  return `${label}${detail === '' ? '' : `.${detail}`}${marked ? '!' : ''}`;
}

function painted(word: string, cell: Cell, ansi: boolean): string {
  return ansi && cell.colour !== null ? paint(word, cell.colour) : word;
}

/** Backgrounds of the 256-colour palette, one hue a group of four keys. */
const backgrounds = [153, 223, 157, 183, 229, 217, 159, 193];

function paint(word: string, colour: number): string {
  return `\u001B[38;5;16;48;5;${backgrounds[colour >> 2]!}m${word}\u001B[0m`;
}
