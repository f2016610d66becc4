// ./run tile-sweep [--json FILE] [--only KxN,...] [--tokens M,...] in a GPU bundle, or node bench/gpu/tile-sweep.ts: the 4-bit product on wgmma with
// a list of tilings, against cuBLAS in f16. Exit code 1 when a result is wrong.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { table } from '../../src/cli/table.ts';
import { openNvidia } from '../../src/device/nvidia.ts';
import type { MatrixSize } from '../../src/kernels/marlin/layout.ts';
import { planTile } from '../../src/kernels/marlin/tile/plan.ts';
import { openCublas } from '../../src/bench/cublas.ts';
import { machine } from '../../src/bench/machine.ts';
import { tilingsFor, tilingText } from './tile-candidates.ts';
import { type Baseline, scheme, sweepTile, type TileResult } from './tile.ts';

/** K x N of the layers of an 8B and of a 70B model. */
const SHAPES = ['4096x6144', '4096x4096', '4096x28672', '14336x4096', '8192x8192', '8192x57344', '28672x8192'];
const TOKENS = [16, 32, 64, 128, 256, 1024, 4096];

const { values: flags } = parseArgs({
  options: { json: { type: 'string' }, only: { type: 'string' }, tokens: { type: 'string' } },
});
const sizes = (flags.only?.split(',') ?? SHAPES).map((shape): MatrixSize => {
  const [k, n] = shape.split('x').map(Number);
  return { k: k!, n: n! };
});
const tokens = flags.tokens?.split(',').map(Number) ?? TOKENS;

using device = await openNvidia();
using cublas = openCublas(device);
const baseline: Baseline = (m, { n, k }, A, B, C) => cublas.product({ m, n, k, A, B, C });
const { multiprocessors } = device.facts;
const results: TileResult[] = [];
for (const size of sizes) {
  const start = performance.now();
  const tilings = (m: number) => tilingsFor(m, size, scheme, multiprocessors);
  const of = sweepTile(device, { size, tokens, tilings, baseline });
  results.push(...of);
  console.log(`\n${size.k} x ${size.n} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  console.log(table(['M', 'tiling', 'us', 'TFLOP/s', 'x cuBLAS', 'relative error'], of.map(rowOf)));
  // Kept as it grows: a run that is cut short has its first shapes.
  if (flags.json !== undefined)
    writeFileSync(flags.json, `${JSON.stringify({ machine: machine(device), cublas: cublas.version, results })}\n`);
}
process.exitCode = results.every(({ ok }) => ok) ? 0 : 1;

function rowOf({ size, m, tiling, microseconds, teraflops, speedup, error, ok }: TileResult): string[] {
  const planned = JSON.stringify(planTile(m, size, scheme, multiprocessors).chosen.tiling) === JSON.stringify(tiling);
  return [
    String(m),
    tiling === null ? 'cuBLAS' : `${tilingText(tiling)}${planned ? ' (planned)' : ''}`,
    microseconds.toFixed(1),
    teraflops.toFixed(0),
    speedup?.toFixed(2) ?? '-',
    tiling === null ? '-' : `${error.toExponential(1)}${ok ? '' : ' WRONG'}`,
  ];
}
