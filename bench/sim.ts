// npm run bench:sim: how many instructions of a warp the simulator runs a second on one core, with all checks on.
import { Random } from '../src/base/random.ts';
import { table } from '../src/cli/table.ts';
import { pipelinedSum, tileProduct, vectorAdd } from '../src/sim/programs.fixture.ts';
import { simulate, type Simulation } from '../src/sim/simulate.ts';
import { seconds } from './measure.ts';

const random = new Random(1);
const n = 1 << 17;
const [a, b, c] = [random.fillNormal(new Float32Array(n)), random.fillNormal(new Float32Array(n)), new Float32Array(n)];
const tile = { A: new Float16Array(1024).fill(1), B: new Float16Array(512).fill(1), C: new Float32Array(128) };
const pipeline = { x: random.fillNormal(new Float32Array(64 * 128)), y: new Float32Array(128) };

const programs: readonly (readonly [name: string, run: () => Simulation])[] = [
  ['vector add, 512 CTAs of 256', () => simulate(vectorAdd, { grid: [n / 256], args: { a, b, c, n } })],
  ['tile product (ldmatrix, mma.sync), 200 CTAs of 128', () => simulate(tileProduct(), { grid: [200], args: tile })],
  ['pipelined sum (cp.async), 50 CTAs of 128', () => simulate(pipelinedSum(64), { grid: [50], args: pipeline })],
];
const rows = programs.map(([name, run]) => {
  const { instructions } = run().counters;
  const time = seconds(() => void run(), 7, 0.2);
  return [name, instructions, (time * 1e3).toFixed(1), (instructions / time / 1e6).toFixed(2)];
});
console.log(table(['program', 'warp instructions', 'ms', 'million a second'], rows));
