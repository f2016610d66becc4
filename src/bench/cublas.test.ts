// The binding of cuBLAS, against a library in C with the prototypes of cublas_api.h that notes what it is given; the driver is the fake one.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import koffi from 'koffi';
import { openContext } from '../cuda/context.ts';
import { createFake } from '../cuda/fake.ts';
import { compileC, toolkit } from '../cuda/toolkit.fixture.ts';
import { NvidiaDevice } from '../device/nvidia.ts';
import { candidates, openCublas } from './cublas.ts';

const skip = toolkit.missing ?? false;
const folder = mkdtempSync(join(tmpdir(), 'marlin-cublas-'));
const library = join(folder, 'libcublas.so.12');
after(() => rmSync(folder, { recursive: true }));

const SOURCE = `
#include <string.h>
#include <stddef.h>
static long long seen[64]; static int count;
static void note(long long value) { if (count < 64) seen[count++] = value; }
void seen_so_far(long long *to) { memcpy(to, seen, sizeof seen); count = 0; memset(seen, 0, sizeof seen); }
int cublasCreate_v2(void **handle) { *handle = (void *)0xfedcba9876543210ull; return 0; }
int cublasDestroy_v2(void *handle) { note(1); note((long long)handle); return 0; }
int cublasGetVersion_v2(void *handle, int *version) { *version = 130002; return 0; }
int cublasSetStream_v2(void *handle, void *stream) { note(2); note((long long)stream); return 0; }
int cublasSetWorkspace_v2(void *handle, void *workspace, size_t bytes) { note(3); note((long long)workspace); note(bytes); return 0; }
int cublasGemmEx(void *handle, int transa, int transb, int m, int n, int k, const void *alpha, const void *A, int Atype, int lda,
  const void *B, int Btype, int ldb, const void *beta, void *C, int Ctype, int ldc, int compute, int algo) {
  long long given[] = {(long long)handle, transa, transb, m, n, k, *(const float *)alpha, (long long)A, Atype, lda,
    (long long)B, Btype, ldb, *(const float *)beta, (long long)C, Ctype, ldc, compute, algo};
  for (int i = 0; i < 19; i++) note(given[i]);
  return m == 7 ? 7 : 0;
}
const char *cublasGetStatusName(int status) { return status == 7 ? "CUBLAS_STATUS_INVALID_VALUE" : "?"; }
`;

before(() => {
  if (toolkit.missing === null) assert.equal(compileC(SOURCE, ['-shared', '-fPIC', '-o', library]), '');
});

/** What the library noted since it was last asked. */
function seen(): bigint[] {
  const to = new BigInt64Array(64);
  koffi.load(library).func('seen_so_far', 'void', ['void *'])(to);
  return [...to];
}

function open(): { readonly device: NvidiaDevice; readonly live: () => number } {
  const fake = createFake();
  return { device: new NvidiaDevice(openContext(fake.driver)), live: () => fake.live };
}

test('the product by rows is asked for as its transpose by columns, on the stream, with a workspace', { skip }, () => {
  const { device, live } = open();
  const [m, n, k] = [3, 5, 16];
  const [A, B, C] = [m * k, n * k, m * n].map((count, i) => device.allocate(2 * count, 'ABC'[i]!));
  assert.ok(A !== undefined && B !== undefined && C !== undefined);
  const pointer = (buffer: typeof A): bigint => device.memoryOf(buffer, 'x').pointer;
  const before = live();
  seen();
  {
    using cublas = openCublas(device, ['/nowhere/libcublas.so.13', library]);
    assert.deepEqual([cublas.version, cublas.path], [130_002, library]);
    const [two, stream, three, workspace, bytes] = seen();
    assert.deepEqual([two, stream, three, bytes], [2n, device.stream.handle, 3n, 2n ** 25n]);
    assert.equal(workspace! % 256n, 0n);
    cublas.product({ m, n, k, A, B, C });
    const handle = BigInt.asIntN(64, 0xfedcba9876543210n);
    const expected = [handle, 1, 0, n, m, k, 1, pointer(B), 2, k, pointer(A), 2, k, 0, pointer(C), 2, n, 68, -1];
    assert.deepEqual(seen().slice(0, 19), expected.map(BigInt));
  }
  assert.equal(seen()[0], 1n, 'the handle is destroyed');
  assert.equal(live(), before);
});

test('what is refused: a matrix larger than its buffer, a status that is no success', { skip }, () => {
  const { device } = open();
  using cublas = openCublas(device, [library]);
  const [A, B, C] = [64, 64, 128].map((bytes) => device.allocate(bytes, 'x'));
  assert.ok(A !== undefined && B !== undefined && C !== undefined);
  assert.throws(() => cublas.product({ m: 5, n: 4, k: 8, A, B, C }), { code: 'range-outside' });
  assert.throws(() => cublas.product({ m: 4, n: 7, k: 4, A, B, C }), {
    code: 'cublas-failed',
    message: /^cublasGemmEx failed: CUBLAS_STATUS_INVALID_VALUE \(7\)\.$/,
  });
});

test('a graph that captured a product holds its memory', { skip }, () => {
  const { device } = open();
  using cublas = openCublas(device, [library]);
  const [A, B, C] = [64, 64, 128].map((bytes) => device.allocate(bytes, 'x'));
  assert.ok(A !== undefined && B !== undefined && C !== undefined);
  using graph = device.graph(() => cublas.product({ m: 4, n: 4, k: 8, A, B, C }));
  graph.launch();
  A[Symbol.dispose]();
  assert.throws(() => graph.launch(), { code: 'disposed' });
});

test('without the library: what was tried, and what to do', () => {
  assert.throws(() => openCublas(open().device, ['libcublas-is-not-here.so']), {
    code: 'cublas-missing',
    message: /libcublas-is-not-here\.so/,
    fix: /PyTorch/,
  });
  assert.deepEqual(candidates().slice(0, 2), ['libcublas.so.13', 'libcublas.so.12']);
});
