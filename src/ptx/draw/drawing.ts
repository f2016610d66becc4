// Drawings as data: a grid of cells, each with a label and a colour key. Made by pure functions from layouts, fragment maps and access
// patterns; how a drawing looks is for text.ts and svg.ts to say.
import { conflictWays, LINE_BYTES, lanesPerPhase } from '../banks.ts';
import type { Layout } from '../layout.ts';
import { elemBytes } from '../program.ts';

export interface Cell {
  readonly row: number;
  readonly column: number;
  /** Empty for a place that nothing is in. */
  readonly label: string;
  /** A second, smaller label; may be empty. */
  readonly detail: string;
  /** 0..31: the hue goes by fours, the shade within; null for none. */
  readonly colour: number | null;
  /** Part of what is wrong. */
  readonly marked: boolean;
}

export interface LegendEntry {
  readonly label: string;
  readonly colour: number | null;
  readonly marked: boolean;
}

export interface Drawing {
  readonly title: string;
  readonly rowNames: readonly string[];
  readonly columnNames: readonly string[];
  /** One for each row and column. */
  readonly cells: readonly Cell[];
  readonly legend: readonly LegendEntry[];
  /** Sentences below the grid. */
  readonly notes: readonly string[];
}

const CHUNK_BYTES = 16;
const count = (length: number): number[] => Array.from({ length }, (_, i) => i);
const range = (first: number, last: number): string => (first === last ? `${first}` : `${first}-${last}`);

/** The keys that cells use, as entries of four: 'banks 0-3', ... */
function legendOf(what: string, cells: readonly Cell[]): LegendEntry[] {
  const used = new Set(cells.flatMap(({ colour }) => (colour === null ? [] : [colour >> 2])));
  return count(8)
    .filter((four) => used.has(four))
    .map((four) => ({ label: `${what} ${range(4 * four, 4 * four + 3)}`, colour: 4 * four + 1, marked: false }));
}

function grid(
  rows: number,
  columns: number,
  cell: (row: number, column: number) => Omit<Cell, 'row' | 'column'>,
): Cell[] {
  return count(rows).flatMap((row) => count(columns).map((column) => ({ row, column, ...cell(row, column) })));
}

export interface LayoutOptions {
  readonly title?: string;
  /** One cell for each 16-byte chunk of a row (default), or for each element. */
  readonly cells?: 'chunks' | 'elements';
  /** What a cell says: its place from the start of the tile, in chunks or elements (default), or its banks. The colour is always the banks. */
  readonly show?: 'places' | 'banks';
}

/** Where the tile's elements lie in shared memory. Errors: RangeError when a chunk of a row is not 16 bytes in one piece. */
export function drawLayout(layout: Layout, options: LayoutOptions = {}): Drawing {
  const { cells = 'chunks', show = 'places' } = options;
  const bytes = elemBytes[layout.elem];
  const per = cells === 'chunks' ? CHUNK_BYTES / bytes : 1;
  if (cells === 'chunks') checkChunks(layout);
  const columns = layout.columns / per;
  const cellsOf = grid(layout.rows, columns, (row, column) => {
    const place = layout.index(row, column * per);
    const bank = ((place * bytes) >> 2) & 31;
    const banks = cells === 'chunks' ? range(bank, bank + 3) : `${bank}`;
    return {
      label: show === 'banks' ? banks : `${place / per}`,
      detail: '',
      colour: cells === 'chunks' ? bank + 1 : bank,
      marked: false,
    };
  });
  return {
    title: options.title ?? `${layout.rows} x ${layout.columns} ${layout.elem}`,
    rowNames: count(layout.rows).map(String),
    columnNames: count(columns).map((column) => range(column * per, column * per + per - 1)),
    cells: cellsOf,
    legend: legendOf('banks', cellsOf),
    notes: [
      `A cell is ${cells === 'chunks' ? `${CHUNK_BYTES} bytes (${per} ${layout.elem})` : `one ${layout.elem}`}; it shows its ${
        show === 'banks' ? 'banks' : `place in memory, in ${cells} from the start of the tile`
      }.`,
    ],
  };
}

function checkChunks(layout: Layout): void {
  const per = CHUNK_BYTES / elemBytes[layout.elem];
  if (layout.columns % per !== 0) throw new RangeError(`rows of ${layout.columns} ${layout.elem} are no whole chunks`);
  for (let row = 0; row < layout.rows; row++) {
    for (let column = 0; column < layout.columns; column++) {
      const first = layout.index(row, column - (column % per));
      if (first % per !== 0 || layout.index(row, column) !== first + (column % per))
        throw new RangeError(`element ${row}, ${column} breaks its chunk of ${CHUNK_BYTES} bytes: draw the elements`);
    }
  }
}

/** Who holds an element of a fragment: a lane (of a warp, or of the four of a warpgroup) and one of its registers. */
export type Owner = (row: number, column: number) => { readonly lane: number; readonly register: number };

export interface FragmentOptions {
  readonly title: string;
  readonly rows: number;
  readonly columns: number;
  /** What the registers are called, such as 'a'. */
  readonly register?: string;
}

/** Which lane holds which element of a fragment. */
export function drawFragment(owner: Owner, options: FragmentOptions): Drawing {
  const { title, rows, columns, register = 'r' } = options;
  const cells = grid(rows, columns, (row, column) => {
    const at = owner(row, column);
    return { label: `${at.lane}`, detail: `${register}${at.register}`, colour: at.lane % 32, marked: false };
  });
  return {
    title,
    rowNames: count(rows).map(String),
    columnNames: count(columns).map(String),
    cells,
    legend: legendOf('lanes', cells),
    notes: [`A cell shows the lane that holds the element, and in which register (${register}0, ${register}1, ...).`],
  };
}

/** The element whose address a lane gives; null when the lane takes no part. */
export type Access = (lane: number) => readonly [row: number, column: number] | null;

/** The addresses ldmatrix takes: lane l gives row l % 16 and the chunk l / 16 further on, from `firstColumn` on. */
export function ldmatrixRows(firstColumn = 0, perChunk = 8): Access {
  return (lane) => [lane % 16, firstColumn + perChunk * (lane >> 4)];
}

export interface AccessOptions {
  readonly title: string;
  /** Bytes a lane accesses: 4, 8 or 16; ldmatrix takes 16. */
  readonly bytes: 4 | 8 | 16;
}

/** When the banks serve which lane: a row for each turn; phases without a lane that takes part are left out. Lanes of a phase that want different words of one bank need turns of their own, and are marked. */
export function drawAccess(layout: Layout, access: Access, { title, bytes }: AccessOptions): Drawing {
  const addresses = count(32).map((lane) => {
    const at = access(lane);
    return at === null ? Number.NaN : layout.index(...at) * elemBytes[layout.elem];
  });
  const step = lanesPerPhase(bytes);
  const slots = LINE_BYTES / bytes;
  const phases = count(32 / step)
    .map((phase) => phaseOf(addresses, bytes, phase * step, (phase + 1) * step))
    .filter(({ turns }) => turns.some((slots) => slots.some(({ lanes }) => lanes.length > 0)));
  const turns = phases.flatMap(({ first, turns }) =>
    turns.map((lanes, turn) => ({ lanes, name: turn === 0 ? `lanes ${range(first, first + step - 1)}` : '' })),
  );
  const perSlot = bytes / 4;
  const cells = grid(turns.length, slots, (row, slot) => {
    const { lanes, crowded } = turns[row]!.lanes[slot]!;
    return {
      label: lanesText(lanes),
      detail: '',
      colour: lanes.length === 0 ? null : lanes[0]!,
      marked: crowded,
    };
  });
  return {
    title,
    rowNames: turns.map(({ name }) => name),
    columnNames: count(slots).map((slot) => range(slot * perSlot, slot * perSlot + perSlot - 1)),
    cells,
    legend: [
      ...legendOf('lanes', cells),
      ...(phases.some(({ ways }) => ways > 1) ? [{ label: 'conflict', colour: null, marked: true }] : []),
    ],
    notes: [
      `${counted(turns.length, 'turn')} for ${counted(phases.length, 'phase')}: ${conflictText(phases.map(({ ways }) => ways))}.`,
      'A row is a turn of the banks; a cell names the lane that these banks serve in it.',
    ],
  };
}

interface Slot {
  /** The lanes that are served: several when they want the same words. */
  readonly lanes: readonly number[];
  /** Whether its banks are wanted in more than one turn of the phase. */
  readonly crowded: boolean;
}

interface Phase {
  /** Its first lane. */
  readonly first: number;
  readonly ways: number;
  /** For each turn, for each group of banks that serves one access. */
  readonly turns: readonly (readonly Slot[])[];
}

function phaseOf(addresses: readonly number[], bytes: number, first: number, end: number): Phase {
  const slots = LINE_BYTES / bytes;
  /** For each group of banks: what it is asked for, and by whom. */
  const wanted = count(slots).map(() => new Map<number, number[]>());
  for (let lane = first; lane < end; lane++) {
    const unit = addresses[lane]! / bytes;
    if (Number.isNaN(unit)) continue;
    if (!Number.isInteger(unit))
      throw new RangeError(`lane ${lane} accesses ${bytes} bytes at byte ${addresses[lane]!}`);
    const lanes = wanted[unit % slots]!;
    lanes.set(unit, [...(lanes.get(unit) ?? []), lane]);
  }
  const ways = conflictWays(addresses, bytes, first, end);
  return {
    first,
    ways,
    turns: count(ways).map((turn) =>
      wanted.map((units) => ({ lanes: [...units.values()][turn] ?? [], crowded: units.size > 1 && turn < units.size })),
    ),
  };
}

/** '7', '4-7' or '0,2,4'. */
function lanesText(lanes: readonly number[]): string {
  const together = lanes.length > 1 && lanes.every((lane, i) => lane === lanes[0]! + i);
  return together ? range(lanes[0]!, lanes.at(-1)!) : lanes.join(',');
}

const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

function conflictText(ways: readonly number[]): string {
  const worst = Math.max(0, ...ways);
  return worst > 1 ? `${worst}-way conflicts` : 'no conflicts';
}
