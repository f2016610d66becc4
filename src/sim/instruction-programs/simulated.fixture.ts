// What the simulator makes of a program of the table, in words; nothing where all is as it should be.
import { describe } from '../findings.ts';
import { simulateLaunch } from '../simulate.ts';
import { difference, type Drawn, type InstructionProgram, outputOf } from './define.fixture.ts';

/** Runs it over `drawn`, whose outputs it writes, in an order of warps that the seed decides. */
export function simulated(
  { program, grid, outputs, tolerance }: InstructionProgram,
  drawn: Drawn,
  seed: number,
): string[] {
  const { args, expected, scale } = drawn;
  const { findings } = simulateLaunch(program, grid, args, { seed });
  return [
    ...findings.map(describe),
    ...outputs.flatMap((name) => {
      const want = expected.get(name);
      if (want === undefined) return [];
      const { count, of, first } = difference(want, outputOf(args, name), tolerance, scale.get(name));
      return count === 0 ? [] : [`${count} of ${of} of ${name} differ: ${first}`];
    }),
  ];
}
