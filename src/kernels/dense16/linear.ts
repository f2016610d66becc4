// y = x W^T of a layer with 16-bit weights, for any number of tokens: f16 or f32 out, added to what is there, with a bias. Two programs: tiles on
// mma.sync for many tokens, and for few a warp that reads two rows of W for all of them.
import { kernel } from '../../ptx/kernel.ts';
import type { Program } from '../../ptx/program.ts';
import { type F32, f32 } from '../../ptx/values.ts';
import { type Epilogue, storePair } from '../marlin/epilogue.ts';
import { awaitInputs, floatsOf, laneSum, type Overlap, PER_LOAD, requireMultiple, targetOf } from '../vectors.ts';
import { multiplyTile, THREADS, TILE } from './tile.ts';

export interface LinearShape extends Overlap {
  /** Output channels: a multiple of 2. */
  readonly n: number;
  /** Input channels: a multiple of 8. */
  readonly k: number;
  readonly epilogue: Epilogue;
}

export type LinearParams = {
  /** [tokens, k] */
  readonly x: 'f16*';
  /** [n, k] */
  readonly w: 'f16*';
  /** [n]; not read without a bias. */
  readonly bias: 'f32*';
  /** [tokens, n] of the epilogue's type. */
  readonly y: 'u8*';
  readonly tokens: 'u32';
};

const params: LinearParams = { x: 'f16*', w: 'f16*', bias: 'f32*', y: 'u8*', tokens: 'u32' };

function nameOf(kind: string, { n, k, epilogue }: LinearShape): string {
  return `linear_${kind}_${n}_${k}_${epilogue.output.replace('-', '_')}${epilogue.bias ? '_bias' : ''}`;
}

/** 96 KB: what a CTA of an sm_86 can have, and two CTAs of an sm_90. */
const STAGES = 3;

/** Tokens go along x, so that CTAs that run together share the rows of W. */
export function tiledGrid(tokens: number, { n }: LinearShape): readonly [tokens: number, channels: number] {
  return [Math.ceil(tokens / TILE), Math.ceil(n / TILE)];
}

/** Grid: tiledGrid. Errors: RangeError for other shapes. */
export function tiledLinear(shape: LinearShape): Program<LinearParams> {
  const { n, k: depth, epilogue } = shape;
  requireMultiple('the number of output channels', n, 2);
  requireMultiple('the number of input channels', depth, PER_LOAD);
  return kernel(
    { name: nameOf('tiled', shape), threads: THREADS, target: targetOf(shape), params },
    (k, { x, w, bias, y, tokens }) => {
      awaitInputs(k, shape);
      const [firstRow, firstColumn] = [k.cta.x.mul(TILE), k.cta.y.mul(TILE)];
      const lastColumn = n % TILE === 0 ? null : n - 1;
      multiplyTile(
        k,
        { A: x, B: w, depth, firstRow, firstColumn, lastRow: tokens.sub(1), lastColumn, stages: STAGES },
        (row, column, [a, b]) => {
          const inside = lastColumn === null ? row.lt(tokens) : row.lt(tokens).and(column.lt(n));
          k.if(inside, () => {
            const [c, d] = epilogue.bias ? k.ldGlobal(bias.at(column), 2).map((word) => word.asF32()) : [];
            storePair(k, epilogue, y, row.mul(n).add(column), [
              c === undefined ? a : a.add(c),
              d === undefined ? b : b.add(d),
            ]);
          });
        },
      );
    },
  );
}

/** Tokens that a program of `streamedLinear` may be made for. */
export const STREAMED_TOKENS = [1, 2, 4, 8] as const;

const STREAM_WARPS = 4;
/** Rows of W that a warp takes, side by side in y. */
const PAIR = 2;
/** Loads of a row that a lane has under way. */
const UNROLL = 4;

export function streamedGrid({ n }: LinearShape): readonly [channels: number] {
  return [Math.ceil(n / (PAIR * STREAM_WARPS))];
}

/** For up to `most` tokens. Grid: streamedGrid. Errors: RangeError for other shapes. */
export function streamedLinear(shape: LinearShape, most: (typeof STREAMED_TOKENS)[number]): Program<LinearParams> {
  const { n, k: depth, epilogue } = shape;
  requireMultiple('the number of output channels', n, PAIR);
  requireMultiple('the number of input channels', depth, PER_LOAD);
  const threads = 32 * STREAM_WARPS;
  return kernel(
    { name: `${nameOf('streamed', shape)}_${most}`, threads, target: targetOf(shape), params },
    (k, { x, w, bias, y, tokens }) => {
      awaitInputs(k, shape);
      const channel = k.cta.x.mul(STREAM_WARPS).add(k.shflIdx(k.warp, 0)).mul(PAIR);
      // Warps behind the end do the last pair again and store nothing, since all lanes must meet.
      const rows = [0, 1].map((i) =>
        w.at(
          channel
            .min(n - PAIR)
            .add(i)
            .mul(depth),
        ),
      );
      const inputs = Array.from({ length: most }, (_, token) =>
        most === 1 ? x : x.at(tokens.sub(1).min(token).mul(depth)),
      );
      const sums = inputs.map(() => rows.map(() => k.var(f32(0))));
      const multiply = (places: readonly (typeof channel)[]): void => {
        const weights = places.map((at) =>
          rows.map((row) => k.ldGlobal(row.at(at), 4, { hint: 'streaming', readOnly: true })),
        );
        for (const [i, at] of places.entries()) {
          const pair = weights[i]!.map((words) => floatsOf(words));
          for (const [token, input] of inputs.entries()) {
            const values = floatsOf(k.ldGlobal(input.at(at), 4));
            for (const [r, sum] of sums[token]!.entries())
              sum.set(values.reduce<F32>((total, value, j) => value.fma(pair[r]![j]!, total), sum));
          }
        }
      };
      const step = 32 * PER_LOAD;
      const whole = Math.floor(depth / (UNROLL * step)) * UNROLL * step;
      const at = k.lane.mul(PER_LOAD);
      if (whole > 0)
        k.loop(0, whole, UNROLL * step, (first) =>
          multiply(Array.from({ length: UNROLL }, (_, i) => first.add(at).add(i * step))),
        );
      if (whole < depth) k.loop(at.add(whole), depth, step, (place) => multiply([place]));

      const totals = sums.map((pair) => pair.map((sum) => laneSum(k, sum)));
      for (const [token, [a, b]] of totals.entries()) {
        k.if(k.lane.eq(token).and(channel.lt(n)).and(tokens.gt(token)), () => {
          const [c, d] = epilogue.bias ? k.ldGlobal(bias.at(channel), 2).map((word) => word.asF32()) : [];
          const index = channel.add(token * n);
          storePair(k, epilogue, y, index, [c === undefined ? a! : a!.add(c), d === undefined ? b! : b!.add(d)]);
        });
      }
    },
  );
}
