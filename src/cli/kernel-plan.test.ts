// marlin kernel plan: for people and as JSON, and what it refuses.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { errorCodeOf, jsonOf, marlinHere } from './run-marlin.fixture.ts';

const run = (...line: readonly string[]) => marlinHere(['kernel', 'plan', ...line]);
const shape = ['--m', '16', '--n', '4096', '--k', '4096'];
const candidate = z.object({ kernel: z.string(), grid: z.array(z.number()), cost: z.number().positive() });

test('one line, or with the reasons', async () => {
  const { code, stdout } = await run(...shape);
  assert.equal(code, 0);
  assert.match(stdout, /^\S+ \(.*\), \d+ CTAs, about \d+\.\d us by estimate\n$/);
  const why = await run(...shape, '--why');
  assert.ok(why.stdout.startsWith(stdout));
  assert.match(why.stdout, /\n\n(kernel +tiling +CTAs +us +why not\n|There is no other candidate)/);
});

test('as JSON: the choice and everything else with its reason', async () => {
  const schema = z.object({
    by: z.literal('estimate'),
    chosen: candidate,
    rejected: z.array(candidate.extend({ reason: z.string().min(5) })),
  });
  const few = schema.parse(jsonOf(await run(...shape, '--json')));
  const old = schema.parse(jsonOf(await run(...shape, '--arch', 'sm_80', '--multiprocessors', '8', '--json')));
  assert.ok(old.chosen.cost > few.chosen.cost);
});

test('what is no shape is refused', async () => {
  for (const [line, code] of [
    [['--m', '16', '--n', '4096', '--k', '4100'], 'product-shape-invalid'],
    [['--m', '0', '--n', '4096', '--k', '4096'], 'flag-invalid'],
    [['--m', '16', '--n', '4096'], 'command-invalid'],
    [[...shape, '--group', '48'], 'flag-invalid'],
    [[...shape, '--arch', 'sm_70'], 'flag-invalid'],
  ] as const)
    assert.equal(errorCodeOf(await run(...line, '--json')), code);
});
