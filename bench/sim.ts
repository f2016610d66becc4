// npm run bench:sim: how many instructions of a warp the simulator runs a second on one core, with all checks on, and how long a program takes to build.
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { Random } from '../src/base/random.ts';
import { table } from '../src/cli/table.ts';
import { kernel } from '../src/ptx/kernel.ts';
import { instructions } from '../src/ptx/program.ts';
import { boxPipeline } from '../src/sim/pipeline.fixture.ts';
import { pipelinedSum, tileProduct, vectorAdd } from '../src/sim/programs.fixture.ts';
import { simulate, type Simulation } from '../src/sim/simulate.ts';
import { seconds } from './measure.ts';

const random = new Random(1);
const n = 1 << 17;
const [a, b, c] = [random.fillNormal(new Float32Array(n)), random.fillNormal(new Float32Array(n)), new Float32Array(n)];
const tile = { A: new Float16Array(1024).fill(1), B: new Float16Array(512).fill(1), C: new Float32Array(128) };
const sums = { x: random.fillNormal(new Float32Array(64 * 128)), y: new Float32Array(128) };
const matrix = { data: Float16Array.from(random.fillNormal(new Float32Array(64 * 1024))), rows: 64, columns: 1024 };
const boxes = { A: matrix, B: matrix, C: new Float32Array(64 * 64) };

const [product, pipeline, boxed] = [tileProduct(), pipelinedSum(64), boxPipeline(16)];
const programs: readonly (readonly [name: string, run: () => Simulation])[] = [
  ['vector add, 512 CTAs of 256', () => simulate(vectorAdd, { grid: [n / 256], args: { a, b, c, n } })],
  ['tile product (ldmatrix, mma.sync), 200 CTAs of 128', () => simulate(product, { grid: [200], args: tile })],
  ['pipelined sum (cp.async), 50 CTAs of 128', () => simulate(pipeline, { grid: [50], args: sums })],
  ['product of boxes (mbarrier, wgmma), 1 CTA of 160', () => simulate(boxed, { grid: [1], args: boxes })],
];
const lines = programs.map(([name, run]) => {
  const { counters } = run();
  const time = seconds(() => void run(), 7, 0.2);
  const warpInstructions = counters.instructions;
  return {
    name,
    warpInstructions,
    milliseconds: time * 1e3,
    millionPerSecond: warpInstructions / time / 1e6,
    tensorMegaflops: counters.tensorOperations / time / 1e6,
  };
});
console.log(
  table(
    ['program', 'warp instructions', 'ms', 'million a second', 'tensor Mflop/s'],
    lines.map((line) => [
      line.name,
      line.warpInstructions,
      line.milliseconds.toFixed(1),
      line.millionPerSecond.toFixed(2),
      line.tensorMegaflops.toFixed(0),
    ]),
  ),
);

const INSTRUCTIONS = 10_000;
/** A chain of additions, each at the same line. */
const build = (): number => {
  const program = kernel({ name: 'long', threads: 32, params: { y: 'u32*' } }, (k, { y }) => {
    const sum = k.var(k.lane);
    for (let i = 0; i < INSTRUCTIONS / 2; i++) sum.set(sum.add(i));
    k.stGlobal(y.at(k.lane), [sum.asB32()]);
  });
  return [...instructions(program.body)].length;
};
const built = build();
const buildMilliseconds = seconds(() => void build(), 5, 0.2) * 1e3;
console.log(`A program of ${built} instructions is built in ${buildMilliseconds.toFixed(0)} ms`);

const { values: flags } = parseArgs({ options: { json: { type: 'string' } } });
if (flags.json !== undefined) {
  const machine = { cpu: cpus()[0]?.model.trim() ?? 'unknown', cores: availableParallelism(), node: process.version };
  const building = { instructions: built, milliseconds: buildMilliseconds };
  writeFileSync(flags.json, `${JSON.stringify({ machine, programs: lines, build: building }, null, 2)}\n`);
}
