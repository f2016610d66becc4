// A whole run of `marlin bench gemm`: every layer and number of tokens on a device, with what is around it (cuBLAS, the machine).
import { errors, MarlinError } from '../base/errors.ts';
import { median } from '../base/stats.ts';
import type { Device, DeviceBuffer } from '../device/device.ts';
import { NvidiaDevice } from '../device/nvidia.ts';
import type { WeightShape } from '../kernels/marlin/family.ts';
import { MarlinKernels } from '../kernels/marlin/op.ts';
import { type Cublas, openCublas } from './cublas.ts';
import { fillRepeated, normalBlock } from './data.ts';
import { Random } from '../base/random.ts';
import { type Baseline, type GemmOptions, measureLayer } from './gemm.ts';
import { machine } from './machine.ts';
import type { GemmResults, GemmRow } from './results.ts';

export interface RunOptions extends GemmOptions {
  /** Called before each row is measured, and at the end. */
  readonly report?: (done: number, total: number, label: string) => void;
  readonly remark?: (text: string) => void;
  /** Waits a moment between rows, and throws when the user has had enough. */
  readonly breathe?: () => Promise<void>;
}

/** Errors: those of the device; 'internal' without a layer. */
export async function runGemm(
  device: Device,
  layers: readonly WeightShape[],
  tokens: readonly number[],
  options: RunOptions = {},
): Promise<GemmResults> {
  const { report = () => {}, remark = () => {}, breathe = () => Promise.resolve() } = options;
  using owned = new DisposableStack();
  const cublas = device instanceof NvidiaDevice ? openOrSay(device, remark) : null;
  if (cublas !== null) owned.use(cublas);
  const baseline = cublas === null ? null : baselineOf(device, cublas);
  const kernels = owned.use(new MarlinKernels(device));
  const rows: GemmRow[] = [];
  const total = layers.length * tokens.length;
  for (const weights of layers) {
    report(rows.length, total, `${weights.k} x ${weights.n}`);
    for (const row of measureLayer(kernels, weights, tokens, baseline, options)) {
      rows.push(row);
      report(rows.length, total, `${row.k} x ${row.n}, ${row.m} tokens`);
      await breathe();
    }
  }
  if (rows.length === 0) throw errors.internal('a benchmark of nothing');
  return {
    what: 'gemm',
    date: new Date().toISOString(),
    machine: device instanceof NvidiaDevice ? { ...machine(device) } : null,
    fp16:
      cublas === null || baseline === null
        ? null
        : { name: 'cuBLAS', version: cublas.version, teraflops: baseline.teraflops },
    rows,
  };
}

/** Without cuBLAS the rest is still worth measuring. */
function openOrSay(device: NvidiaDevice, remark: (text: string) => void): Cublas | null {
  try {
    return openCublas(device);
  } catch (error) {
    if (!(error instanceof MarlinError)) throw error;
    remark(`${error.message} ${error.fix}`);
    return null;
  }
}

const SQUARE = 8192;
const SQUARE_LAUNCHES = 20;
const SQUARE_SAMPLES = 5;

function baselineOf(device: Device, cublas: Cublas): Baseline {
  return {
    bind: (m, { n, k }, x, w, y) => ({ launch: () => cublas.product({ m, n, k, A: x, B: w, C: y }) }),
    teraflops: squareTeraflops(device, cublas),
  };
}

/** The rate of fp16: of a square product that is large enough to reach it. */
function squareTeraflops(device: Device, cublas: Cublas): number {
  using owned = new DisposableStack();
  const values = normalBlock(new Random(1), 'f16');
  const [A, B, C] = ['A', 'B', 'C'].map((label): DeviceBuffer => {
    const buffer = owned.use(device.allocate(2 * SQUARE ** 2, label));
    fillRepeated(device, buffer, values);
    return buffer;
  });
  const product = { m: SQUARE, n: SQUARE, k: SQUARE, A: A!, B: B!, C: C! };
  cublas.product(product);
  const once = (): number =>
    device.time(() => {
      for (let i = 0; i < SQUARE_LAUNCHES; i++) cublas.product(product);
    });
  once();
  const microseconds = median(Array.from({ length: SQUARE_SAMPLES }, once)) / SQUARE_LAUNCHES;
  return (2 * SQUARE ** 3) / microseconds / 1e6;
}
