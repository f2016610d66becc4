// Every lane instruction on the GPU and on the simulator, over random and edge operands: equal bits, or within the stated error.
import type { Device } from '../../src/device/device.ts';
import { Random } from '../../src/base/random.ts';
import { f32 } from '../../src/ptx/arithmetic.ts';
import { laneInputs, laneOps, laneProgram, tolerances } from '../../src/sim/lane-programs.fixture.ts';
import { simulate } from '../../src/sim/simulate.ts';
import { runOnDevice } from './run-program.ts';

export interface Comparison {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

const COUNT = 1 << 14;
const hex = (bits: number): string => `0x${bits.toString(16).padStart(8, '0')}`;

export function compareLaneInstructions(device: Device): Comparison[] {
  return laneOps.map((op, index) => {
    const random = new Random(1000 + index);
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => laneInputs(op.src[i] ?? 'b32', COUNT, random));
    const inputs = { a: a!, b: b!, c: c!, d: d! };
    const [simulated, real] = [new Uint32Array(COUNT), new Uint32Array(COUNT)];
    const program = laneProgram(op, 'lane');
    simulate(program, { grid: [COUNT / 256], args: { ...inputs, out: simulated } });
    runOnDevice(device, program, [COUNT / 256], { ...inputs, out: real });
    const tolerance = tolerances.get(op);
    const isFloat = op.dst[0] === 'f32';
    let different = 0;
    let first = '';
    for (let i = 0; i < COUNT; i++) {
      const [want, got] = [simulated[i]!, real[i]!];
      if (want === got) continue;
      if (isFloat && Number.isNaN(f32(want)) && Number.isNaN(f32(got))) continue;
      if (
        tolerance !== undefined &&
        Math.abs(f32(want) - f32(got)) <=
          Math.max(tolerance * Math.max(Math.abs(f32(want)), op.name.startsWith('lg2') ? 1 : 0), 2 ** -149)
      )
        continue;
      different++;
      if (first === '')
        first = `; operands ${[a, b, c, d]
          .slice(0, op.src.length)
          .map((x) => hex(x![i]!))
          .join(' ')}: GPU ${hex(got)}, simulator ${hex(want)}`;
    }
    const bound = tolerance === undefined ? 'bits' : `within ${tolerance.toExponential(1)}`;
    return { name: op.name, ok: different === 0, detail: `${COUNT} operands, ${different} differ (${bound})${first}` };
  });
}
