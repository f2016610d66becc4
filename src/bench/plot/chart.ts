// Two kinds of figures: lines over two axes, and bars of several layers side by side. They take data and give SVG; what the data mean they do not know.
import {
  type Colour,
  classOf,
  dot,
  bar,
  legend,
  linear,
  linearTicks,
  page,
  polyline,
  type Scale,
  segment,
  text,
} from './svg.ts';

export interface Series {
  readonly name: string;
  readonly colour: Colour;
  readonly style: 'strong' | 'plain' | 'dashed' | 'dots';
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface LineChart {
  readonly title: string;
  readonly notes: readonly string[];
  readonly x: { readonly label: string; readonly scale: (pixels: readonly [number, number]) => Scale };
  readonly y: { readonly label: string; readonly scale: (pixels: readonly [number, number]) => Scale };
  readonly series: readonly Series[];
}

const WIDTH = 860;
const MARGIN = 24;
const [LEFT, RIGHT, HEIGHT] = [64, 832, 332];
/** Where legends begin, and how far below them a plot does. */
const [KEYS, BELOW_KEYS] = [64, 28];

export function lineChart({ title, notes, x, y, series }: LineChart): string {
  const keys = legend(
    series.map((one) => ({ name: one.name, classes: lineClasses(one), kind: 'line' })),
    MARGIN,
    KEYS,
    WIDTH - 2 * MARGIN,
  );
  const top = KEYS + keys.height + BELOW_KEYS - 10;
  const bottom = top + HEIGHT;
  const [across, up] = [x.scale([LEFT, RIGHT]), y.scale([bottom, top])];
  const place = ([px, py]: readonly [number, number]): readonly [number, number] => [across.at(px), up.at(py)];
  const parts = [
    keys.svg,
    ...up.ticks.map(
      ({ value, text: words }) =>
        segment(LEFT, up.at(value), RIGHT, up.at(value), 'grid') + text(LEFT - 8, up.at(value) + 4, words, 'right'),
    ),
    segment(LEFT, bottom, RIGHT, bottom, 'axis'),
    ...across.ticks.map(
      ({ value, text: words }) =>
        segment(across.at(value), bottom, across.at(value), bottom + 4, 'axis') +
        text(across.at(value), bottom + 18, words, 'middle'),
    ),
    text((LEFT + RIGHT) / 2, bottom + 38, x.label, 'middle'),
    text(MARGIN, top - 12, y.label, 'note'),
    // What matters most is drawn last.
    ...series
      .toSorted((a, b) => rank(a) - rank(b))
      .map((one) => {
        const dots = one.style === 'strong' || one.style === 'dots' ? one.points : [];
        return [
          polyline(one.points.map(place), lineClasses(one)),
          ...dots.map((point) =>
            dot(
              ...place(point),
              one.style === 'strong' ? 4.5 : 4,
              classOf(one.colour),
              `${one.name}: ${point[0]}, ${point[1].toPrecision(3)}`,
            ),
          ),
        ].join('\n');
      }),
  ];
  return page({ title, notes, width: WIDTH, height: bottom + 64 }, parts);
}

const rank = ({ style }: Series): number => ['plain', 'dots', 'dashed', 'strong'].indexOf(style);

function lineClasses({ colour, style }: Series): string {
  return `line ${classOf(colour)}${style === 'strong' || style === 'dashed' ? ` ${style}` : ''}`;
}

export interface BarGroup {
  readonly name: string;
  /** One a bar; null for none. */
  readonly values: readonly (number | null)[];
  /** How far the bars could reach. */
  readonly mark: number;
}

export interface BarFacet {
  readonly title: string;
  readonly groups: readonly BarGroup[];
}

export interface BarChart {
  readonly title: string;
  readonly notes: readonly string[];
  readonly bars: readonly { readonly name: string; readonly colour: Colour }[];
  /** What the marks are called. */
  readonly mark: string;
  readonly facets: readonly BarFacet[];
}

const [BAR, GROUP_GAP, NAMES, FACET_GAP] = [15, 14, 104, 28];
/** A value stands inside its bar where that is so long. */
const ROOM_INSIDE = 34;

/** Every facet has the same groups, which are named on the left. */
export function barChart({ title, notes, bars, mark, facets }: BarChart): string {
  const classes = bars.map(({ colour }) => classOf(colour));
  const keys = legend(
    [
      ...bars.map(({ name }, i) => ({ name, classes: classes[i]!, kind: 'bar' as const })),
      { name: mark, classes: 'ink', kind: 'tick' },
    ],
    MARGIN,
    KEYS,
    WIDTH - 2 * MARGIN,
  );
  const groups = facets[0]?.groups ?? [];
  const top = KEYS + keys.height + BELOW_KEYS;
  const left = MARGIN + NAMES;
  const width = (WIDTH - left) / facets.length;
  const names = groups.map(({ name }, i) =>
    text(left - 10, top + i * groupHeight(bars.length) + (bars.length * BAR) / 2 + 3, name, 'right'),
  );
  const drawn = facets.map((facet, i) => facetOf(facet, classes, left + i * width, top, width - FACET_GAP));
  const height = top + groups.length * groupHeight(bars.length) + 40;
  return page({ title, notes, width: WIDTH, height }, [keys.svg, ...names, ...drawn]);
}

const groupHeight = (bars: number): number => bars * BAR + GROUP_GAP;

function facetOf(
  { title, groups }: BarFacet,
  classes: readonly string[],
  left: number,
  top: number,
  width: number,
): string {
  const most =
    1.04 * Math.max(...groups.flatMap(({ values, mark }) => [mark, ...values.filter((value) => value !== null)]));
  const ticks = linearTicks(most, 4).filter(({ value }) => value <= most);
  const across = linear([0, most], [left, left + width], ticks);
  const bottom = top + groups.length * groupHeight(classes.length);
  return [
    text(left, top - 18, title, 'facet'),
    ...ticks.map(
      ({ value, text: words }) =>
        segment(across.at(value), top - 6, across.at(value), bottom, 'grid') +
        text(across.at(value), bottom + 16, words, 'middle'),
    ),
    ...groups.flatMap(({ values, mark }, i) => {
      const y = top + i * groupHeight(classes.length);
      return [
        ...values.map((value, b) =>
          value === null ? '' : valueBar(left, y + b * BAR, across.at(value), value, classes[b]!),
        ),
        segment(across.at(mark), y - 3, across.at(mark), y + classes.length * BAR + 1, 'tick ink'),
      ];
    }),
    segment(left, top - 6, left, bottom, 'axis'),
  ].join('\n');
}

function valueBar(left: number, y: number, end: number, value: number, classes: string): string {
  const inside = end - left > ROOM_INSIDE;
  const words = text(inside ? end - 5 : end + 4, y + BAR - 4.5, value.toFixed(2), inside ? 'inside' : 'value');
  return bar(left, y, end - left, BAR - 2, classes) + words;
}
