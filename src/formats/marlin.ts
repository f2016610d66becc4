// The tensors of the original dense Marlin form, read only: codes in the order in which a tensor core wants them. Must not know which modules there are.
import type { Checkpoint } from './checkpoint.ts';
import { type FormReader, groupSizeOf, type MatrixSize, mismatch, readScales, readWords } from './tensors.ts';

/** A tile is 16 inputs x 16 outputs; runs of codes are permuted that are four tiles side by side. */
const TILE = 16;
const RUN = 4 * TILE * TILE;
/** Outputs of a run, and how many scales are permuted together where there are groups. */
const RUN_ROWS = 64;
/** How many are where there is one scale a channel. */
const CHANNEL_RUN = 32;

/** Which code of a run, (tile, row of the tile, column of the tile) in that order, stands at each place. */
const PERMUTATION: Uint16Array = (() => {
  const places = new Uint16Array(RUN);
  const order = [0, 2, 4, 6, 1, 3, 5, 7];
  let at = 0;
  for (let lane = 0; lane < 32; lane++) {
    const first = 2 * (lane % 4);
    for (let tile = 0; tile < 4; tile++) {
      const eight = [0, 1].flatMap((block) =>
        [first, first + 1, first + 8, first + 9].map(
          (row) => TILE * row + Math.floor(lane / 4) + 8 * block + TILE * TILE * tile,
        ),
      );
      for (const i of order) places[at++] = eight[i]!;
    }
  }
  return places;
})();

/** Which scale of a run stands at each place. */
const GROUP_SCALES: readonly number[] = Array.from({ length: RUN_ROWS }, (_, at) => (at >>> 3) + 8 * (at & 7));
const CHANNEL_SCALES: readonly number[] = [0, 2, 4, 6].flatMap((first) =>
  [0, 1, 8, 9, 16, 17, 24, 25].map((offset) => first + offset),
);

export const marlin: FormReader = {
  parts: ['B', 's'],

  size(checkpoint: Checkpoint, module: string): MatrixSize {
    const info = checkpoint.info(`${module}.B`);
    const [tiles = 0, words = 0] = info.shape;
    const whole = info.shape.length === 2 && tiles > 0 && words > 0 && words % (2 * RUN_ROWS) === 0;
    if (!whole) throw mismatch(checkpoint, info, 'I32 [inputs / 16, 2 x outputs], outputs a multiple of 64');
    return { rows: words / 2, columns: TILE * tiles };
  },

  readGroups(checkpoint, module, { rows, columns }, config) {
    const group = groupSizeOf(module, columns, config);
    const groups = columns / group;
    const { scales: stored, scaleDtype } = readScales(checkpoint, `${module}.s`, ['F16'], [groups, rows]);
    const order = groups === 1 ? CHANNEL_SCALES : GROUP_SCALES;
    const run = groups === 1 ? CHANNEL_RUN : RUN_ROWS;
    const scales = new Uint16Array(stored.length);
    for (let g = 0; g < groups; g++) {
      for (let place = 0; place < rows; place++) {
        const row = place - (place % run) + order[place % run]!;
        scales[row * groups + g] = stored[g * rows + place]!;
      }
    }
    return { rows, columns, group, scales, scaleDtype, zeroPoints: null };
  },

  readCodes(checkpoint, module, { rows, columns }) {
    const stored = readWords(checkpoint, `${module}.B`, [columns / TILE, 2 * rows]);
    const words = columns / 8;
    const packed = new Uint32Array(rows * words);
    for (let place = 0; place < 8 * stored.length; place++) {
      const code = (stored[place >>> 3]! >>> (4 * (place & 7))) & 15;
      const inRun = PERMUTATION[place % RUN]!;
      const [tile, inTile] = [inRun >>> 8, inRun & 255];
      const inStrip = place % (TILE * rows); // a strip: 16 inputs of all outputs
      const row = TILE * (4 * Math.floor(inStrip / RUN) + tile) + (inTile & 15);
      const column = TILE * Math.floor(place / (TILE * rows)) + (inTile >>> 4);
      packed[row * words + (column >>> 3)]! |= code << (4 * (column & 7));
    }
    return packed;
  },
};
