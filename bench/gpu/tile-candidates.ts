// The tilings that a sweep tries for a number of tokens: the planned one, and those that may turn out better.
import type { MatrixSize, Scheme } from '../../src/kernels/marlin/layout.ts';
import { planTile, SHARED_BYTES, withStages } from '../../src/kernels/marlin/tile/plan.ts';
import { sharedBytes, type TileTiling, tilingRefusal } from '../../src/kernels/marlin/tile/tiling.ts';

/** With as many stages as there is room for. */
type Choice = Partial<Omit<TileTiling, 'stages' | 'tokens'>> & { readonly tokens: number };

const plain = { warpgroups: 2, stageK: 128, split: 1, multicast: 1, group: 16 } as const;
const two = { warpgroups: 2 } as const;
const four = { warpgroups: 4 } as const;

/** The same tile with several clusters and stages. */
const tiles = (tokens: number, ...several: readonly Omit<Choice, 'tokens'>[]): readonly Choice[] =>
  several.map((choice) => ({ ...choice, tokens }));

/** By the most tokens it is for. */
const choices: readonly (readonly [most: number, choices: readonly Choice[]])[] = [
  [
    16,
    [
      ...tiles(16, four, { ...four, stageK: 256 }, { ...four, split: 2 }, two, { ...two, split: 2 }),
      ...tiles(32, { ...two, split: 4 }),
    ],
  ],
  [
    32,
    tiles(
      32,
      four,
      { ...four, stageK: 256 },
      { ...four, split: 2 },
      { ...four, multicast: 2 },
      { ...two, split: 2 },
      { ...two, split: 4 },
    ),
  ],
  [
    64,
    tiles(64, four, { ...four, split: 2 }, { ...four, multicast: 2 }, { ...two, split: 2 }, { ...two, split: 4 }, two),
  ],
  [
    128,
    [
      ...tiles(128, two, { ...two, multicast: 2 }, { ...two, split: 2 }),
      ...tiles(64, { ...four, multicast: 2 }, { ...two, multicast: 2 }, { ...two, split: 2 }),
    ],
  ],
  [
    256,
    [
      ...tiles(256, two, { ...two, multicast: 2 }),
      ...tiles(128, two, { ...two, multicast: 2 }, { ...two, split: 2 }),
      ...tiles(64, { ...four, multicast: 2 }),
    ],
  ],
  [
    Infinity,
    [
      ...tiles(256, two, { ...two, multicast: 2 }, { ...two, multicast: 2, group: 8 }, { ...two, group: 32 }),
      ...tiles(192, { ...two, multicast: 2 }),
      ...tiles(128, { ...two, multicast: 2 }),
    ],
  ],
];

/** Without those that cannot multiply the matrix. */
export function tilingsFor(m: number, size: MatrixSize, scheme: Scheme, multiprocessors: number): TileTiling[] {
  const found = choices.find(([most]) => m <= most)?.[1] ?? [];
  const complete = found.map((choice) => withStages({ ...plain, once: m <= choice.tokens, ...choice }, scheme));
  const { tiling: planned } = planTile(m, size, scheme, multiprocessors).chosen;
  const others = complete.filter((tiling) => tilingText(tiling) !== tilingText(planned));
  return [planned, ...others].filter(
    (tiling) => tilingRefusal(size, tiling) === null && sharedBytes(tiling, scheme) <= SHARED_BYTES,
  );
}

/** '2 x 64 x 256, 3 stages of 128, tokens shared by 2, groups of 16' */
export function tilingText({ warpgroups, tokens, stages, stageK, split, multicast, group, once }: TileTiling): string {
  const cluster = split > 1 ? `, k split by ${split}` : multicast > 1 ? `, tokens shared by ${multicast}` : '';
  return `${warpgroups} x 64 x ${tokens}, ${stages} stages of ${stageK}${cluster}, groups of ${group}${once ? ', weights read once' : ''}`;
}
