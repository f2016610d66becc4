// Tables and sizes as people read them. Pure text.

/** A header, a rule and rows; columns as wide as they need to be, numbers to the right. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [header, ...rows.map((row) => row.map(String))];
  const columns = header.map((_, column) => {
    const width = Math.max(...cells.map((row) => row[column]!.length));
    const right = rows.length > 0 && rows.every((row) => /^[\d.,]+( \S+)?$/.test(String(row[column]!)));
    return { width, pad: (cell: string) => (right ? cell.padStart(width) : cell.padEnd(width)) };
  });
  const lines = cells.map((row) => row.map((cell, column) => columns[column]!.pad(cell)));
  const rule = columns.map(({ width }) => '─'.repeat(width));
  return [lines[0]!, rule, ...lines.slice(1)].map((line) => `${line.join('  ').trimEnd()}\n`).join('');
}

/** 1234567 bytes as '1.2 MB'. */
export function megabytes(bytes: number): string {
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/** 0.1234 as '12.34 %'. */
export function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(2)} %`;
}
