// Programs for boxes of matrices, in and out, with every swizzle, policy and multicast, and with boxes that are partly outside of the matrix.
import { type Layout, rows, swizzled } from '../../ptx/layout.ts';
import { kernel, tensor } from '../../ptx/kernel.ts';
import { elemBytes, type Swizzle } from '../../ptx/program.ts';
import { type Int, u32 } from '../../ptx/values.ts';
import { makeBarriers } from './copies.fixture.ts';
import { define, type InstructionProgram, untouched, words } from './define.fixture.ts';
import { evictions } from './every-op.fixture.ts';
import { swizzles } from './shapes.fixture.ts';

const THREADS = 64;
const BOX_ROWS = 32;
type Elem = 'f16' | 'f32' | 'u8';

/** As many columns as the swizzle spans; 64 bytes without one. */
const widthOf = (elem: Elem, swizzle: Swizzle): number => (swizzle === 0 ? 64 : swizzle) / elemBytes[elem];

/** Where the copy engine puts element (row, column) of a box, in elements (PTX ISA 5.5.5; ptx/layout.ts has the formula). */
function placeOf(elem: Elem, swizzle: Swizzle): Layout {
  const shape = [BOX_ROWS, widthOf(elem, swizzle)] as const;
  return swizzle === 0 ? rows(elem, shape) : swizzled(elem, shape, swizzle);
}

interface HostMatrix {
  readonly bytes: Uint8Array;
  readonly rows: number;
  readonly columns: number;
}

/** Calls `visit` with the byte in a box and the byte in the matrix of each element of the box that is inside. */
function eachInside(
  elem: Elem,
  swizzle: Swizzle,
  { rows, columns }: Omit<HostMatrix, 'bytes'>,
  [row, column]: readonly [number, number],
  visit: (inBox: number, inMatrix: number) => void,
): void {
  const [size, layout] = [elemBytes[elem], placeOf(elem, swizzle)];
  for (let r = Math.max(0, -row); r < BOX_ROWS && row + r < rows; r++)
    for (let c = Math.max(0, -column); c < layout.columns && column + c < columns; c++)
      for (let byte = 0; byte < size; byte++)
        visit(layout.index(r, c) * size + byte, ((row + r) * columns + column + c) * size + byte);
}

function boxLoads(elem: Elem, swizzle: Swizzle, multicast: boolean): InstructionProgram {
  const width = widthOf(elem, swizzle);
  const [boxWords, ctas] = [(BOX_ROWS * width * elemBytes[elem]) / 4, multicast ? 2 : 1];
  const chunk = 16 / elemBytes[elem];
  const size = { rows: 50, columns: 2 * width + 16 };
  // Copies begin at a multiple of 16 bytes of a row. Inside, over the lower right corner, over the upper left one, and wholly outside.
  const places = [
    [7, 16],
    [size.rows - 5, size.columns - chunk],
    [-3, -chunk],
    [-BOX_ROWS, 2 * chunk],
  ] as const;
  return define({
    program: kernel(
      {
        name: `box_loads_${elem}_${swizzle}${multicast ? '_multicast' : ''}`,
        threads: THREADS,
        cluster: ctas,
        target: multicast ? 'sm_90a' : 'sm_90',
        params: { x: tensor(elem, [BOX_ROWS, width], swizzle), out: 'b32*' },
      },
      (k, { x, out }) => {
        const room = k.shared(rows(elem, [BOX_ROWS, width]), places.length);
        const barriers = makeBarriers(k, places.length, multicast);
        const rank = multicast ? k.clusterRank : u32(0);
        k.if(k.thread.eq(0), () => {
          for (const [i, place] of places.entries()) {
            const at: readonly [Int, Int] = [u32(place[0]), u32(place[1])];
            k.mbarrierArriveExpectTx(barriers.at(i), 4 * boxWords);
            const options = evictions[i] === undefined ? {} : { evict: evictions[i] };
            const load = (mask: object): void =>
              k.cpAsyncBulkTensor(room.at(i * BOX_ROWS * width), x, at, barriers.at(i), { ...options, ...mask });
            // Each CTA of the cluster copies every other box, for both.
            if (multicast) k.if(k.clusterRank.eq(i % 2), () => load({ multicast: 0b11 }));
            else load({});
          }
        });
        for (let i = 0; i < places.length; i++) {
          k.mbarrierWait(barriers.at(i), 0);
          k.loop(k.thread, boxWords, THREADS, (word) => {
            const at = word.add(i * boxWords);
            const from = room.at(at.mul(4 / elemBytes[elem]));
            k.stGlobal(out.at(at.add(rank.mul(places.length * boxWords))), [k.ldShared(from, 1)[0]!]);
          });
        }
        if (multicast) k.clusterSync();
      },
    ),
    grid: [ctas],
    outputs: ['out'],
    draw: (random) => {
      const data = words(random, (size.rows * size.columns * elemBytes[elem]) / 4);
      const [from, box] = [new Uint8Array(data.buffer), new Uint8Array(4 * boxWords * places.length)];
      for (const [i, place] of places.entries())
        eachInside(elem, swizzle, size, place, (inBox, inMatrix) => {
          box[i * 4 * boxWords + inBox] = from[inMatrix]!;
        });
      const once = [...new Uint32Array(box.buffer)];
      const expected = Uint32Array.from(multicast ? [...once, ...once] : once);
      return { args: { x: { data, ...size }, out: untouched(expected.length) }, expected: { out: expected } };
    },
  });
}

function boxStores(elem: Elem, swizzle: Swizzle): InstructionProgram {
  const width = widthOf(elem, swizzle);
  const boxWords = (BOX_ROWS * width * elemBytes[elem]) / 4;
  const chunk = 16 / elemBytes[elem];
  const size = { rows: 50, columns: 2 * width - chunk };
  // The first inside (none may begin before the matrix), the second, which does not meet it, over the lower right corner.
  const places = [
    [1, 0],
    [BOX_ROWS + 1, width - chunk],
  ] as const;
  return define({
    program: kernel(
      {
        name: `box_stores_${elem}_${swizzle}`,
        threads: THREADS,
        target: 'sm_90',
        params: { x: 'b32*', y: tensor(elem, [BOX_ROWS, width], swizzle) },
      },
      (k, { x, y }) => {
        const room = k.shared(rows(elem, [BOX_ROWS, width]), places.length);
        k.loop(k.thread, boxWords * places.length, THREADS, (word) =>
          k.stShared(room.at(word.mul(4 / elemBytes[elem])), [k.ldGlobal(x.at(word), 1)[0]!]),
        );
        k.fenceProxyAsync();
        k.barSync();
        k.if(k.thread.eq(0), () => {
          for (const [i, place] of places.entries()) {
            k.cpAsyncBulkTensorStore(y, [u32(place[0]), u32(place[1])], room.at(i * BOX_ROWS * width));
            k.cpAsyncBulkCommit();
          }
          k.cpAsyncBulkWait(0);
        });
      },
    ),
    outputs: ['y'],
    draw: (random) => {
      const x = words(random, boxWords * places.length);
      const data = untouched((size.rows * size.columns * elemBytes[elem]) / 4);
      const [from, expected] = [new Uint8Array(x.buffer), new Uint8Array(data.slice().buffer)];
      for (const [i, place] of places.entries())
        eachInside(elem, swizzle, size, place, (inBox, inMatrix) => {
          expected[inMatrix] = from[i * 4 * boxWords + inBox]!;
        });
      return { args: { x, y: { data, ...size } }, expected: { y: expected } };
    },
  });
}

export const boxPrograms: readonly InstructionProgram[] = [
  ...swizzles.flatMap((swizzle) => [
    boxLoads('f16', swizzle, false),
    boxLoads('f16', swizzle, true),
    boxStores('f16', swizzle),
  ]),
  ...(['f32', 'u8'] as const).flatMap((elem) => [boxLoads(elem, 128, false), boxStores(elem, 128)]),
];
