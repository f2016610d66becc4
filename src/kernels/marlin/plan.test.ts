// What is chosen, by cost and by measurement, and what is said of the rest; over families made up for it, and over the real ones.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type DeviceFacts } from '../../device/device.ts';
import { SimulatedDevice } from '../../device/simulated.ts';
import type { Candidate, Family, Problem } from './family.ts';
import { planMarlin } from './plan.ts';
import { marlinSimple } from './simple.ts';
import { runnable } from './family.ts';

const h200 = new SimulatedDevice().facts;
const problem: Problem = { m: 16, n: 4096, k: 4096, scheme: { group: 128, zeroPoints: false }, type: 'f16' };

const candidate = (kernel: string, columns: number, cost: number): Candidate => ({
  kernel,
  tiling: { columns },
  grid: [1],
  cost,
  workspaceBytes: 0,
  build: (epilogue) => runnable(marlinSimple(problem, epilogue), ({ tokens, ...rest }) => ({ ...rest, m: tokens })),
});

function family(name: string, costs: readonly number[], limits: Partial<Family> = {}): Family {
  return {
    name,
    needs: 'sm_80',
    tokens: [1, 64],
    candidates: () => costs.map((cost, i) => candidate(name, 8 << i, cost)),
    ...limits,
  };
}

const plan = (families: readonly Family[], facts: Partial<DeviceFacts> = {}, of: Partial<Problem> = {}) =>
  planMarlin({ ...problem, ...of }, { ...h200, ...facts }, { families });

describe('made-up families', () => {
  test('the cheapest candidate is chosen; the others follow in order of cost, each with its ratio', () => {
    const { chosen, by, rejected } = plan([family('a', [9, 6]), family('b', [8, 12])]);
    assert.deepEqual([chosen.kernel, chosen.tiling, by], ['a', { columns: 16 }, 'estimate']);
    assert.deepEqual(
      rejected.map(({ kernel, cost, reason }) => [kernel, cost, reason]),
      [
        ['b', 8, '1.33 times the estimate of the chosen one'],
        ['a', 9, '1.50 times the estimate of the chosen one'],
        ['b', 12, '2.00 times the estimate of the chosen one'],
      ],
    );
  });

  test('families for other chips and other numbers of tokens are excluded, with the reason', () => {
    const hopper = family('hopper', [1], { needs: 'sm_90a' });
    const many = family('many', [1], { tokens: [17, 4096] });
    const few = family('few', [1], { tokens: [1, 8] });
    const all = family('all', [5]);
    for (const [arch, expected] of [
      ['sm_90a', []],
      ['sm_80', ['hopper: it needs sm_90a, and this is sm_80']],
      ['sm_120', ['hopper: it needs sm_90a, and this is sm_120']],
    ] as const) {
      const { chosen, excluded } = plan([hopper, many, few, all], { arch });
      assert.equal(chosen.kernel, arch === 'sm_90a' ? 'hopper' : 'all');
      assert.deepEqual(
        excluded.map((one) => `${one.family}: ${one.reason}`),
        [...expected, 'many: it is for 17 tokens and more, not for 16', 'few: it is for at most 8 tokens, not for 16'],
      );
    }
  });

  test('a family may refuse for a reason of its own', () => {
    const refusing = family('a', [1], { refusal: ({ n }) => (n % 3 === 0 ? null : 'n is no multiple of 3') });
    assert.deepEqual(plan([refusing, family('b', [2])]).excluded, [{ family: 'a', reason: 'n is no multiple of 3' }]);
    assert.equal(plan([refusing, family('b', [2])], {}, { n: 24 }).chosen.kernel, 'a');
  });

  test('what was measured wins over what is cheaper by estimate; a measurement of what is not there does not', () => {
    const families = [family('a', [6, 9])];
    const measured = (tiling: string) =>
      planMarlin(problem, h200, { families, measured: () => ({ kernel: 'a', tiling }) });
    const found = measured('columns 16');
    assert.deepEqual([found.chosen.cost, found.by], [9, 'measurement']);
    assert.match(found.rejected[0]!.reason, /^measured to be slower \(0\.67 times/);
    assert.deepEqual([measured('columns 99').chosen.cost, measured('columns 99').by], [6, 'estimate']);
  });

  test('no kernel at all, and shapes that are none, are errors', () => {
    assert.throws(() => plan([family('few', [1], { tokens: [1, 8] })]), {
      code: 'product-unsupported',
      message: /16 tokens.*few: it is for at most 8/,
    });
    for (const [wrong, why] of [
      [{ m: 0 }, /m is 0/],
      [{ n: 0 }, /n is 0/],
      [{ m: 1.5 }, /m is 1.5/],
      [{ k: Number.NaN }, /k is NaN/],
      [{ k: 4100 }, /no multiple of 8/],
    ] as const)
      assert.throws(() => plan([family('a', [1])], {}, wrong), { code: 'product-shape-invalid', message: why });
  });
});

test('the real families have a kernel for every chip, any number of tokens and odd sizes', () => {
  for (const arch of ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_120'] as const) {
    for (const m of [1, 7, 16, 17, 100, 4096, 100_000]) {
      const { chosen } = planMarlin({ ...problem, m, n: 4100, k: 4104 }, { ...h200, arch });
      assert.ok(chosen.cost > 0 && Number.isFinite(chosen.cost));
      assert.ok(chosen.grid.every((size) => Number.isInteger(size) && Number(size) > 0));
    }
  }
});
