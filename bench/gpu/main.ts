// ./run bench [--json FILE] in a GPU bundle, or node bench/gpu/main.ts: the cost of a launch, and the dense product against cuBLAS. Exit code 1 when
// a result is wrong.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { MarlinError } from '../../src/base/errors.ts';
import { table } from '../../src/cli/table.ts';
import { openNvidia } from '../../src/device/nvidia.ts';
import type { Shape } from '../../src/kernels/dense16/kernel.ts';
import { type Cublas, openCublas } from '../baselines/cublas.ts';
import { launchCosts } from './launch-cost.ts';
import { machine } from './machine.ts';
import { measureProduct, type ProductResult } from './product.ts';
import { type Contender, variants, type Weights } from './variants.ts';

/** Cubes, and the widest matrix of a 70B model in prefill. */
const SHAPES: readonly Shape[] = [
  { m: 1024, n: 1024, k: 1024 },
  { m: 4096, n: 4096, k: 4096 },
  { m: 8192, n: 8192, k: 8192 },
  { m: 2048, n: 28_672, k: 8192 },
];

const { values: flags } = parseArgs({ options: { json: { type: 'string' } } });
using device = await openNvidia();
const costs = launchCosts(device);
console.log(`${device.name}\n\nan empty kernel, us`);
console.log(
  table(
    ['launched from Node', 'bound before', 'in a graph', 'in a graph, overlapping'],
    [[costs.launch, costs.bound, costs.inGraph, costs.inGraphOverlapping].map((us) => us?.toFixed(2) ?? '-')],
  ),
);

using cublas = openCublasOrSay();
const kinds: readonly Weights[] = [...new Set(variants.map(({ weights }) => weights))];
const products = SHAPES.flatMap((shape) => kinds.flatMap((weights) => productsOf(shape, weights)));
const { state, ...facts } = machine(device);
console.log('C = A B^T in f16 with f32 sums, random data, buffers that rotate past the L2 cache, medians');
console.log(
  table(
    ['M x N x K', 'A', 'by', 'us', 'TFLOP/s', 'x cuBLAS', 'relative error'],
    products.map(({ shape, weights, name, microseconds, teraflops, speedup, error, ok }) => [
      `${shape.m} x ${shape.n} x ${shape.k}`,
      weights,
      name,
      microseconds.toFixed(1),
      teraflops.toFixed(1),
      cublas === null || speedup === null ? '-' : speedup.toFixed(3),
      `${error.toExponential(1)}${ok ? '' : ' WRONG'}`,
    ]),
  ),
);
if (flags.json !== undefined) {
  const baseline = cublas === null ? null : { path: cublas.path, version: cublas.version };
  const result = { machine: facts, stateAfterwards: state, cublas: baseline, launchMicroseconds: costs, products };
  writeFileSync(flags.json, `${JSON.stringify(result, null, 2)}\n`);
}
process.exitCode = products.every(({ ok }) => ok) ? 0 : 1;

/** Without cuBLAS the rest is still worth measuring. */
function openCublasOrSay(): Cublas | null {
  try {
    return openCublas(device);
  } catch (error) {
    if (!(error instanceof MarlinError)) throw error;
    console.log(`${error.message}\n  ${error.fix}\n`);
    return null;
  }
}

function productsOf(shape: Shape, weights: Weights): ProductResult[] {
  using owned = new DisposableStack();
  const chosen = variants.filter((variant) => variant.weights === weights);
  const ours = chosen.map((variant) => variant.load(device, shape)).filter((contender) => contender !== null);
  for (const contender of ours) owned.use(contender);
  const contenders = cublas === null ? ours : [baseline(cublas), ...ours];
  return measureProduct(device, shape, weights, contenders);
}

function baseline(library: Cublas): Contender {
  return {
    name: 'cuBLAS',
    bind: ({ shape, A, B, C }) => ({ launch: () => library.product({ ...shape, A, B, C }) }),
    [Symbol.dispose]() {},
  };
}
