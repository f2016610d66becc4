// What becomes of a finished sum: bias, gate, type, or addition to what is there. Shared by all 4-bit kernels; knows no tiling.
import type { Global } from '../../ptx/pointers.ts';
import type { K } from '../../ptx/trace.ts';
import { type F32, pairOfBf16, pairOfHalves, type U32 } from '../../ptx/values.ts';
import { STRIP_ROWS } from './layout.ts';

export interface Epilogue {
  /** 'add-f32': added to the f32 that stand in y, as a residual is. */
  readonly output: 'f16' | 'bf16' | 'f32' | 'add-f32';
  /** A bias [n] in f32 is added. */
  readonly bias: boolean;
  /** What becomes of pairs of rows; default: 'none'. */
  readonly pairs?: Pairs;
}

/**
 * Rows that come from interleavePairs (pairs.ts): each strip has 8 rows above 8 others, and y has n / 2 channels, one of each pair.
 * 'gates': silu(upper) * lower. 'nibbles': 16 * upper + lower, which makes 8-bit weights of two halves.
 */
export type Pairs = 'none' | 'gates' | 'nibbles';

/** Why n rows are no pairs; null when they are, or need not be. */
export const pairsRefusal = ({ pairs = 'none' }: Pick<Epilogue, 'pairs'>, n: number): string | null =>
  pairs !== 'none' && n % STRIP_ROWS !== 0
    ? `${n} rows that belong in pairs are no whole strips of ${STRIP_ROWS}`
    : null;

/** Channels of y: n, or half of it. */
export const outputChannels = ({ pairs = 'none' }: Pick<Epilogue, 'pairs'>, n: number): number =>
  pairs === 'none' ? n : n / 2;

/** What tells programs apart by their names: 'f16', 'add_f32_bias', 'bf16_gates'. */
export const epilogueName = ({ output, bias, pairs = 'none' }: Epilogue): string =>
  `${output.replace('-', '_')}${bias ? '_bias' : ''}${pairs === 'none' ? '' : `_${pairs}`}`;

/** One channel of two rows. */
export function ofPair(pairs: Exclude<Pairs, 'none'>, upper: F32, lower: F32): F32 {
  return pairs === 'gates' ? silu(upper).mul(lower) : upper.fma(16, lower);
}

export const outputBytes = ({ output }: Epilogue): number => (output === 'f16' || output === 'bf16' ? 2 : 4);

/** Stores one sum at element `index` of y. */
export function store(k: K, { output }: Epilogue, y: Global<'u8'>, index: U32, sum: F32): void {
  switch (output) {
    case 'f16':
      return k.stB16(y.as('f16').at(index), sum.toF16());
    case 'bf16':
      return k.stB16(y.as('bf16').at(index), sum.toBf16());
    case 'f32':
      return k.stF32(y.as('f32').at(index), sum);
    case 'add-f32': {
      const place = y.as('f32').at(index);
      return k.stF32(place, k.ldF32(place).add(sum));
    }
  }
}

/** x / (1 + e^-x) */
function silu(x: F32): F32 {
  return x.div(x.mul(-Math.LOG2E).exp2().add(1));
}

/** Stores the sums of two channels side by side, the first at the even element `index` of y. */
export function storePair(k: K, { output }: Epilogue, y: Global<'u8'>, index: U32, [a, b]: readonly [F32, F32]): void {
  switch (output) {
    case 'f16':
      return k.stGlobal(y.as('f16').at(index), [pairOfHalves(a, b).asB32()]);
    case 'bf16':
      return k.stGlobal(y.as('bf16').at(index), [pairOfBf16(a, b).asB32()]);
    case 'f32':
      return k.stGlobal(y.as('f32').at(index), [a.asB32(), b.asB32()]);
    case 'add-f32': {
      const place = y.as('f32').at(index);
      const [c, d] = k.ldGlobal(place, 2);
      return k.stGlobal(place, [a.add(c!.asF32()).asB32(), b.add(d!.asF32()).asB32()]);
    }
  }
}
