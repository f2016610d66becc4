// Test support, used by tests only: an example is right on the simulator, and without findings.
import assert from 'node:assert/strict';
import { describe } from '../sim/findings.ts';
import { type Example, simulateExample } from './entry.ts';

/** The failure names the shape and the seed. */
export function checkExample(example: Example, seed: number): void {
  const { findings, error, bound } = simulateExample(example, seed);
  const what = `${example.program.name}, ${example.name}, seed ${seed}`;
  assert.deepEqual(findings.map(describe), [], what);
  assert.ok(error <= bound, `${what}: error ${error}, at most ${bound}`);
}

/** A seed that is new each time, for shapes drawn at random; failures print it. */
export function freshSeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}
