// Which lane holds which element of a tensor-core operand: the maps as functions (PTX ISA 9.7.14.5, 9.7.15.5). Knows no instruction.

/** Where an element of a fragment of 16-bit values lies. */
export interface HalfPlace {
  readonly register: number;
  readonly lane: number;
  readonly upper: boolean;
}

/** The 16 x 16 A fragment of m16n8k16; also what a warp of a warpgroup holds of its 16 rows of wgmma's A. */
export function fragmentA(row: number, k: number): HalfPlace {
  return { register: (row >> 3) + 2 * (k >> 3), lane: (row & 7) * 4 + ((k & 7) >> 1), upper: (k & 1) === 1 };
}

/** The B fragment, 8 columns and 16 k (two registers) or 32 k (four, for sparse products). */
export function fragmentB(k: number, column: number): HalfPlace {
  return { register: k >> 3, lane: column * 4 + ((k & 7) >> 1), upper: (k & 1) === 1 };
}

/** The 16 x 8 f32 accumulator; with more columns (wgmma) four registers follow for each 8. */
export function fragmentC(row: number, column: number): { readonly register: number; readonly lane: number } {
  return {
    register: 4 * (column >> 3) + 2 * (row >> 3) + (column & 1),
    lane: (row & 7) * 4 + ((column & 7) >> 1),
  };
}

/**
 * Where the two-bit place of a kept weight lies in the metadata of a sparse product: of every four weights along k two are kept, `kept` counts
 * them along a row, 0 .. 15. The lane is c = 0 or 1 of its four; selector 1 takes it from lanes 2 and 3 instead. Lower half of the word: rows 0 .. 7.
 */
export function metadataPlace(row: number, kept: number): { readonly lane: number; readonly bit: number } {
  return { lane: (row & 7) * 4 + (kept >> 3), bit: 16 * (row >> 3) + 2 * (kept & 7) };
}

/** The 16 x 32 A fragment of 8-bit values (wgmma m64nNk32): four consecutive k in a register. */
export function fragmentA8(
  row: number,
  k: number,
): { readonly register: number; readonly lane: number; readonly byte: number } {
  return { register: (row >> 3) + 2 * (k >> 4), lane: (row & 7) * 4 + ((k & 15) >> 2), byte: k & 3 };
}
