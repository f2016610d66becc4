// marlin bench: on the simulator for people and as JSON, results that are kept, joined and drawn, and what is said without a GPU.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { z } from 'zod';
import { readResults } from '../bench/results.ts';
import { tunedTables } from '../kernels/marlin/tuned.ts';
import { joined } from '../bench/results.ts';
import { tokenCounts } from './bench/layers.ts';
import { errorCodeOf, jsonOf, marlinHere, temporaryFolder } from './run-marlin.fixture.ts';

const folder = temporaryFolder();
const simulate = ['bench', 'gemm', '--simulate', '--shapes', '128x32'];

describe('gemm', () => {
  test('a row for each number of tokens, means, and that simulated times mean nothing', async () => {
    const { code, stdout } = await marlinHere([...simulate, '--m', '9,1']);
    assert.equal(code, 0);
    assert.match(stdout, /^Simulated: .*mean nothing/);
    assert.match(stdout, /128x32 +1 [^]*128x32 +9 [^]*Geometric means/);
    assert.doesNotMatch(stdout, /WRONG|NaN/);
  });

  test('as JSON, and kept in a file that is read back', async () => {
    const file = join(folder, 'results.json');
    const line = [...simulate, '--m', '2', '--group', '32', '--dtype', 'bf16', '--output', file];
    const schema = z.object({
      ok: z.literal(true),
      machine: z.null(),
      rows: z.array(z.object({ m: z.literal(2), group: z.literal(32), dtype: z.literal('bf16') })),
      means: z.array(z.object({ m: z.literal(2) })),
    });
    schema.parse(jsonOf(await marlinHere([...line, '--json'])));
    assert.equal(readResults(file).rows.length, 1);
    assert.equal(
      errorCodeOf(await marlinHere([...simulate, '--m', '1', '--output', join(folder, 'no', 'x.json'), '--json'])),
      'output-unwritable',
    );
  });

  test('numbers of tokens: ascending, each once', () => {
    assert.deepEqual(tokenCounts('16,1,16'), [1, 16]);
    for (const text of ['', '1,', '0', '1;2', '70000'])
      assert.throws(() => tokenCounts(text), { code: 'flag-invalid' });
  });

  test(
    'without a GPU an error says so',
    { skip: existsSync('/dev/nvidiactl') ? 'there is a GPU' : false },
    async () => {
      assert.match(errorCodeOf(await marlinHere(['bench', 'gemm', '--m', '1', '--json'])), /^(driver|gpu)-/);
    },
  );
});

test('tune names a kernel for each bucket, and keeps nothing of the simulator', async () => {
  const line = ['bench', 'tune', '--simulate', '--shapes', '128x32', '--m', '1,9'];
  const schema = z.object({
    kept: z.null(),
    rows: z.array(z.object({ tokens: z.number(), kernel: z.string().min(1) })),
  });
  const { rows } = schema.parse(jsonOf(await marlinHere([...line, '--output', folder, '--json'])));
  assert.deepEqual(
    rows.map(({ tokens }) => tokens),
    [1, 16],
  );
  assert.equal(tunedTables('simulator', [folder])[0]!.rows.length, 2);
});

describe('plot', () => {
  test('writes figures, or says what is wrong with the results', async () => {
    const file = join(folder, 'x.json');
    await marlinHere([...simulate, '--m', '1', '--output', file]);
    const figures = join(folder, 'figures');
    const { figures: written } = z
      .object({ figures: z.array(z.string()).min(1) })
      .parse(jsonOf(await marlinHere(['bench', 'plot', file, '--svg', figures, '--json'])));
    for (const one of written) assert.match(readFileSync(one, 'utf8'), /^<svg/);
    writeFileSync(file, '{}');
    assert.equal(errorCodeOf(await marlinHere(['bench', 'plot', file, '--json'])), 'json-invalid');
    assert.equal(
      errorCodeOf(await marlinHere(['bench', 'plot', join(folder, 'none.json'), '--json'])),
      'file-not-found',
    );
  });

  test('of several files later rows take the place of earlier ones', async () => {
    const file = join(folder, 'y.json');
    await marlinHere([...simulate, '--m', '1,2', '--output', file]);
    const results = readResults(file);
    const later = { ...results, rows: [{ ...results.rows[0]!, microseconds: 7 }] };
    assert.deepEqual(
      joined([results, later]).rows.map(({ m, microseconds }) => [m, microseconds === 7]),
      [
        [1, true],
        [2, false],
      ],
    );
  });
});
