// The author's lines as .loc directives, helpers as functions inlined into their callers (PTX ISA 11.5). Text only; knows no instruction.
import type { Frame, Where } from './program.ts';

/** The first PTX ISA version whose .loc takes function_name and inlined_at. */
export const INLINED_AT_VERSION = 7.2;

export interface Lines {
  /** The directives that an instruction of this place needs before it; none where the last ones still hold. */
  locate(where: Where): string[];
  /** What the directives refer to, for the end of the file. */
  tables(): string[];
  /** Whether a helper was named. */
  inlined(): boolean;
}

/** Collects the files and functions of one printed program. */
export function lineTable(): Lines {
  const files = new Map<string, number>();
  const names = new Map<string, number>();
  let last: readonly string[] = [];

  const place = ({ file, line, column }: Frame): string => `${numbered(files, file, 1)} ${line} ${column}`;
  const locate = (where: Where): string[] => {
    const frames = [where, ...where.callers].toReversed();
    // A caller's line must stand before what is inlined at it, and the latest one counts: so what the chain shares with the last one still holds.
    const directives = frames.map((frame, i) => {
      const caller = frames[i - 1];
      const inlined =
        caller === undefined
          ? ''
          : `, function_name ${label(numbered(names, frame.name, 0))}, inlined_at ${place(caller)}`;
      return `\t.loc ${place(frame)}${inlined}`;
    });
    const differs = directives.findIndex((directive, i) => directive !== last[i]);
    const isLast = differs === -1 && last.length === directives.length;
    last = directives;
    if (isLast) return [];
    return directives.slice(differs === -1 ? -1 : differs);
  };

  const tables = (): string[] => [
    ...[...files].map(([file, number]) => `.file ${number} "${file}"`),
    ...(names.size === 0 ? [] : ['.section .debug_str', '{', ...[...names].flatMap(nameEntry), '}']),
  ];
  return { locate, tables, inlined: () => names.size > 0 };
}

function numbered(table: Map<string, number>, key: string, first: number): number {
  const number = table.get(key) ?? table.size + first;
  table.set(key, number);
  return number;
}

const label = (index: number): string => `$L__function${index}`;

/** A name as the zero-terminated bytes that .debug_str holds. */
function nameEntry([name, index]: readonly [string, number]): string[] {
  const bytes = [...new TextEncoder().encode(name === '' ? '<anonymous>' : name), 0];
  return [`${label(index)}:`, `.b8 ${bytes.join(', ')}`];
}
