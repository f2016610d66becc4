// The tests of a theme of the table: each program on the simulator over a few seeds.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { simulated } from './simulated.fixture.ts';
import { instructionThemes } from './table.fixture.ts';

const SEEDS = [1, 2, 3];

export function testTheme(theme: string): void {
  const programs = instructionThemes[theme];
  if (programs === undefined) throw new RangeError(`there is no theme ${theme}`);
  describe(`instructions: ${theme}`, () => {
    for (const entry of programs)
      test(entry.name, () => {
        for (const seed of SEEDS) assert.deepEqual(simulated(entry, entry.draw(seed), seed), [], `seed ${seed}`);
      });
  });
}
