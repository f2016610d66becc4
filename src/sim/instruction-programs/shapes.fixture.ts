// The products of a warpgroup that are tried: each type with A in registers and in shared memory, each swizzle, many widths. Knows no program.
import type { MatrixLayout, WgmmaShape, WgmmaType } from '../../ptx/isa/wgmma.ts';
import type { Swizzle } from '../../ptx/program.ts';

export const types: readonly WgmmaType[] = ['f16', 'bf16', 'e4m3', 'e5m2'];
export const swizzles: readonly Swizzle[] = [0, 32, 64, 128];
/** Every width that there is. */
export const everyWidth: readonly number[] = Array.from({ length: 32 }, (_, i) => 8 * (i + 1));

/**
 * Rows of as many bytes of k as the swizzle spans, in groups of 8 rows one behind the other; without a swizzle 8 x 16 bytes (a core matrix) lie
 * together, first all of k, then the next 8 rows.
 */
export function layoutOf(swizzle: Swizzle, depthBytes: number): MatrixLayout {
  if (swizzle !== 0) return { swizzle, strideBytes: 8 * swizzle, leadingBytes: 16 };
  return { swizzle, strideBytes: 128 * (depthBytes / 16), leadingBytes: 128 };
}

/** Bytes of k that a product reads of a row of B. */
export const depthBytesOf = ({ sparse }: Pick<WgmmaShape, 'sparse'>): number => (sparse === null ? 32 : 64);

function shape(
  n: number,
  type: WgmmaType,
  a: Swizzle | 'registers',
  b: Swizzle,
  sparse: 0 | 1 | null = null,
): WgmmaShape {
  return {
    n,
    type,
    a: a === 'registers' ? null : layoutOf(a, 32),
    b: layoutOf(b, sparse === null ? 32 : 64),
    sparse,
  };
}

const mostWidths = [8, 24, 64, 256];

export const shapes: readonly WgmmaShape[] = [
  ...everyWidth.map((n) => shape(n, 'f16', 'registers', 128)),
  ...types.flatMap((type) => mostWidths.map((n) => shape(n, type, 'registers', 128))),
  ...types.flatMap((type) => [16, 128].map((n) => shape(n, type, 128, 128))),
  ...types.flatMap((type) =>
    swizzles.flatMap((swizzle) => [shape(24, type, 'registers', swizzle), shape(24, type, swizzle, swizzle)]),
  ),
  ...(['f16', 'bf16'] as const).flatMap((type) =>
    ([0, 1] as const).flatMap((selector) =>
      ([0, 64, 128] as const).flatMap((swizzle) => [
        shape(16, type, 'registers', swizzle, selector),
        shape(16, type, swizzle, swizzle, selector),
      ]),
    ),
  ),
];
