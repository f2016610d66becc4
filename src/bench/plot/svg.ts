// The pieces that figures are made of: a self-contained page with colours for light and dark surroundings, scales, lines, text. Knows no data.

/** Pixels of a position on an axis, and where its ticks are. */
export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly Tick[];
}

export interface Tick {
  readonly value: number;
  readonly text: string;
}

export function linear([low, high]: Range, [from, to]: Range, ticks: readonly Tick[]): Scale {
  return { at: (value) => from + ((value - low) / (high - low)) * (to - from), ticks };
}

export function logarithmic([low, high]: Range, pixels: Range, ticks: readonly Tick[]): Scale {
  const { at } = linear([Math.log(low), Math.log(high)], pixels, []);
  return { at: (value) => at(Math.log(value)), ticks };
}

export type Range = readonly [low: number, high: number];

/** Whole multiples of a round step from 0 to the first that is not below `high`: about `count` of them. */
export function linearTicks(high: number, count = 5): readonly Tick[] {
  const rough = high / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough)!;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: Math.ceil(high / step - 1e-9) + 1 }, (_, i) => ({
    value: i * step,
    text: (i * step).toFixed(digits),
  }));
}

/** One, two and five times the powers of ten within a range. */
export function logarithmicTicks([low, high]: Range): readonly Tick[] {
  const [first, last] = [Math.floor(Math.log10(low)), Math.floor(Math.log10(high))];
  return Array.from({ length: last - first + 1 }, (_, i) => first + i)
    .flatMap((power) => [1, 2, 5].map((factor) => Number(`${factor}e${power}`)))
    .filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9))
    .map((value) => ({ value, text: String(value) }));
}

/** 'ours' stands out, 'ink' is neutral; numbers count the others. */
export type Colour = 'ours' | 'ink' | number;

export const classOf = (colour: Colour): string => (typeof colour === 'number' ? `s${colour % OTHERS.length}` : colour);

/** [light, dark]: blue, teal, violet, ochre, rose, olive, sky, brown. */
const OTHERS: readonly (readonly [string, string])[] = [
  ['#2f6fd0', '#79a8f2'],
  ['#12897b', '#4fc3b2'],
  ['#7a4fc4', '#b497f0'],
  ['#b07a0c', '#e0b45c'],
  ['#b8447f', '#ec8fbd'],
  ['#5b7f1e', '#a5c765'],
  ['#2a8fb5', '#74c7e6'],
  ['#8a5a3c', '#c99b7d'],
];

function style(): string {
  const colours = (index: 0 | 1, ours: string, ink: string): string =>
    [['ours', ours], ['ink', ink], ...OTHERS.map((pair, i) => [`s${i}`, pair[index]])]
      .map(([name, colour]) => `.${name} { --c: ${colour}; color: ${colour} }`)
      .join('\n');
  return `text { font-family: Inter, ui-sans-serif, system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif; font-size: 12px; fill: #424a53 }
.title { font-size: 17px; font-weight: 650; fill: #1f2328 }
.facet { font-size: 13px; font-weight: 600; fill: #1f2328 }
.note { font-size: 11px; fill: #6a737d }
.value { font-size: 10.5px }
.inside { font-size: 10.5px; font-weight: 600; fill: #ffffff; text-anchor: end }
.right { text-anchor: end }
.middle { text-anchor: middle }
.paper { fill: #ffffff }
.grid { stroke: #e4e8ec; stroke-width: 1 }
.axis { stroke: #8c959f; stroke-width: 1 }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.strong { stroke-width: 3.5 }
.dashed { stroke-dasharray: 7 5 }
.dot { fill: currentColor; stroke: #ffffff; stroke-width: 1.5 }
.bar { fill: currentColor }
.tick { stroke: currentColor; stroke-width: 2.5 }
${colours(0, '#d6402b', '#3d4650')}
@media (prefers-color-scheme: dark) {
text { fill: #b6bfc9 }
.title, .facet { fill: #f0f3f6 }
.note { fill: #8f99a3 }
.inside { fill: #0d1117 }
.paper { fill: #0d1117 }
.grid { stroke: #222b35 }
.axis { stroke: #57606a }
.dot { stroke: #0d1117 }
${colours(1, '#ff7b63', '#c9d1d9')}
}`;
}

/** A whole figure: title, parts, and lines of remarks at the bottom. */
export function page(
  {
    title,
    notes,
    width,
    height,
  }: { readonly title: string; readonly notes: readonly string[]; readonly width: number; readonly height: number },
  parts: readonly string[],
): string {
  const whole = height + 16 * notes.length + 12;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${whole}" width="${width}" height="${whole}" role="img" aria-label="${escape(title)}">`,
    `<title>${escape(title)}</title>`,
    `<style>\n${style()}\n</style>`,
    `<rect class="paper" width="${width}" height="${whole}" rx="10"/>`,
    text(24, 34, title, 'title'),
    ...parts,
    ...notes.map((note, i) => text(24, height + 8 + 16 * i, note, 'note')),
    '</svg>',
    '',
  ].join('\n');
}

export function text(x: number, y: number, content: string, classes = ''): string {
  return `<text class="${classes}" x="${round(x)}" y="${round(y)}">${escape(content)}</text>`;
}

export function segment(x1: number, y1: number, x2: number, y2: number, classes: string): string {
  return `<line class="${classes}" x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"/>`;
}

export function polyline(points: readonly (readonly [x: number, y: number])[], classes: string): string {
  return `<polyline class="${classes}" points="${points.map(([x, y]) => `${round(x)},${round(y)}`).join(' ')}"/>`;
}

export function dot(x: number, y: number, radius: number, classes: string, title: string): string {
  return `<circle class="dot ${classes}" cx="${round(x)}" cy="${round(y)}" r="${radius}"><title>${escape(title)}</title></circle>`;
}

export function bar(x: number, y: number, width: number, height: number, classes: string): string {
  return `<rect class="bar ${classes}" x="${round(x)}" y="${round(y)}" width="${round(Math.max(width, 0))}" height="${round(height)}" rx="2"/>`;
}

export interface Key {
  readonly name: string;
  readonly classes: string;
  readonly kind: 'line' | 'bar' | 'tick';
}

const KEY_LINE = 20;

/** Names beside a piece of their line or bar, in as many lines as the width needs. */
export function legend(
  keys: readonly Key[],
  x: number,
  y: number,
  width: number,
): { readonly svg: string; readonly height: number } {
  let [at, line] = [x, 0];
  const marks = keys.map(({ name, classes, kind }) => {
    const room = 32 + 6.8 * name.length + 18;
    if (at > x && at + room - 18 > x + width) [at, line] = [x, line + 1];
    const [start, base] = [at, y + line * KEY_LINE];
    at += room;
    const mark =
      kind === 'line'
        ? segment(start, base - 4, start + 26, base - 4, `line ${classes}`)
        : kind === 'bar'
          ? bar(start + 6, base - 10, 14, 12, classes)
          : segment(start + 13, base - 11, start + 13, base + 2, `tick ${classes}`);
    return mark + text(start + 32, base, name);
  });
  return { svg: marks.join('\n'), height: (line + 1) * KEY_LINE };
}

const round = (value: number): number => Math.round(value * 100) / 100;

function escape(content: string): string {
  return content.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}
