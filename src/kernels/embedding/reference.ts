// What a look-up means.

/** The rows of a table, [rows, width], that `ids` name. */
export function embedReference(table: ArrayLike<number>, ids: ArrayLike<number>, width: number): Float64Array {
  return Float64Array.from(
    { length: ids.length * width },
    (_, i) => table[ids[Math.floor(i / width)]! * width + (i % width)]!,
  );
}
