// Second-order rounding against the same in plain loops and float64; what it must keep whatever the inputs: groups, patterns, order, dead columns.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { bf16ToNumber, f16ToNumber } from '../base/f16.ts';
import { Random } from '../base/random.ts';
import { relativeError } from '../base/stats.ts';
import { Pool } from '../cpu/pool.ts';
import { dequantize, type QuantizedMatrix, unpackCodes } from '../formats/quantized.ts';
import { type Curvature, curvatureOf } from './curvature.ts';
import { quantizeRtn } from './rtn.ts';
import { storedScale } from './scale.ts';
import { solve, type SolveOptions } from './solve.ts';

const pool = new Pool({ threads: 1, scratchBytes: 2 ** 16 });
const two = new Pool({ threads: 2, scratchBytes: 2 ** 16 });
after(() => {
  pool[Symbol.dispose]();
  two[Symbol.dispose]();
});

const seed = Math.floor(Math.random() * 2 ** 32);

/** Inputs whose columns depend on each other, and some of which are far larger. */
function inputs(random: Random, tokens: number, columns: number): Float64Array {
  const factors = Array.from({ length: columns }, () => Math.exp(random.normal()));
  const x = new Float64Array(tokens * columns);
  for (let t = 0; t < tokens; t++) {
    const common = random.normal();
    for (let i = 0; i < columns; i++) x[t * columns + i] = factors[i]! * (random.normal() + common);
  }
  return x;
}

function hessianOf(x: Float64Array, columns: number): Float32Array {
  const h = new Float64Array(columns * columns);
  for (let start = 0; start < x.length; start += columns)
    for (let i = 0; i < columns; i++)
      for (let j = 0; j < columns; j++) h[i * columns + j]! += x[start + i]! * x[start + j]!;
  return Float32Array.from(h);
}

/** ||X (W - Q)^T|| / ||X W^T|| */
function outputError(x: Float64Array, columns: number, weights: Float32Array, rounded: ArrayLike<number>): number {
  const product = (of: ArrayLike<number>): Float64Array =>
    Float64Array.from({ length: (x.length / columns) * (of.length / columns) }, (_, at) => {
      const [token, row] = [Math.floor(at / (of.length / columns)), at % (of.length / columns)];
      let sum = 0;
      for (let i = 0; i < columns; i++) sum += x[token * columns + i]! * of[row * columns + i]!;
      return sum;
    });
  return relativeError(product(rounded), product(weights));
}

type Codes = NonNullable<SolveOptions['codes']>;

/** GPTQ in plain loops, scales without clipping: what roundBlock and its sums across blocks mean. */
function plain(
  weights: Float32Array,
  { u, columns, order }: Curvature,
  { symmetric, scaleDtype }: Codes,
  group: number,
  prune: boolean,
): Float64Array {
  const rows = weights.length / columns;
  const result = new Float64Array(weights.length);
  for (let row = 0; row < rows; row++) {
    const original = weights.subarray(row * columns, (row + 1) * columns);
    const w = Float64Array.from({ length: columns }, (_, j) => original[order?.[j] ?? j]!);
    const scaleOf = (values: ArrayLike<number>): { readonly scale: number; readonly zero: number } => {
      const [low, high] = [Math.min(0, ...Array.from(values)), Math.max(0, ...Array.from(values))];
      const range = symmetric ? (2 * Math.max(high, -low)) / 15 : (high - low) / 15;
      const zero = symmetric ? 8 : Math.max(0, Math.min(15, Math.round(-low / range)));
      return { scale: range === 0 ? 1 : storedScale(range, scaleDtype), zero };
    };
    const statics = Array.from({ length: columns / group }, (_, g) =>
      scaleOf(original.subarray(g * group, (g + 1) * group)),
    );
    let current = statics[0]!;
    let pruned = new Set<number>();
    for (let j = 0; j < columns; j++) {
      if (order !== null) current = statics[Math.floor(order[j]! / group)]!;
      else if (j % group === 0) current = scaleOf(w.subarray(j, j + group));
      if (prune && j % 4 === 0) {
        const loss = [0, 1, 2, 3].map((i) => (w[j + i]! / u[(j + i) * columns + j + i]!) ** 2);
        pruned = new Set(
          [0, 1, 2, 3]
            .toSorted((a, b) => loss[a]! - loss[b]!)
            .slice(0, 2)
            .map((i) => j + i),
        );
      }
      const { scale, zero } = current;
      const code = Math.max(0, Math.min(15, Math.round(w[j]! / scale) + zero));
      const value = pruned.has(j) ? 0 : (code - zero) * scale;
      const lost = (w[j]! - value) / u[j * columns + j]!;
      for (let k = j + 1; k < columns; k++) w[k]! -= lost * u[j * columns + k]!;
      result[row * columns + (order?.[j] ?? j)] = value;
    }
  }
  return result;
}

const scalesOf = ({ scales, scaleDtype }: QuantizedMatrix): number[] =>
  Array.from(scales, scaleDtype === 'F16' ? f16ToNumber : bf16ToNumber);

describe(`second-order rounding (seed ${seed})`, () => {
  test('is that of the plain loops, on any shape, group, order and pattern', () => {
    const random = new Random(seed);
    for (let run = 0; run < 14; run++) {
      const group = [8, 32, 64, 128, 192][random.integer(5)]!;
      const [rows, columns] = [1 + random.integer(20), group * (1 + random.integer(4))];
      const actOrder = random.integer(3) === 0;
      const prune = !actOrder && random.integer(3) === 0;
      const codes: Codes = {
        group: random.integer(4) === 0 ? 'channel' : group,
        symmetric: random.integer(2) === 0,
        clip: 'none',
        scaleDtype: random.integer(2) === 0 ? 'F16' : 'BF16',
      };
      const weights = random.fillNormal(new Float32Array(rows * columns), 0.1);
      const x = inputs(random, 300, columns);
      const curvature = curvatureOf(pool, 'w', hessianOf(x, columns), columns, { damp: 0.05, actOrder, tokens: 300 });
      const { matrix, relativeError: told } = solve(pool, 'w', weights, curvature, { codes, prune });
      const rounded = dequantize(matrix!);
      const what = JSON.stringify({ rows, columns, codes, actOrder, prune, run });
      const expected = plain(weights, curvature, codes, codes.group === 'channel' ? columns : group, prune);
      // A sum that lies between two codes can fall to either side in f32, and moves those behind it.
      const error = outputError(x, columns, weights, rounded);
      assert.ok(error <= 1.05 * outputError(x, columns, weights, expected) + 1e-6, what);
      const same = expected.filter((value, i) => Math.abs(value - rounded[i]!) < 1e-6).length / expected.length;
      assert.ok(same > 0.9, `${what}: ${same} of the weights are the same`);
      // What it tells is of the damped inputs.
      assert.ok(told >= 0.98 * error && told < 2 * error, `${what}: ${told} told, ${error} found`);
      if (prune) {
        for (let at = 0; at < rounded.length; at += 4)
          assert.ok(rounded.subarray(at, at + 4).filter((value) => value === 0).length >= 2, what);
      }
    }
  });

  test('of inputs that do not depend on each other is rounding to nearest', () => {
    const random = new Random(seed + 1);
    const [rows, columns] = [9, 256];
    const weights = random.fillNormal(new Float32Array(rows * columns));
    const hessian = Float32Array.from({ length: columns ** 2 }, (_, at) => (at % (columns + 1) === 0 ? 3 : 0));
    const curvature = curvatureOf(pool, 'w', hessian, columns, { damp: 0.01, actOrder: false, tokens: 1 });
    for (const group of [32, 128, 'channel'] as const) {
      const codes = { group, symmetric: true, clip: 'none', scaleDtype: 'F16' } as const;
      const { matrix } = solve(pool, 'w', weights, curvature, { codes, prune: false });
      assert.deepEqual(matrix, quantizeRtn(weights, rows, columns, { group, clip: 'none', scaleDtype: 'F16' }));
    }
  });

  test('clipping finds scales with a smaller error, each by its measure', () => {
    const random = new Random(seed + 2);
    const [rows, columns] = [32, 256];
    const weights = random.fillNormal(new Float32Array(rows * columns)).map((w) => w ** 3);
    const x = inputs(random, 500, columns);
    const curvature = curvatureOf(pool, 'w', hessianOf(x, columns), columns, {
      damp: 0.1,
      actOrder: false,
      tokens: 500,
    });
    const run = (clip: Codes['clip']) =>
      solve(pool, 'w', weights, curvature, {
        codes: { group: 64, symmetric: true, clip, scaleDtype: 'F16' },
        prune: false,
      });
    const [none, mse, gptq] = [run('none'), run('mse'), run('gptq')];
    assert.ok(gptq.relativeError < none.relativeError && gptq.relativeError < mse.relativeError);
    assert.ok(scalesOf(mse.matrix!).some((scale, i) => scale < scalesOf(none.matrix!)[i]!));
  });

  test('prunes without rounding what is kept, and loses less than by magnitude', () => {
    const random = new Random(seed + 3);
    const [rows, columns] = [16, 128];
    const weights = random.fillNormal(new Float32Array(rows * columns));
    const x = inputs(random, 400, columns);
    const curvature = curvatureOf(pool, 'w', hessianOf(x, columns), columns, {
      damp: 0.01,
      actOrder: false,
      tokens: 400,
    });
    const { matrix, weights: pruned } = solve(pool, 'w', weights, curvature, { codes: null, prune: true });
    assert.equal(matrix, null);
    const byMagnitude = weights.map((weight, i) => {
      const four = weights
        .subarray(i & ~3, (i & ~3) + 4)
        .map(Math.abs)
        .toSorted();
      return Math.abs(weight) < four[2]! ? 0 : weight;
    });
    assert.equal(pruned!.filter((value) => value === 0).length, (rows * columns) / 2);
    assert.ok(outputError(x, columns, weights, pruned!) < outputError(x, columns, weights, byMagnitude));
  });

  test('columns without inputs become 0, and harm nobody', () => {
    const random = new Random(seed + 4);
    const [rows, columns] = [5, 64];
    const weights = random.fillNormal(new Float32Array(rows * columns));
    const x = inputs(random, 200, columns).map((value, i) => ([3, 40].includes(i % columns) ? 0 : value));
    for (const actOrder of [false, true]) {
      const curvature = curvatureOf(pool, 'w', hessianOf(x, columns), columns, { damp: 0.01, actOrder, tokens: 200 });
      const codes = { group: 32, symmetric: true, clip: 'none', scaleDtype: 'F16' } as const;
      const { matrix } = solve(pool, 'w', weights, curvature, { codes, prune: false });
      const all = unpackCodes(matrix!.packed, rows, columns);
      for (let row = 0; row < rows; row++) assert.deepEqual([all[row * columns + 3], all[row * columns + 40]], [8, 8]);
    }
  });

  test('gives the same bits with any number of threads', () => {
    const random = new Random(seed + 5);
    const [rows, columns] = [100, 256];
    const weights = random.fillNormal(new Float32Array(rows * columns));
    const x = inputs(random, 300, columns);
    const curvature = curvatureOf(pool, 'w', hessianOf(x, columns), columns, {
      damp: 0.01,
      actOrder: true,
      tokens: 300,
    });
    const codes = { group: 64, symmetric: false, clip: 'mse', scaleDtype: 'F16' } as const;
    const [a, b] = [pool, two].map((one) => solve(one, 'w', weights, curvature, { codes, prune: false }));
    assert.deepEqual(a, b);
  });
});

describe('curvature', () => {
  test('is damped more where it has to be, and says so', () => {
    // One token: a matrix of rank 1, which rounding makes not positive.
    const columns = 48;
    const x = inputs(new Random(7), 1, columns).map((value) => 1e8 * value);
    const hessian = hessianOf(x, columns);
    const options = { damp: 1e-18, actOrder: false, tokens: 1 };
    assert.ok(curvatureOf(pool, 'w', Float32Array.from(hessian), columns, options).damp > options.damp);
    const broken = hessian.fill(-1);
    assert.throws(() => curvatureOf(pool, 'layers.3.q_proj', broken, columns, { ...options, damp: 0.1 }), {
      code: 'hessian-not-positive',
      message: /layers\.3\.q_proj.*0\.8.*1 calibration tokens.*-/,
    });
  });
});

test('bad weights and groups are refused by name', () => {
  const identity = Float32Array.from({ length: 256 }, (_, i) => Number(i % 17 === 0));
  const curvature = curvatureOf(pool, 'w', identity, 16, { damp: 0.01, actOrder: false, tokens: 1 });
  const codes = { group: 16, symmetric: true, clip: 'none', scaleDtype: 'F16' } as const;
  const weights = new Float32Array(32).fill(1);
  assert.throws(() => solve(pool, 'q_proj', weights.with(3, Number.NaN), curvature, { codes, prune: false }), {
    code: 'weight-not-finite',
    message: /q_proj/,
  });
  assert.throws(() => solve(pool, 'q_proj', weights, curvature, { codes: { ...codes, group: 12 }, prune: false }), {
    code: 'group-invalid',
  });
  assert.throws(() => solve(pool, 'q_proj', weights, curvature, { codes: { ...codes, group: 4 }, prune: false }), {
    code: 'group-unsupported',
  });
  const huge = weights.map(() => 1e38);
  assert.throws(() => solve(pool, 'q_proj', huge, curvature, { codes, prune: false }), { code: 'scale-overflow' });
});
