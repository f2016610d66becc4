// Boxes of matrices by bulk copies: every swizzle against the layouts' own formula, zeros outside, multicast, the way back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kernel, tensor } from '../../ptx/kernel.ts';
import { rows, swizzled } from '../../ptx/layout.ts';
import { u32 } from '../../ptx/values.ts';
import { simulate } from '../simulate.ts';
import { finds, right } from './planted.fixture.ts';

const file = import.meta.filename;
const HEIGHT = 16;

/** The element of a 20 x 72 matrix whose value says where it stands; 0 outside. */
const elementAt = (row: number, column: number): number =>
  row >= 0 && row < 20 && column >= 0 && column < 72 ? 72 * row + column + 1 : 0;
const matrix = { data: Float16Array.from({ length: 20 * 72 }, (_, i) => i + 1), rows: 20, columns: 72 };

for (const span of [128, 64, 32, 0] as const) {
  const width = span === 0 ? 24 : span / 2;
  const layout = span === 0 ? rows('f16', [HEIGHT, width]) : swizzled('f16', [HEIGHT, width], span);
  const type = tensor('f16', [HEIGHT, width], span);
  /** The box from (row, column) on as it lies in shared memory, element by element. */
  const load = kernel(
    { name: 'load', threads: 64, target: 'sm_90', params: { x: type, y: 'f16*', row: 'u32', column: 'u32' } },
    (k, { x, y, row, column }) => {
      const [tile, full] = [k.shared(layout), k.mbarriers(1)];
      k.if(k.thread.eq(0), () => {
        k.mbarrierInit(full, 1);
        k.fenceMBarrierInit();
        k.mbarrierArriveExpectTx(full, HEIGHT * width * 2);
        k.cpAsyncBulkTensor(tile, x, [row, column], full);
      });
      k.barSync();
      k.mbarrierWait(full, 0);
      k.loop(k.thread, (HEIGHT * width) / 2, 64, (word) =>
        k.stGlobal(y.at(word.mul(2)), [k.ldShared(tile.at(word.mul(2)), 1)[0]!]),
      );
    },
  );
  for (const [row, column] of [
    [0, 0],
    [3, 8],
    [12, 56],
    [-5, -8],
  ] as const) {
    test(`swizzle ${span}: the box from (${row}, ${column}) on lies as the layout says`, () => {
      const y = new Float16Array(HEIGHT * width);
      const args = { x: matrix, y, row: row >>> 0, column: column >>> 0 };
      right(
        (seed) => simulate(load, { grid: [1], args, seed }),
        () => {
          for (let r = 0; r < HEIGHT; r++)
            for (let c = 0; c < width; c++)
              assert.equal(y[layout.index(r, c)], elementAt(row + r, column + c), `row ${r}, column ${c}`);
        },
      );
    });
  }

  test(`swizzle ${span}: a box comes back where it is stored, and nothing outside the matrix`, () => {
    const copy = kernel({ name: 'copy', threads: 32, target: 'sm_90', params: { x: type, y: type } }, (k, { x, y }) => {
      const [tile, full] = [k.shared(layout), k.mbarriers(1)];
      k.if(k.thread.eq(0), () => {
        k.mbarrierInit(full, 1);
        k.fenceMBarrierInit();
        k.mbarrierArriveExpectTx(full, HEIGHT * width * 2);
        k.cpAsyncBulkTensor(tile, x, [2, 0], full);
        k.mbarrierWait(full, 0);
        k.cpAsyncBulkTensorStore(y, [10, 56], tile);
        k.cpAsyncBulkCommit();
        k.cpAsyncBulkWait(0);
      });
    });
    const data = new Float16Array(20 * 72);
    const args = { x: matrix, y: { data, rows: 20, columns: 72 } };
    right(
      (seed) => simulate(copy, { grid: [1], args, seed }),
      () => {
        for (let r = 0; r < 20; r++) {
          for (let c = 0; c < 72; c++) {
            const inside = r >= 10 && c >= 56 && c < 56 + width;
            assert.equal(data[72 * r + c], inside ? elementAt(r - 8, c - 56) : 0);
          }
        }
      },
    );
  });
}

/** Each CTA of a cluster of two loads half of a tile for both. */
function multicast(expected: number) {
  const type = tensor('f16', [8, 64], 128);
  const layout = swizzled('f16', [16, 64]);
  const head = {
    name: 'multicast',
    threads: 64,
    cluster: 2,
    target: 'sm_90a',
    params: { x: type, y: 'b32*' },
  } as const;
  return kernel(head, (k, { x, y }) => {
    const [tile, full] = [k.shared(layout), k.mbarriers(1)];
    k.if(k.thread.eq(0), () => {
      k.mbarrierInit(full, 1);
      k.fenceMBarrierInit();
    });
    k.clusterSync();
    k.if(k.thread.eq(0), () => {
      k.mbarrierArriveExpectTx(full, expected);
      const half = k.clusterRank.mul(8);
      k.cpAsyncBulkTensor(tile.at(half.mul(64)), x, [half, 0], full, { multicast: 3 });
    });
    k.mbarrierWait(full, 0);
    const at = layout.at(k.thread.div(4), k.thread.mod(4).mul(2));
    const [word] = k.ldShared(tile.at(at), 1); // planted: the read
    k.stGlobal(y.at(k.cta.x.mul(64).add(k.thread)), [word!]);
    k.clusterSync();
  });
}

test('multicast brings every half to every CTA', () => {
  const y = new Float16Array(2 * 128);
  right(
    (seed) => simulate(multicast(2048), { grid: [2], args: { x: matrix, y }, seed }),
    () =>
      assert.deepEqual(
        [...y],
        Array.from({ length: 256 }, (_, i) => elementAt((i & 127) >> 3, i & 7)),
      ),
  );
});

test('multicast that expects only its own half', () => {
  const also = ['unwaited-copy', 'uninitialised', 'race'] as const;
  finds({ file, name: 'the read', kind: 'unwaited-copy', also }, (seed) =>
    simulate(multicast(1024), { grid: [2], args: { x: matrix, y: new Float16Array(256) }, seed }),
  );
});

test('a matrix whose rows are no multiple of 16 bytes is refused, as the driver does', () => {
  const odd = { data: new Float16Array(60), rows: 2, columns: 30 };
  assert.throws(() => simulate(multicast(1024), { grid: [2], args: { x: odd, y: new Float16Array(256) } }), RangeError);
});

test('a box that begins in the middle of 16 bytes of a row is misaligned', () => {
  const type = tensor('f16', [8, 32], 0);
  const program = kernel({ name: 'odd', threads: 32, target: 'sm_90', params: { x: type } }, (k, { x }) => {
    const [tile, full] = [k.shared(rows('f16', [8, 32])), k.mbarriers(1)];
    k.if(k.thread.eq(0), () => {
      k.mbarrierInit(full, 1);
      k.fenceMBarrierInit();
      k.cpAsyncBulkTensor(tile, x, [0, 3], full); // planted: an odd column
    });
  });
  finds({ file, name: 'an odd column', kind: 'misaligned' }, (seed) =>
    simulate(program, { grid: [1], args: { x: matrix }, seed }),
  );
});

test('a store that begins before the matrix', () => {
  const type = tensor('f16', [8, 32], 0);
  const program = kernel({ name: 'before', threads: 32, target: 'sm_90', params: { y: type } }, (k, { y }) => {
    const tile = k.shared(rows('f16', [8, 32]));
    k.loop(k.thread, 128, 32, (i) => k.stShared(tile.at(i.mul(2)), [i.asB32()]));
    k.fenceProxyAsync();
    k.syncWarp();
    k.if(k.thread.eq(0), () => {
      k.cpAsyncBulkTensorStore(y, [u32(-1), 0], tile); // planted: before the matrix
      k.cpAsyncBulkCommit();
      k.cpAsyncBulkWait(0);
    });
  });
  const y = { data: new Float16Array(64 * 32), rows: 64, columns: 32 };
  finds({ file, name: 'before the matrix', kind: 'out-of-bounds' }, (seed) =>
    simulate(program, { grid: [1], args: { y }, seed }),
  );
});
