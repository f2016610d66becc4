// The 4-bit matrix product: int8 activation rows times 4-bit weights, exact in integers within a chunk of K, scaled and summed in f32.
//
// Weights: quads of 4 output rows; a quad is one v128 per word (8 inputs): lane r holds row r's eight nibbles, input 8w + i in nibble i.
// So `word & 0x0f` is the even inputs of four rows and `word >> 4` the odd ones, each four bytes a row: what one dot instruction wants.
// Four quads lie interleaved, word by word, so that a vector product reads its weights as one stream (0.60 ms for a token's products instead of 0.72).
// Activations: a tile of R int8 rows, per word R x 4 even bytes, then R x 4 odd bytes; each row has, per chunk of K, a scale (f32)
// and -8 times the sum of its bytes (i32): sum((code - 8) * x) is that plus sum(code * x), all in integers; another zero point corrects it.
// A 16-bit activation is two rows (high byte with 256 times the scale, low byte): the kernels do not know the difference.
import { dot, madd, nibbleMask } from './simd';

/** Rows of a matrix tile: with 4 weight rows 12 accumulators, which leaves three of V8's 15 vector registers to work with. */
const TILE_ROWS: usize = 12;
/** Most tiles that are taken together for one quad: their totals, 64 x 192 bytes, and 2 KB of weights stay in a first-level cache. */
const TILE_BLOCK: usize = 64;
/** Bytes of activations that are taken together: they are read once a quad and must stay in a second-level cache (1-2 MB today). */
const BLOCK_BYTES: usize = 640 * 1024;
/** Bytes of the totals of a tile: [4 weight rows][12 activation rows] f32. */
const TOTALS: usize = 192;
/** Bytes from a word of a quad to its next, and of four interleaved quads together. */
const WORD_STEP: usize = 64;

/** Writes `count` words of a quad as [count][even, odd][4 rows] vectors, each a row's four codes repeated in all lanes. */
@inline
function spread(from: usize, count: usize, to: usize): void {
  const mask = nibbleMask();
  for (const end = from + count * WORD_STEP; from < end; from += WORD_STEP) {
    const codes = v128.load(from);
    const even = v128.and(codes, mask), odd = v128.and(i16x8.shr_u(codes, 4), mask);
    v128.store(to, v128.shuffle<i32>(even, even, 0, 0, 0, 0));
    v128.store(to, v128.shuffle<i32>(even, even, 1, 1, 1, 1), 16);
    v128.store(to, v128.shuffle<i32>(even, even, 2, 2, 2, 2), 32);
    v128.store(to, v128.shuffle<i32>(even, even, 3, 3, 3, 3), 48);
    v128.store(to, v128.shuffle<i32>(odd, odd, 0, 0, 0, 0), 64);
    v128.store(to, v128.shuffle<i32>(odd, odd, 1, 1, 1, 1), 80);
    v128.store(to, v128.shuffle<i32>(odd, odd, 2, 2, 2, 2), 96);
    v128.store(to, v128.shuffle<i32>(odd, odd, 3, 3, 3, 3), 112);
    to += 128;
  }
}

/** sums (-8 x sum of the activations) corrected for a zero point other than 8. */
@inline
function corrected(sums: v128, zero: v128): v128 {
  return i32x4.sub(sums, i32x4.mul(i32x4.shr_s(sums, 3), i32x4.sub(i32x4.splat(8), zero)));
}

/** [4 rows as lanes] of the four activation rows of one group of lanes, added to their tokens' outputs; returns the next output address. */
@inline
function scatter(total: usize, y: usize, evenStep: usize, oddStep: usize): usize {
  const a = v128.load(total), b = v128.load(total, 48), c = v128.load(total, 96), d = v128.load(total, 144);
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(y, f32x4.add(v128.load(y), v128.shuffle<i32>(ab, cd, 0, 1, 4, 5)));
  y += evenStep;
  v128.store(y, f32x4.add(v128.load(y), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7)));
  y += oddStep;
  v128.store(y, f32x4.add(v128.load(y), v128.shuffle<i32>(ef, gh, 0, 1, 4, 5)));
  y += evenStep;
  v128.store(y, f32x4.add(v128.load(y), v128.shuffle<i32>(ef, gh, 2, 3, 6, 7)));
  return y + oddStep;
}

/** total += sums * scale, in f32 */
@inline
function addScaled(total: usize, sums: v128, scale: v128): void {
  v128.store(total, madd(f32x4.convert_i32x4_s(sums), scale, v128.load(total)));
}

/**
 * y[token][row] = x . W (or += with `add`) for the quads [begin, end), many tokens.
 * Lanes are activation rows here (a vector of four rows times one weight row's four bytes in every lane), so that scales and sums of
 * activations are vectors; the result is turned once, at the end of K.
 * @param weights [quads / 4][words][4] v128, 4 rows x 8 codes each
 * @param scales [quads][groups][4] f32
 * @param zeros [quads][groups][4] i32; not read unless `asymmetric`
 * @param x [tiles][words][2][12][4] int8; `rowScales` and `minusSums` (-8 x sum of the row's bytes) [tiles][chunks][12]
 * @param tokenShift log2 of the rows that make one token (0: 8-bit activations, 1: 16-bit)
 * @param y [tokens][yStride / 4] f32; tokens are padded to whole tiles
 * @param words ceil(K / 8); `chunkWords` words to a chunk (the last may be short); `chunksPerGroup` chunks share a weight scale
 * @param scratch TILE_BLOCK totals, then chunkWords x 128 bytes
 */
export function w4Matrix(
  weights: usize, scales: usize, zeros: usize, asymmetric: bool,
  x: usize, rowScales: usize, minusSums: usize, tokenShift: usize,
  y: usize, yStride: usize, add: bool, tiles: usize, words: usize, chunkWords: usize, chunksPerGroup: usize,
  scratch: usize, begin: usize, end: usize,
): void {
  const chunks = (words + chunkWords - 1) / chunkWords;
  const groups = (chunks + chunksPerGroup - 1) / chunksPerGroup;
  const tokensPerTile = TILE_ROWS >> tokenShift;
  const evenStep = tokenShift == 0 ? yStride : 0;
  const codes = scratch + TILE_BLOCK * TOTALS;
  const block = min(TILE_BLOCK, max<usize>(1, BLOCK_BYTES / (words * (TILE_ROWS * 8))));
  for (let firstTile: usize = 0; firstTile < tiles; firstTile += block) {
    const lastTile = min(tiles, firstTile + block);
    for (let quad: usize = begin; quad < end; quad++) {
      memory.fill(scratch, 0, (lastTile - firstTile) * TOTALS);
      const from = weights + (quad >> 2) * words * WORD_STEP + ((quad & 3) << 4);
      for (let chunk: usize = 0; chunk < chunks; chunk++) {
        const firstWord = chunk * chunkWords, count = min(chunkWords, words - firstWord);
        spread(from + firstWord * WORD_STEP, count, codes);
        const at = (quad * groups + chunk / chunksPerGroup) << 4;
        let totals = scratch;
        for (let tile = firstTile; tile < lastTile; tile++) {
          const row = (tile * chunks + chunk) * (TILE_ROWS * 4);
          tileChunk(
            codes, count, x + (tile * words + firstWord) * (TILE_ROWS * 8), minusSums + row, rowScales + row,
            scales + at, zeros + at, asymmetric, totals,
          );
          totals += TOTALS;
        }
      }
      let totals = scratch;
      for (let tile = firstTile; tile < lastTile; tile++) {
        let out = y + tile * tokensPerTile * yStride + (quad << 4);
        if (!add) for (let i: usize = 0; i < tokensPerTile; i++) v128.store(out + i * yStride, f32x4.splat(0));
        out = scatter(totals, out, evenStep, yStride);
        out = scatter(totals + 16, out, evenStep, yStride);
        scatter(totals + 32, out, evenStep, yStride);
        totals += TOTALS;
      }
    }
  }
}

/**
 * sum + both halves of a word, for processors without one instruction that multiplies bytes and adds them to 32 bits (before AVX-VNNI): there the product of two
 * halves is added in 16 bits, which 2 x 2 x 127 x 15 fits, and widened once. 93 GFLOP/s instead of 73 on such a processor.
 */
@inline
function pair(even: v128, odd: v128, w: usize, sum: v128): v128 {
  const products = i16x8.add(i16x8.relaxed_dot_i8x16_i7x16_s(even, v128.load(w)), i16x8.relaxed_dot_i8x16_i7x16_s(odd, v128.load(w, 64)));
  return i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(products));
}

/** Adds one chunk of K of one quad and one tile to its totals. */
@inline
function tileChunk(codes: usize, count: usize, x: usize, sums: usize, rowScale: usize, scale: usize, zero: usize, asymmetric: bool, totals: usize): void {
  const sum0 = v128.load(sums), sum1 = v128.load(sums, 16), sum2 = v128.load(sums, 32);
  let s00 = sum0, s01 = sum1, s02 = sum2, s10 = sum0, s11 = sum1, s12 = sum2;
  let s20 = sum0, s21 = sum1, s22 = sum2, s30 = sum0, s31 = sum1, s32 = sum2;
  if (asymmetric) {
    const z0 = v128.load_splat<i32>(zero), z1 = v128.load_splat<i32>(zero, 4), z2 = v128.load_splat<i32>(zero, 8), z3 = v128.load_splat<i32>(zero, 12);
    s00 = corrected(s00, z0); s01 = corrected(s01, z0); s02 = corrected(s02, z0);
    s10 = corrected(s10, z1); s11 = corrected(s11, z1); s12 = corrected(s12, z1);
    s20 = corrected(s20, z2); s21 = corrected(s21, z2); s22 = corrected(s22, z2);
    s30 = corrected(s30, z3); s31 = corrected(s31, z3); s32 = corrected(s32, z3);
  }
  let w0 = codes, w1 = codes, w2 = codes;
  const stop = codes + (count << 7);
  if (isDefined(NO_DOT_PRODUCT)) {
    for (; w0 < stop; w0 += 128) {
      const x0 = v128.load(x), y0 = v128.load(x, 48);
      s00 = pair(x0, y0, w0, s00); s10 = pair(x0, y0, w0 + 16, s10); s20 = pair(x0, y0, w0 + 32, s20); s30 = pair(x0, y0, w0 + 48, s30);
      const x1 = v128.load(x, 16), y1 = v128.load(x, 64);
      s01 = pair(x1, y1, w1, s01); s11 = pair(x1, y1, w1 + 16, s11); s21 = pair(x1, y1, w1 + 32, s21); s31 = pair(x1, y1, w1 + 48, s31);
      const x2 = v128.load(x, 32), y2 = v128.load(x, 80);
      s02 = pair(x2, y2, w2, s02); s12 = pair(x2, y2, w2 + 16, s12); s22 = pair(x2, y2, w2 + 32, s22); s32 = pair(x2, y2, w2 + 48, s32);
      w1 += 128; w2 += 128; x += TILE_ROWS * 8;
    }
  } else {
    // Three pointers to the same codes, and half a word a step: otherwise the compiler keeps loaded vectors for later products, and sums spill.
    for (; w0 < stop; w0 += 64) {
      const x0 = v128.load(x);
      s00 = dot(x0, v128.load(w0), s00); s10 = dot(x0, v128.load(w0, 16), s10); s20 = dot(x0, v128.load(w0, 32), s20); s30 = dot(x0, v128.load(w0, 48), s30);
      const x1 = v128.load(x, 16);
      s01 = dot(x1, v128.load(w1), s01); s11 = dot(x1, v128.load(w1, 16), s11); s21 = dot(x1, v128.load(w1, 32), s21); s31 = dot(x1, v128.load(w1, 48), s31);
      const x2 = v128.load(x, 32);
      s02 = dot(x2, v128.load(w2), s02); s12 = dot(x2, v128.load(w2, 16), s12); s22 = dot(x2, v128.load(w2, 32), s22); s32 = dot(x2, v128.load(w2, 48), s32);
      w1 += 64; w2 += 64; x += TILE_ROWS * 4;
    }
  }
  const r0 = v128.load(rowScale), r1 = v128.load(rowScale, 16), r2 = v128.load(rowScale, 32);
  const c0 = v128.load_splat<f32>(scale), c1 = v128.load_splat<f32>(scale, 4);
  addScaled(totals, s00, f32x4.mul(c0, r0)); addScaled(totals + 16, s01, f32x4.mul(c0, r1)); addScaled(totals + 32, s02, f32x4.mul(c0, r2));
  addScaled(totals + 48, s10, f32x4.mul(c1, r0)); addScaled(totals + 64, s11, f32x4.mul(c1, r1)); addScaled(totals + 80, s12, f32x4.mul(c1, r2));
  const c2 = v128.load_splat<f32>(scale, 8), c3 = v128.load_splat<f32>(scale, 12);
  addScaled(totals + 96, s20, f32x4.mul(c2, r0)); addScaled(totals + 112, s21, f32x4.mul(c2, r1)); addScaled(totals + 128, s22, f32x4.mul(c2, r2));
  addScaled(totals + 144, s30, f32x4.mul(c3, r0)); addScaled(totals + 160, s31, f32x4.mul(c3, r1)); addScaled(totals + 176, s32, f32x4.mul(c3, r2));
}

/** First sums of a vector product: -8 x sum of the activations in every lane, or corrected for a quad's four zero points. */
@inline
function firstSums(minusSum: v128, zeros: usize, at: usize, asymmetric: bool): v128 {
  return asymmetric ? corrected(minusSum, v128.load(zeros + at)) : minusSum;
}

/** The same for one token of 16-bit activations (two rows): four quads share each activation load. x is [words][2][2][4]. */
export function w4Vector16(
  weights: usize, scales: usize, zeros: usize, asymmetric: bool, x: usize, rowScales: usize, minusSums: usize,
  y: usize, add: bool, words: usize, chunkWords: usize, chunksPerGroup: usize, begin: usize, end: usize,
): void {
  const mask = nibbleMask();
  const chunks = (words + chunkWords - 1) / chunkWords;
  const groupBytes = ((chunks + chunksPerGroup - 1) / chunksPerGroup) << 4;
  for (let quad: usize = begin; quad < end; quad += 4) {
    // A last block of fewer than four quads is padded in the weights; scales and outputs of the missing ones are its last one's, not stored.
    const last = end - 1 - quad;
    const q1 = quad + min<usize>(1, last), q2 = quad + min<usize>(2, last), q3 = quad + min<usize>(3, last);
    let w = weights + (quad >> 2) * words * WORD_STEP;
    let a = x;
    let sums = minusSums, rowScale = rowScales;
    let y0 = start(y + (quad << 4), add), y1 = start(y + (q1 << 4), add), y2 = start(y + (q2 << 4), add), y3 = start(y + (q3 << 4), add);
    for (let chunk: usize = 0; chunk < chunks; chunk++) {
      const group = (chunk / chunksPerGroup) << 4;
      const g0 = quad * groupBytes + group, g1 = q1 * groupBytes + group, g2 = q2 * groupBytes + group, g3 = q3 * groupBytes + group;
      const highSum = v128.load_splat<i32>(sums, 0), lowSum = v128.load_splat<i32>(sums, 4);
      let h0 = firstSums(highSum, zeros, g0, asymmetric), h1 = firstSums(highSum, zeros, g1, asymmetric);
      let h2 = firstSums(highSum, zeros, g2, asymmetric), h3 = firstSums(highSum, zeros, g3, asymmetric);
      let l0 = firstSums(lowSum, zeros, g0, asymmetric), l1 = firstSums(lowSum, zeros, g1, asymmetric);
      let l2 = firstSums(lowSum, zeros, g2, asymmetric), l3 = firstSums(lowSum, zeros, g3, asymmetric);
      const count = min(chunkWords, words - chunk * chunkWords);
      for (let i: usize = 0; i < count; i++) {
        const highEven = v128.load_splat<i32>(a, 0), lowEven = v128.load_splat<i32>(a, 4);
        const c0 = v128.load(w), e0 = v128.and(c0, mask);
        h0 = dot(highEven, e0, h0); l0 = dot(lowEven, e0, l0);
        const c1 = v128.load(w, 16), e1 = v128.and(c1, mask);
        h1 = dot(highEven, e1, h1); l1 = dot(lowEven, e1, l1);
        const c2 = v128.load(w, 32), e2 = v128.and(c2, mask);
        h2 = dot(highEven, e2, h2); l2 = dot(lowEven, e2, l2);
        const c3 = v128.load(w, 48), e3 = v128.and(c3, mask);
        h3 = dot(highEven, e3, h3); l3 = dot(lowEven, e3, l3);
        const highOdd = v128.load_splat<i32>(a, 8), lowOdd = v128.load_splat<i32>(a, 12);
        const o0 = v128.and(i16x8.shr_u(c0, 4), mask);
        h0 = dot(highOdd, o0, h0); l0 = dot(lowOdd, o0, l0);
        const o1 = v128.and(i16x8.shr_u(c1, 4), mask);
        h1 = dot(highOdd, o1, h1); l1 = dot(lowOdd, o1, l1);
        const o2 = v128.and(i16x8.shr_u(c2, 4), mask);
        h2 = dot(highOdd, o2, h2); l2 = dot(lowOdd, o2, l2);
        const o3 = v128.and(i16x8.shr_u(c3, 4), mask);
        h3 = dot(highOdd, o3, h3); l3 = dot(lowOdd, o3, l3);
        a += 16; w += WORD_STEP;
      }
      const highScale = v128.load_splat<f32>(rowScale, 0), lowScale = v128.load_splat<f32>(rowScale, 4);
      y0 = scaled(y0, h0, l0, v128.load(scales + g0), highScale, lowScale);
      y1 = scaled(y1, h1, l1, v128.load(scales + g1), highScale, lowScale);
      y2 = scaled(y2, h2, l2, v128.load(scales + g2), highScale, lowScale);
      y3 = scaled(y3, h3, l3, v128.load(scales + g3), highScale, lowScale);
      sums += 8;
      rowScale += 8;
    }
    v128.store(y + (quad << 4), y0);
    if (last >= 1) v128.store(y + (q1 << 4), y1);
    if (last >= 2) v128.store(y + (q2 << 4), y2);
    if (last >= 3) v128.store(y + (q3 << 4), y3);
  }
}

@inline
function start(y: usize, add: bool): v128 {
  return add ? v128.load(y) : f32x4.splat(0);
}

@inline
function scaled(y: v128, high: v128, low: v128, weightScale: v128, highScale: v128, lowScale: v128): v128 {
  const sum = madd(f32x4.convert_i32x4_s(high), highScale, f32x4.mul(f32x4.convert_i32x4_s(low), lowScale));
  return madd(sum, weightScale, y);
}

/** The same for one token of 8-bit activations. x is [words][2][4]. */
export function w4Vector8(
  weights: usize, scales: usize, zeros: usize, asymmetric: bool, x: usize, rowScales: usize, minusSums: usize,
  y: usize, add: bool, words: usize, chunkWords: usize, chunksPerGroup: usize, begin: usize, end: usize,
): void {
  const mask = nibbleMask();
  const chunks = (words + chunkWords - 1) / chunkWords;
  const groupBytes = ((chunks + chunksPerGroup - 1) / chunksPerGroup) << 4;
  for (let quad: usize = begin; quad < end; quad += 4) {
    const last = end - 1 - quad;
    const q1 = quad + min<usize>(1, last), q2 = quad + min<usize>(2, last), q3 = quad + min<usize>(3, last);
    let w = weights + (quad >> 2) * words * WORD_STEP;
    let a = x;
    let sums = minusSums, rowScale = rowScales;
    let y0 = start(y + (quad << 4), add), y1 = start(y + (q1 << 4), add), y2 = start(y + (q2 << 4), add), y3 = start(y + (q3 << 4), add);
    for (let chunk: usize = 0; chunk < chunks; chunk++) {
      const group = (chunk / chunksPerGroup) << 4;
      const g0 = quad * groupBytes + group, g1 = q1 * groupBytes + group, g2 = q2 * groupBytes + group, g3 = q3 * groupBytes + group;
      const sum = v128.load_splat<i32>(sums, 0);
      let s0 = firstSums(sum, zeros, g0, asymmetric);
      let s1 = firstSums(sum, zeros, g1, asymmetric);
      let s2 = firstSums(sum, zeros, g2, asymmetric);
      let s3 = firstSums(sum, zeros, g3, asymmetric);
      const count = min(chunkWords, words - chunk * chunkWords);
      for (let i: usize = 0; i < count; i++) {
        const even = v128.load_splat<i32>(a, 0), odd = v128.load_splat<i32>(a, 4);
        const c0 = v128.load(w), c1 = v128.load(w, 16), c2 = v128.load(w, 32), c3 = v128.load(w, 48);
        s0 = dot(even, v128.and(c0, mask), s0); s1 = dot(even, v128.and(c1, mask), s1);
        s2 = dot(even, v128.and(c2, mask), s2); s3 = dot(even, v128.and(c3, mask), s3);
        s0 = dot(odd, v128.and(i16x8.shr_u(c0, 4), mask), s0); s1 = dot(odd, v128.and(i16x8.shr_u(c1, 4), mask), s1);
        s2 = dot(odd, v128.and(i16x8.shr_u(c2, 4), mask), s2); s3 = dot(odd, v128.and(i16x8.shr_u(c3, 4), mask), s3);
        a += 8; w += WORD_STEP;
      }
      const scale = v128.load_splat<f32>(rowScale, 0);
      y0 = madd(f32x4.convert_i32x4_s(s0), f32x4.mul(scale, v128.load(scales + g0)), y0);
      y1 = madd(f32x4.convert_i32x4_s(s1), f32x4.mul(scale, v128.load(scales + g1)), y1);
      y2 = madd(f32x4.convert_i32x4_s(s2), f32x4.mul(scale, v128.load(scales + g2)), y2);
      y3 = madd(f32x4.convert_i32x4_s(s3), f32x4.mul(scale, v128.load(scales + g3)), y3);
      sums += 4;
      rowScale += 4;
    }
    v128.store(y + (quad << 4), y0);
    if (last >= 1) v128.store(y + (q1 << 4), y1);
    if (last >= 2) v128.store(y + (q2 << 4), y2);
    if (last >= 3) v128.store(y + (q3 << 4), y3);
  }
}
