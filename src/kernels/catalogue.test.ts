// The catalogue: names to type, examples that are right and without findings, checks that fail when the kernel is wrong, types that must agree.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { kernel } from '../ptx/kernel.ts';
import { describe as text } from '../sim/findings.ts';
import { architecturesOf } from './assemble.ts';
import { catalogue } from './catalogue.ts';
import { entry, example, simulateExample } from './entry.ts';
import { vectorAdd } from './vector-add/kernel.ts';

test('names and titles are for people to type and read', () => {
  const names = catalogue.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  for (const { name, title } of catalogue) {
    assert.match(name, /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/);
    assert.match(title, /^\S.{10,100}$/);
  }
});

for (const { name, examples, drawings } of catalogue) {
  describe(name, () => {
    const list = examples();

    test('has examples of different names, each for some architecture', () => {
      assert.ok(list.length > 0);
      assert.equal(new Set(list.map((one) => one.name)).size, list.length);
      for (const { program } of list) assert.ok(architecturesOf(program).length > 0);
    });

    test('draws pictures of different titles, in both forms', () => {
      const pictures = drawings();
      assert.equal(new Set(pictures.map(({ title }) => title)).size, pictures.length);
      for (const { title, text: lines, svg } of pictures) {
        assert.match(title, /^[A-Za-z].{5,60}$/);
        assert.ok(lines.length > 0 && !lines.includes(title), title);
        assert.ok(svg.startsWith('<svg') && svg.includes(title), title);
      }
    });

    for (const one of list) {
      test(`${one.name} is right, without findings`, () => {
        const { findings, error, bound } = simulateExample(one, 5);
        assert.deepEqual(findings.map(text), []);
        assert.ok(error <= bound, `error ${error}, at most ${bound}`);
      });

      test(`${one.name} notices a launch that did nothing`, () => {
        const { error, bound } = one.launch(5, () => null);
        assert.ok(!(error <= bound), `error ${error} is within ${bound}`);
      });

      test(`${one.name} draws its data from the seed`, () => {
        const data = (seed: number): string =>
          one.launch(seed, ({ args }) => JSON.stringify(Object.values(args).map((arg) => dataOf(arg)))).outcome;
        assert.equal(data(1), data(1));
        assert.notEqual(data(1), data(2));
      });
    }
  });
}

function dataOf(arg: unknown): unknown {
  if (typeof arg === 'object' && arg !== null && 'data' in arg) return dataOf(arg.data);
  return ArrayBuffer.isView(arg) ? Buffer.from(arg.buffer, arg.byteOffset, arg.byteLength).toString('base64') : arg;
}

test('program, arguments and check have to agree', () => {
  const grid = [1] as const;
  const check = (): { error: number; bound: number } => ({ error: 0, bound: 0 });
  const [a, b, c] = [new Float32Array(1), new Float32Array(1), new Float32Array(1)];
  // @ts-expect-error -- an argument is missing
  example({ name: 'x', program: vectorAdd, grid, args: () => ({ a, b, c }), check });
  // @ts-expect-error -- a pointer got a number
  example({ name: 'x', program: vectorAdd, grid, args: () => ({ a: 1, b, c, n: 1 }), check });
  example({
    name: 'x',
    program: vectorAdd,
    grid,
    args: () => ({ a, b, c, n: 1 }),
    // @ts-expect-error -- there is no argument d
    check: ({ d }) => ({ error: Number(d), bound: 0 }),
  });
});

test('accesses that kernels draw are free of bank conflicts', () => {
  const accesses = catalogue.flatMap(({ drawings }) => drawings()).filter(({ text: lines }) => lines.includes('turns'));
  assert.ok(accesses.length > 0);
  for (const { title, text: lines } of accesses) assert.ok(lines.includes('no conflicts'), title);
});

test('an entry has no drawings unless it says so', () => {
  const nothing = kernel({ name: 'nothing', threads: 32, params: {} }, () => {});
  const examples = (): ReturnType<(typeof catalogue)[number]['examples']> => [
    example({ name: 'x', program: nothing, grid: [1], args: () => ({}), check: () => ({ error: 0, bound: 0 }) }),
  ];
  assert.deepEqual(entry({ name: 'x', title: 'x', examples }).drawings(), []);
  const drawing = { title: 'a tile', text: '..', svg: '<svg/>' };
  assert.deepEqual(entry({ name: 'x', title: 'x', examples, drawings: () => [drawing] }).drawings(), [drawing]);
});
