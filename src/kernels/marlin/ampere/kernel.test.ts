// The paper's kernel on the simulator: equal to its reference on random shapes, without findings in any order of warps and CTAs, the same bits every time.
import assert from 'node:assert/strict';
import { describe as suite, test } from 'node:test';
import fc from 'fast-check';
import { Random } from '../../../base/random.ts';
import { relativeError } from '../../../base/stats.ts';
import { describe } from '../../../sim/findings.ts';
import { simulate } from '../../../sim/simulate.ts';
import { architectures, architecturesOf } from '../../assemble.ts';
import type { PackedMatrix } from '../pack.ts';
import { type Ampere, ampere, ampereGrid } from './kernel.ts';
import { type AmpereArgs, boundOf, expectedOf, outputOf, randomArgs, randomMatrix } from './problem.ts';
import { sharedBytes, stripesOf, type Tiling } from './tiling.ts';

const plain: Ampere = {
  size: { n: 128, k: 512 },
  scheme: { group: 128, zeroPoints: false },
  type: 'f16',
  tiling: { strips: 4, tokens: 8, stages: 4 },
  epilogue: { output: 'f32', bias: false },
  ctas: 3,
};

interface Problem {
  readonly of: Ampere;
  readonly matrix: PackedMatrix;
  readonly args: AmpereArgs;
}

function problemOf(of: Ampere, m: number, seed: number): Problem {
  const random = new Random(seed);
  const matrix = randomMatrix(random, of);
  return { of, matrix, args: randomArgs(random, of, matrix, m) };
}

/** Simulates a product without findings; returns y. */
function run({ of, args }: Problem, seed = 0, resident = 16): Float64Array {
  const { findings } = simulate(ampere(of), { grid: ampereGrid(of, args.m), args, seed, resident });
  assert.deepEqual(findings.map(describe), []);
  return outputOf(of, args);
}

/** The same with an output of its own. */
function rerun({ of, matrix, args }: Problem, seed: number, resident?: number): Float64Array {
  return run({ of, matrix, args: { ...args, y: args.y.slice() } }, seed, resident);
}

const tilings: fc.Arbitrary<Tiling> = fc.record({
  strips: fc.constantFrom(4, 8, 16),
  tokens: fc.constantFrom(8, 16, 32, 64),
  stages: fc.constantFrom(2, 3, 4, 5),
});

const problems: fc.Arbitrary<Ampere> = fc
  .record({
    size: fc.record({ n: fc.integer({ min: 1, max: 300 }), k: fc.integer({ min: 1, max: 700 }) }),
    scheme: fc.record({ group: fc.constantFrom(32, 64, 128), zeroPoints: fc.boolean() }),
    wholeGroups: fc.boolean(),
    type: fc.constantFrom('f16', 'bf16'),
    tiling: tilings,
    epilogue: fc.record({
      output: fc.constantFrom('f16', 'bf16', 'f32', 'add-f32'),
      bias: fc.boolean(),
      pairs: fc.constantFrom('none', 'gates', 'nibbles'),
    }),
    ctas: fc.integer({ min: 1, max: 7 }),
  })
  .map(({ size: { n, k }, scheme, wholeGroups, epilogue, ...others }) => ({
    ...others,
    epilogue,
    // Groups that divide k, or one scale a channel, which is packed in groups of 128.
    size: {
      n: epilogue.pairs !== 'none' ? 16 * Math.ceil(n / 16) : n,
      k: wholeGroups ? scheme.group * Math.ceil(k / scheme.group) : k,
    },
    scheme: wholeGroups || k % scheme.group === 0 ? scheme : { ...scheme, group: 128 },
  }));

suite("the paper's kernel", () => {
  test('equals its reference on random sizes, groups, types, tiles, outputs and numbers of tokens', () => {
    fc.assert(
      fc.property(problems, fc.integer({ min: 1, max: 70 }), fc.nat(), (of, m, seed) => {
        // A few sums may cancel, and their error is then large beside them; many do not.
        fc.pre(m * of.size.n >= 32);
        const problem = problemOf(of, m, seed);
        // What y held counts where the output adds.
        const expected = expectedOf(of, problem.matrix, problem.args);
        const error = relativeError(run(problem, seed), expected);
        assert.ok(error <= boundOf(of), `relative error ${error}`);
      }),
      { numRuns: 25 },
    );
  });

  test('has no findings in any order of warps and CTAs, and the same bits in all of them', () => {
    for (const of of [
      { ...plain, ctas: 5 },
      {
        ...plain,
        size: { n: 72, k: 384 },
        tiling: { strips: 8, tokens: 32, stages: 2 },
        scheme: { group: 32, zeroPoints: true },
      },
    ] satisfies Ampere[]) {
      const problem = problemOf(of, 9, 1);
      const once = rerun(problem, 0);
      for (let seed = 1; seed < 20; seed++) assert.deepEqual(rerun(problem, seed), once);
      assert.ok(problem.args.counters.every((count) => count === 0));
    }
  });

  test('is right, with the same bits, when CTAs run one after the other', () => {
    const problem = problemOf({ ...plain, ctas: 5 }, 8, 2);
    assert.deepEqual(rerun(problem, 0, 1), rerun(problem, 0, 16));
  });

  test('tiles are shared where a stripe ends within them: 5 CTAs for 2 tiles of 4 units', () => {
    const { ctas, stripe, tiles, unitsPerTile } = stripesOf(plain.size, plain.tiling, 5);
    assert.deepEqual({ ctas, stripe, tiles, unitsPerTile }, { ctas: 4, stripe: 2, tiles: 2, unitsPerTile: 4 });
    assert.equal(stripesOf(plain.size, plain.tiling, 3).stripe, 3);
  });

  test("a token's outputs do not depend on how many tokens there are, nor on its place among them", () => {
    for (const tokens of [8, 16, 32] as const) {
      const of: Ampere = { ...plain, tiling: { strips: 4, tokens, stages: 4 } };
      const all = problemOf(of, tokens + 3, 3);
      const { k, n } = of.size;
      const y = run(all);
      for (const [token, m] of [
        [0, 1],
        [5, 3],
        [tokens, 2],
      ] as const) {
        const x = all.args.x.slice(token * k, (token + m) * k);
        const some = randomArgs(new Random(4), of, all.matrix, m);
        const alone = run({ of, matrix: all.matrix, args: { ...some, x } });
        assert.deepEqual(alone, y.slice(token * n, (token + m) * n));
      }
    }
  });

  test('ring and message are all the shared memory it takes; up to 64 tokens there are tiles for every chip', () => {
    for (const strips of [4, 8] as const) {
      for (const tokens of [8, 16, 32, 64] as const) {
        const of: Ampere = { ...plain, tiling: { strips, tokens, stages: 4 } };
        const program = ampere(of);
        assert.equal(program.sharedBytes, sharedBytes(of.tiling, of.scheme));
        assert.deepEqual(architecturesOf(program), architectures);
      }
    }
  });

  test('what it cannot do is refused', () => {
    assert.throws(() => ampere({ ...plain, tiling: { ...plain.tiling, stages: 1 } }), RangeError);
    const pairs = { output: 'f16', bias: false, pairs: 'gates' } as const;
    assert.throws(() => ampere({ ...plain, size: { n: 120, k: 128 }, epilogue: pairs }), RangeError);
  });
});
