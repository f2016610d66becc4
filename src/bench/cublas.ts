// cuBLAS by FFI, the dense product to measure against. Works on the memory and the stream of an NVIDIA device, so that graphs capture it.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import koffi from 'koffi';
import { errors } from '../base/errors.ts';
import { allocate } from '../cuda/memory.ts';
import type { DeviceBuffer } from '../device/device.ts';
import type { NvidiaDevice } from '../device/nvidia.ts';

// cublas_api.h and library_types.h.
const CUBLAS_OP_N = 0;
const CUBLAS_OP_T = 1;
const CUDA_R_16F = 2;
const CUBLAS_COMPUTE_32F = 68;
const CUBLAS_GEMM_DEFAULT = -1;

/** What NVIDIA recommends for Hopper; smaller ones keep cuBLAS from splitting K. */
const WORKSPACE_BYTES = 32 * 2 ** 20;
const NAMES = ['libcublas.so.13', 'libcublas.so.12'];

/** C [m, n] = A [m, k] * B [n, k]^T, all f16 by rows. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly A: DeviceBuffer;
  readonly B: DeviceBuffer;
  readonly C: DeviceBuffer;
}

export interface Cublas extends Disposable {
  readonly path: string;
  /** As cublasGetVersion says it: 130002 for 13.0.2. */
  readonly version: number;
  /**
   * Enqueues a product with f32 sums on the stream of the device. Run it once before a graph captures it: kernels are loaded at their first use.
   * Errors: 'range-outside', 'buffer-foreign', 'disposed', 'cublas-failed'.
   */
  product(product: Product): void;
}

type Handle = bigint;

/** The functions used, with the prototypes of cublas_api.h; all but the last answer with a cublasStatus_t. */
interface Functions {
  readonly cublasCreate: (handle: BigUint64Array) => number;
  readonly cublasDestroy: (handle: Handle) => number;
  readonly cublasGetVersion: (handle: Handle, version: Int32Array) => number;
  readonly cublasSetStream: (handle: Handle, stream: bigint) => number;
  readonly cublasSetWorkspace: (handle: Handle, workspace: bigint, bytes: number) => number;
  readonly cublasGemmEx: (
    ...parameters: [
      handle: Handle,
      transA: number,
      transB: number,
      m: number,
      n: number,
      k: number,
      alpha: Float32Array,
      A: bigint,
      typeA: number,
      lda: number,
      B: bigint,
      typeB: number,
      ldb: number,
      beta: Float32Array,
      C: bigint,
      typeC: number,
      ldc: number,
      computeType: number,
      algorithm: number,
    ]
  ) => number;
  readonly cublasGetStatusName: (status: number) => string;
}

/**
 * Opens cuBLAS for a device; `paths` are tried in order. Dispose of it before the device.
 * Errors: 'cublas-missing', 'cublas-failed', 'gpu-memory-exceeded'.
 */
export function openCublas(device: NvidiaDevice, paths: readonly string[] = candidates()): Cublas {
  const { path, functions } = load(paths);
  const { context, stream } = device;
  const check = (call: string, status: number): void => {
    if (status !== 0) throw errors.cublasFailed(call, `${functions.cublasGetStatusName(status)} (${status})`);
  };
  const [out, version] = [new BigUint64Array(1), new Int32Array(1)];
  // cuBLAS works in the context that is current on the thread.
  context.enter();
  check('cublasCreate', functions.cublasCreate(out));
  const handle = out[0]!;
  check('cublasGetVersion', functions.cublasGetVersion(handle, version));
  const workspace = allocate(context, WORKSPACE_BYTES, 'workspace of cuBLAS');
  // In this order: to set the stream takes the workspace away.
  check('cublasSetStream', functions.cublasSetStream(handle, stream.handle));
  check('cublasSetWorkspace', functions.cublasSetWorkspace(handle, workspace.pointer, WORKSPACE_BYTES));
  const [one, zero] = [Float32Array.of(1), Float32Array.of(0)];

  return {
    path,
    version: version[0]!,
    product({ m, n, k, A, B, C }) {
      const [a, b, c] = [
        device.memoryOf(A, 'A').slice(0, 2 * m * k),
        device.memoryOf(B, 'B').slice(0, 2 * n * k),
        device.memoryOf(C, 'C').slice(0, 2 * m * n),
      ];
      context.enter();
      // Rows here are columns there: C^T [n, m] = B A^T, where B [n, k] by rows is [k, n] by columns, to be transposed.
      const status = functions.cublasGemmEx(
        handle,
        CUBLAS_OP_T,
        CUBLAS_OP_N,
        n,
        m,
        k,
        one,
        b.pointer,
        CUDA_R_16F,
        k,
        a.pointer,
        CUDA_R_16F,
        k,
        zero,
        c.pointer,
        CUDA_R_16F,
        n,
        CUBLAS_COMPUTE_32F,
        CUBLAS_GEMM_DEFAULT,
      );
      check('cublasGemmEx', status);
      stream.enqueued({ description: `a product of cuBLAS (${m} x ${n} x ${k})` }, [a, b, c, workspace]);
    },
    [Symbol.dispose]() {
      if (context.alive) check('cublasDestroy', functions.cublasDestroy(handle));
      workspace[Symbol.dispose]();
    },
  };
}

/** Where cuBLAS may be: on the path of the loader, in the toolkit, in a Python that has it (PyTorch brings it along). */
export function candidates(): string[] {
  const python = spawnSync('python3', ['-c', 'import sys; print("\\n".join(sys.path))'], { encoding: 'utf8' });
  const packages = python.status === 0 ? python.stdout.split('\n').filter((path) => path !== '') : [];
  const folders = [
    '/usr/local/cuda/lib64',
    ...packages.flatMap((path) => ['cu13', 'cublas'].map((part) => join(path, 'nvidia', part, 'lib'))),
  ];
  const files = folders.flatMap((folder) => NAMES.map((name) => join(folder, name)));
  return [...NAMES, ...files.filter((file) => existsSync(file))];
}

function load(paths: readonly string[]): { readonly path: string; readonly functions: Functions } {
  const tried: string[] = [];
  for (const path of paths) {
    try {
      // The library that it needs lies beside it, where the loader may not look.
      const companion = join(dirname(path), basename(path).replace('cublas', 'cublasLt'));
      if (path.includes('/') && existsSync(companion)) koffi.load(companion);
      return { path, functions: bind(koffi.load(path)) };
    } catch (error) {
      tried.push(`${path} (${error instanceof Error ? error.message : String(error)})`);
    }
  }
  throw errors.cublasMissing(tried);
}

function bind(library: ReturnType<typeof koffi.load>): Functions {
  const [matrix, pointer] = [['void *', 'int', 'int'], 'void *'] as const;
  const gemm = [
    pointer,
    ...Array<string>(5).fill('int'),
    pointer,
    ...matrix,
    ...matrix,
    pointer,
    ...matrix,
    'int',
    'int',
  ];
  return {
    cublasCreate: library.func('cublasCreate_v2', 'int', [pointer]),
    cublasDestroy: library.func('cublasDestroy_v2', 'int', [pointer]),
    cublasGetVersion: library.func('cublasGetVersion_v2', 'int', [pointer, pointer]),
    cublasSetStream: library.func('cublasSetStream_v2', 'int', [pointer, pointer]),
    cublasSetWorkspace: library.func('cublasSetWorkspace_v2', 'int', [pointer, pointer, 'size_t']),
    cublasGemmEx: library.func('cublasGemmEx', 'int', gemm),
    cublasGetStatusName: library.func('cublasGetStatusName', 'str', ['int']),
  };
}
