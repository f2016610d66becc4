// Second-order rounding of a block of columns, row by row (Frantar et al. 2022, GPTQ; 2023, SparseGPT): scales, codes, and what is left to other columns.
import { madd } from './simd';
import { PANEL, PANEL_ROWS, panel6, panelRows } from './panel';

/** Columns of a block at most. */
const BLOCK: usize = 128;
/** Steps between ranges that are tried first. */
const COARSE: i32 = 7;

/**
 * c[row] -= a[row] . b for panels [begin, end) of 8 columns of c, all rows.
 * @param a [rows][count] f32
 * @param b [count][bStride / 4] f32
 * @param c [rows][cStride / 4] f32, whole panels
 */
export function subtractProduct(
  a: usize, count: usize, b: usize, bStride: usize, c: usize, cStride: usize, rows: usize, scratch: usize, begin: usize, end: usize,
): void {
  const aStride = count << 2;
  for (let panel: usize = begin; panel < end; panel++) {
    for (let k: usize = 0; k < count; k++) {
      const from = b + k * bStride + (panel << 5), to = scratch + (k << 5);
      v128.store(to, f32x4.neg(v128.load(from)));
      v128.store(to, f32x4.neg(v128.load(from, 16)), 16);
    }
    panelRows(a, aStride, rows, scratch, count, c + (panel << 5), cStride, true);
  }
}

/** The code 0 .. 15 of a weight. */
@inline
function codeOf(weight: f32, inverse: f32, zero: f32): f32 {
  return max<f32>(0, min<f32>(15, nearest<f32>(weight * inverse) + zero));
}

/**
 * Rounds columns [0, count) of rows [begin, end) one after another; what each loses is made up for by the columns behind it in the block.
 * @param w [rows][wStride / 4] f32, its first column the block's; left as what became of it
 * @param u [count][uStride / 4] f32: the block of U on the diagonal, where H^-1 = U^T U
 * @param round whether weights become codes; otherwise they are only pruned
 * @param prune whether two of each four columns become 0: those whose loss is the least, (w / U[i][i])^2
 * @param scales, zeros [rows][groups] f32; `groupOf` [count] u32: the group of a column
 * @param codes [rows][codeStride] u8, its first column the block's
 * @param errors [rows][count] f32: (weight - what became of it) / U[i][i]
 */
export function roundBlock(
  w: usize, wStride: usize, count: usize, u: usize, uStride: usize, round: bool, prune: bool,
  scales: usize, zeros: usize, groups: usize, groupOf: usize,
  codes: usize, codeStride: usize, errors: usize, begin: usize, end: usize,
): void {
  for (let row: usize = begin; row < end; row++) {
    const own = w + row * wStride, ownScales = scales + row * (groups << 2), ownZeros = zeros + row * (groups << 2);
    const error = errors + row * (count << 2);
    let pruned: u32 = 0;
    for (let i: usize = 0; i < count; i++) {
      if (prune && (i & 3) == 0) pruned = leastTwo(own + (i << 2), u + i * uStride + (i << 2), uStride);
      const weight = load<f32>(own + (i << 2));
      const kept = (pruned >> <u32>(i & 3) & 1) == 0;
      let value: f32 = kept ? weight : 0;
      if (round) {
        const group = <usize>load<u32>(groupOf + (i << 2)) << 2;
        const scale = load<f32>(ownScales + group), zero = load<f32>(ownZeros + group);
        const code = kept ? codeOf(weight, scale == 0 ? 0 : 1 / scale, zero) : zero;
        value = (code - zero) * scale;
        store<u8>(codes + row * codeStride + i, <u8>code);
      }
      const line = u + i * uStride;
      const lost = (weight - value) / load<f32>(line + (i << 2));
      store<f32>(error + (i << 2), lost);
      store<f32>(own + (i << 2), value);
      let at = (i + 1) << 2;
      for (; at < count << 2 && (at & 15) != 0; at += 4) store<f32>(own + at, load<f32>(own + at) - lost * load<f32>(line + at));
      const factor = f32x4.splat(-lost);
      for (; at < count << 2; at += 16) v128.store(own + at, madd(factor, v128.load(line + at), v128.load(own + at)));
    }
  }
}

/** Bits of the two of four weights whose loss is the least; of equals the first. */
@inline
function leastTwo(w: usize, diagonal: usize, uStride: usize): u32 {
  let bits: u32 = 0;
  for (let turn = 0; turn < 2; turn++) {
    let best: f32 = f32.MAX_VALUE, at: u32 = 0;
    for (let i: u32 = 0; i < 4; i++) {
      const ratio = load<f32>(w + (<usize>i << 2)) / load<f32>(diagonal + <usize>i * (uStride + 4));
      const loss = ratio * ratio;
      if ((bits >> i & 1) == 0 && loss < best) { best = loss; at = i; }
    }
    bits |= 1 << at;
  }
  return bits;
}

/**
 * Scale and zero point of one group of columns for rows [begin, end): of `candidates` shrunken ranges, p = 1, 1 - step, ..., the one of the least error.
 * @param w [rows][wStride / 4] f32, its first column the group's
 * @param count a multiple of 8
 * @param panels null: the error is the sum of squares; otherwise, for at most 128 columns, the inverse of the group's block of U, upper triangular, in panels of 8 columns
 *   [count / 8][count][8] f32, and the error is what that leaves of the difference
 * @param scales, zeros [rows][groups] f32, written at `group`
 * @param scratch 6 x 136 f32
 */
export function searchScales(
  w: usize, wStride: usize, count: usize, symmetric: bool, candidates: usize, step: f32, panels: usize,
  scales: usize, zeros: usize, groups: usize, group: usize, scratch: usize, begin: usize, end: usize,
): void {
  const lines = scratch, sums = scratch + PANEL_ROWS * BLOCK * 4;
  for (let row: usize = begin; row < end; row++) {
    const own = w + row * wStride;
    let least: f32 = 0, most: f32 = 0;
    for (let i: usize = 0; i < count; i++) {
      const weight = load<f32>(own + (i << 2));
      least = min(least, weight);
      most = max(most, weight);
    }
    if (symmetric) { most = max(most, -least); least = -most; }
    const place = (row * groups + group) << 2;
    const range = (most - least) / 15;
    let bestScale = range, bestZero = symmetric || range == 0 ? <f32>8 : zeroOf(least, range), bestError = f32.MAX_VALUE;
    if (candidates > 1 && range > 0) {
      // First every seventh, then those around the best of them: that is where the least is, but for ripples that rounding makes.
      let best = 0;
      for (let turn = 0; turn < 4; turn++) {
        const first = turn < 2 ? turn * COARSE * <i32>PANEL_ROWS : turn == 2 ? best - COARSE + 1 : best + 1;
        const every = turn < 2 ? COARSE : 1;
        for (let c: usize = 0; c < PANEL_ROWS; c++) store<f32>(sums + (c << 2), 0);
        for (let from: usize = 0; from < count; from += BLOCK) {
          const part = min(BLOCK, count - from);
          for (let c: usize = 0; c < PANEL_ROWS; c++) {
            const p = shrunken(first + <i32>c * every, candidates, step), line = lines + c * (BLOCK << 2);
            const scale = range * p, zero = symmetric ? <f32>8 : zeroOf(least * p, scale);
            differences(own + (from << 2), part, scale, zero, line);
            if (panels == 0) store<f32>(sums + (c << 2), load<f32>(sums + (c << 2)) + squares(line, part));
          }
          if (panels != 0) weighed(lines, part, panels, sums);
        }
        for (let c: usize = 0; c < PANEL_ROWS; c++) {
          const error = load<f32>(sums + (c << 2));
          if (error < bestError) {
            const p = shrunken(first + <i32>c * every, candidates, step);
            if (turn < 2) best = first + <i32>c * every;
            bestError = error;
            bestScale = range * p;
            bestZero = symmetric ? <f32>8 : zeroOf(least * p, bestScale);
          }
        }
      }
    }
    store<f32>(scales + place, bestScale);
    store<f32>(zeros + place, bestZero);
  }
}

/** The i-th part of a range, the last of them for those beyond. */
@inline
function shrunken(i: i32, candidates: usize, step: f32): f32 {
  return <f32>1 - step * <f32>max(0, min(i, <i32>candidates - 1));
}

@inline
function zeroOf(least: f32, scale: f32): f32 {
  return max<f32>(0, min<f32>(15, nearest<f32>(-least / scale)));
}

/** What rounding to a scale changes, count numbers. */
@inline
function differences(w: usize, count: usize, scale: f32, zero: f32, to: usize): void {
  const inverse = f32x4.splat(1 / scale), s = f32x4.splat(scale), z = f32x4.splat(zero);
  const low = f32x4.splat(0), high = f32x4.splat(15);
  for (let at: usize = 0; at < count << 2; at += 16) {
    const weight = v128.load(w + at);
    const code = f32x4.max(low, f32x4.min(high, f32x4.add(f32x4.nearest(f32x4.mul(weight, inverse)), z)));
    v128.store(to + at, f32x4.sub(f32x4.mul(f32x4.sub(code, z), s), weight));
  }
}

@inline
function squares(line: usize, count: usize): f32 {
  let sum = f32x4.splat(0);
  for (let at: usize = 0; at < count << 2; at += 16) {
    const value = v128.load(line + at);
    sum = madd(value, value, sum);
  }
  return f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1) + (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3));
}

/** Squares of six lines times an upper triangular matrix in panels. */
@inline
function weighed(lines: usize, count: usize, panels: usize, sums: usize): void {
  const stride = BLOCK << 2, out = sums + 32;
  for (let panel: usize = 0; panel < count / PANEL; panel++) {
    panel6(
      lines, lines + stride, lines + 2 * stride, lines + 3 * stride, lines + 4 * stride, lines + 5 * stride,
      panels + panel * (count << 5), (panel + 1) * PANEL,
      out, out + 32, out + 64, out + 96, out + 128, out + 160, false,
    );
    for (let c: usize = 0; c < PANEL_ROWS; c++) {
      const at = sums + (c << 2);
      store<f32>(at, load<f32>(at) + squares(out + (c << 5), PANEL));
    }
  }
}
