// Products in float64, for factors of matrices.

/** a * b + c on two f64. */
@inline
function madd2(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f64x2.relaxed_madd(a, b, c);
  return f64x2.add(f64x2.mul(a, b), c);
}

@inline
function sum2(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
}

/**
 * c[row][j] -= a[row][from .. to) . b[j][from .. to) for rows [begin, end) and j below `columns`, all f64. `to - from` is even.
 * @param triangular row r of a begins at r: what lies before the last multiple of 32 up to r is passed over
 */
export function subtractDots(
  a: usize, aStride: usize, b: usize, bStride: usize, from: usize, to: usize, triangular: bool, c: usize, cStride: usize, columns: usize, begin: usize, end: usize,
): void {
  for (let row: usize = begin; row < end; row += 2) {
    const next = min(row + 1, end - 1);
    const first = triangular ? max<usize>(from, row & ~31) : from;
    const a0 = a + row * aStride, a1 = a + next * aStride;
    const c0 = c + row * cStride, c1 = c + next * cStride;
    for (let j: usize = 0; j < columns; j += 4) {
      const last = columns - 1 - j;
      const j1 = j + min<usize>(1, last), j2 = j + min<usize>(2, last), j3 = j + min<usize>(3, last);
      const b0 = b + j * bStride, b1 = b + j1 * bStride, b2 = b + j2 * bStride, b3 = b + j3 * bStride;
      let s00 = f64x2.splat(0), s01 = f64x2.splat(0), s02 = f64x2.splat(0), s03 = f64x2.splat(0);
      let s10 = f64x2.splat(0), s11 = f64x2.splat(0), s12 = f64x2.splat(0), s13 = f64x2.splat(0);
      const stop = to << 3;
      for (let at = first << 3; at < stop; at += 16) {
        const x0 = v128.load(a0 + at), x1 = v128.load(a1 + at);
        const y0 = v128.load(b0 + at); s00 = madd2(x0, y0, s00); s10 = madd2(x1, y0, s10);
        const y1 = v128.load(b1 + at); s01 = madd2(x0, y1, s01); s11 = madd2(x1, y1, s11);
        const y2 = v128.load(b2 + at); s02 = madd2(x0, y2, s02); s12 = madd2(x1, y2, s12);
        const y3 = v128.load(b3 + at); s03 = madd2(x0, y3, s03); s13 = madd2(x1, y3, s13);
      }
      // All loads before all stores: a row or column that stands in for one beyond the end must not be subtracted twice.
      const r00 = load<f64>(c0 + (j << 3)) - sum2(s00), r01 = load<f64>(c0 + (j1 << 3)) - sum2(s01);
      const r02 = load<f64>(c0 + (j2 << 3)) - sum2(s02), r03 = load<f64>(c0 + (j3 << 3)) - sum2(s03);
      const r10 = load<f64>(c1 + (j << 3)) - sum2(s10), r11 = load<f64>(c1 + (j1 << 3)) - sum2(s11);
      const r12 = load<f64>(c1 + (j2 << 3)) - sum2(s12), r13 = load<f64>(c1 + (j3 << 3)) - sum2(s13);
      store<f64>(c0 + (j << 3), r00); store<f64>(c0 + (j1 << 3), r01); store<f64>(c0 + (j2 << 3), r02); store<f64>(c0 + (j3 << 3), r03);
      store<f64>(c1 + (j << 3), r10); store<f64>(c1 + (j1 << 3), r11); store<f64>(c1 + (j2 << 3), r12); store<f64>(c1 + (j3 << 3), r13);
    }
  }
}
