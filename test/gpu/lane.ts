// Every lane instruction on the GPU and on the simulator, over random and edge operands: equal bits, or within the stated error.
import { Random } from '../../src/base/random.ts';
import { f32 } from '../../src/ptx/arithmetic.ts';
import { inputKinds, laneArgs, laneOps, laneProgram, tolerances } from '../../src/sim/lane-programs.fixture.ts';
import { simulate } from '../../src/sim/simulate.ts';
import { runOnDevice } from './run-program.ts';
import type { Trial } from './trial.ts';

const COUNT = 1 << 14;
const hex = (bits: number): string => `0x${bits.toString(16).padStart(8, '0')}`;

export const laneTrials: readonly Trial[] = laneOps.map((op, index) => ({
  name: op.name,
  run: (device) => {
    const inputs = laneArgs(op, COUNT, new Random(1000 + index));
    const [simulated, real, simulatedHigh, realHigh] = Array.from({ length: 4 }, () => new Uint32Array(COUNT));
    const program = laneProgram(op, 'lane');
    simulate(program, { grid: [COUNT / 256], args: { ...inputs, out: simulated!, high: simulatedHigh! } });
    runOnDevice(device, program, [COUNT / 256], { ...inputs, out: real!, high: realHigh! });
    const tolerance = tolerances.get(op);
    const isFloat = op.dst[0] === 'f32';
    let different = 0;
    let first = '';
    for (let i = 0; i < COUNT; i++) {
      const [want, got] = [simulated![i]!, real![i]!];
      const sameHigh = simulatedHigh![i] === realHigh![i];
      if (want === got && sameHigh) continue;
      if (isFloat && Number.isNaN(f32(want)) && Number.isNaN(f32(got))) continue;
      if (
        tolerance !== undefined &&
        Math.abs(f32(want) - f32(got)) <=
          Math.max(tolerance * Math.max(Math.abs(f32(want)), op.name.startsWith('lg2') ? 1 : 0), 2 ** -149)
      )
        continue;
      different++;
      if (first === '')
        first = `; operands ${[inputs.a, inputs.b, inputs.c, inputs.d]
          .slice(0, inputKinds(op).length)
          .map((x) => hex(x[i]!))
          .join(
            ' ',
          )}: GPU ${hex(got)}, simulator ${hex(want)}${sameHigh ? '' : `, upper words ${hex(realHigh![i]!)} and ${hex(simulatedHigh![i]!)}`}`;
    }
    const bound = tolerance === undefined ? 'bits' : `within ${tolerance.toExponential(1)}`;
    return { ok: different === 0, detail: `${COUNT} operands, ${different} differ (${bound})${first}` };
  },
}));
