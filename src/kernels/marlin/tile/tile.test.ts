// The 4-bit product on wgmma on the simulator: right for any shape, format, tiling and epilogue, the same bits each time, without findings in any
// order of warps and copies; and what ptxas makes of the tilings that are used.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../../../base/random.ts';
import { describe as text } from '../../../sim/findings.ts';
import { simulate } from '../../../sim/simulate.ts';
import { assembleAll, ptxasArchitectures } from '../../assemble.ts';
import { simulateExample } from '../../entry.ts';
import type { Epilogue } from '../epilogue.ts';
import { type TileCase, tileExample } from './entry.ts';
import { marlinTile } from './kernel.ts';
import { sharedBytes, tileGrid, type TileTiling, tilingRefusal } from './tiling.ts';

const base: TileTiling = {
  warpgroups: 2,
  tokens: 16,
  stages: 2,
  stageK: 128,
  split: 1,
  multicast: 1,
  group: 8,
  once: true,
};

function check(of: TileCase, seed: number): void {
  const { findings, error, bound } = simulateExample(tileExample(of), seed);
  const what = JSON.stringify({ ...of, seed });
  assert.deepEqual(findings.map(text), [], what);
  assert.ok(error <= bound, `${what}: relative error ${error}`);
}

test('any m, n, k, group, zero points, type and epilogue, on every kind of tiling', () => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  const random = new Random(seed);
  const tilings: readonly TileTiling[] = [
    base,
    { ...base, warpgroups: 4, tokens: 8, stages: 3 },
    { ...base, tokens: 24, stageK: 256 },
    { ...base, tokens: 32, split: 2 },
    { ...base, warpgroups: 4, tokens: 32, split: 4, stages: 3 },
    { ...base, tokens: 48, multicast: 2, once: false },
  ];
  const outputs: readonly Epilogue['output'][] = ['f16', 'bf16', 'f32', 'add-f32'];
  for (let run = 0; run < 18; run++) {
    const tiling = tilings[run % tilings.length]!;
    // As many k as each CTA of the cluster needs; whole stages where a stage is more than a strip.
    const strips = tiling.stageK === 256 ? 2 * (1 + random.integer(2)) : Math.max(tiling.split, 1 + random.integer(4));
    const group = ([32, 64, 128] as const)[random.integer(3)]!;
    // Part of the last strip may be missing: whole groups, or any eights where there is one scale a channel.
    const step = group === 128 ? 8 : group;
    const pairs = (['none', 'gates', 'nibbles'] as const)[random.integer(3)]!;
    const padded = tiling.stageK === 256 ? 0 : step * random.integer(128 / step);
    check(
      {
        m: 1 + random.integer(60),
        size: {
          n: pairs !== 'none' ? 16 * (1 + random.integer(25)) : 8 * (1 + random.integer(50)),
          k: 128 * strips - padded,
        },
        tiling,
        type: random.integer(2) === 0 ? 'f16' : 'bf16',
        scheme: { group, zeroPoints: random.integer(2) === 0 },
        epilogue: { output: outputs[run % 4]!, bias: random.integer(2) === 0, pairs },
        multiprocessors: 2 * (1 + random.integer(2)),
      },
      seed + run,
    );
  }
});

test('wide tiles', () => {
  check({ m: 255, size: { n: 136, k: 256 }, tiling: { ...base, tokens: 256, stages: 3 } }, 1);
  check({ m: 130, size: { n: 64, k: 128 }, tiling: { ...base, tokens: 104 }, type: 'bf16' }, 2);
});

test('no findings in 20 orders of warps and copies, each way to use a cluster', () => {
  for (let seed = 0; seed < 20; seed++) {
    const size = { n: 136, k: 384 };
    check({ m: 35, size, tiling: { ...base, tokens: 32, multicast: 2 }, multiprocessors: 2 }, seed);
    check({ m: 17, size: { n: 72, k: 384 }, tiling: { ...base, tokens: 32, split: 2 } }, seed);
  }
});

test('the same bits whatever the order', () => {
  for (const split of [1, 2, 4] as const) {
    const one = tileExample({ m: 32, size: { n: 128, k: 640 }, tiling: { ...base, tokens: 32, split } });
    const bits = (order: number): string =>
      one.launch(7, ({ program, grid, args }) => {
        simulate(program, { grid, args, seed: order });
        return JSON.stringify(args['Y']);
      }).outcome;
    assert.equal(bits(1), bits(2));
  }
});

test('what cannot be multiplied is refused, with the reason', () => {
  const size = { n: 128, k: 384 };
  for (const [wrong, of, reason] of [
    [{}, { n: 100, k: 384 }, /16 bytes/],
    [{ tokens: 12 }, size, /8, 16/],
    [{ warpgroups: 4, tokens: 128 }, size, /registers/],
    [{ split: 2, multicast: 2 }, size, /either/],
    [{ tokens: 8, split: 2 }, size, /in eights/],
    [{ stageK: 256 }, size, /whole stages/],
    [{ tokens: 32, split: 4 }, size, /fewer stages/],
  ] as const) {
    const tiling = { ...base, ...wrong };
    assert.match(tilingRefusal(of, tiling) ?? '', reason);
    const format = { type: 'f16', scheme: { group: 128, zeroPoints: false } } as const;
    assert.throws(() => marlinTile({ size: of, format, tiling, epilogue: { output: 'f16', bias: false } }), RangeError);
  }
});

test('a CTA for each multiprocessor or tile, and a cluster for each tile where k is split', () => {
  const size = { n: 8192, k: 8192 };
  assert.equal(tileGrid(1024, size, { ...base, tokens: 256 }, 132), 132);
  assert.equal(tileGrid(256, size, { ...base, tokens: 256 }, 132), 64);
  assert.equal(tileGrid(32, size, { ...base, tokens: 32, split: 4 }, 132), 256);
  assert.equal(tileGrid(32, size, { ...base, tokens: 32, multicast: 2 }, 133), 64);
});

const present = (await ptxasArchitectures())?.includes('sm_90a') ?? false;

describe('with ptxas', { skip: present ? false : 'there is no ptxas for sm_90a on PATH' }, () => {
  test('nothing is spilled, no product serialised, and shared memory is what was planned', async () => {
    const size = { n: 8192, k: 8192 };
    const tilingsOf = (group: 32 | 128): readonly TileTiling[] => [
      { ...base, tokens: 256, stages: group === 32 ? 2 : 3 },
      { ...base, tokens: 256, multicast: 2 },
      { ...base, tokens: 128, stages: 4, split: 2 },
      { ...base, tokens: 64, stages: 4, warpgroups: 4 },
      { ...base, tokens: 32, stages: 3, warpgroups: 4, stageK: 256 },
    ];
    const cases = (['f16', 'bf16'] as const).flatMap((type) =>
      ([32, 128] as const).flatMap((group) =>
        tilingsOf(group).map((tiling) => ({ type, scheme: { group, zeroPoints: group === 32 }, tiling })),
      ),
    );
    const epilogue = { output: 'f16', bias: true } as const;
    const programs = cases.map(({ type, scheme, tiling }, i) => ({
      ...marlinTile({ size, format: { type, scheme }, tiling, epilogue }),
      name: `tile_${i}`,
    }));
    for (const [i, { spillBytes, stackBytes, warnings }] of (await assembleAll(programs, 'sm_90a')).entries()) {
      const { tiling, scheme } = cases[i]!;
      assert.deepEqual([spillBytes, stackBytes, warnings], [0, 0, []], JSON.stringify(cases[i]));
      assert.equal(programs[i]!.sharedBytes, sharedBytes(tiling, scheme), JSON.stringify(cases[i]));
    }
  });
});
