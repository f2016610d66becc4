// The table of instructions names all of them; and each of its programs does on the simulator what plain JavaScript says. wgmma has a file of its own.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { everyOp, modules, spellingOf } from './instruction-programs/every-op.fixture.ts';
import { opsOf } from './instruction-programs/define.fixture.ts';
import { instructionPrograms, instructionThemes } from './instruction-programs/table.fixture.ts';
import { testTheme } from './instruction-programs/themes.fixture.ts';
import { laneOps } from './lane-programs.fixture.ts';

describe('the table of instructions', () => {
  const tried = new Set(
    [...laneOps, ...instructionPrograms.flatMap((entry) => [...opsOf(entry)])].map((op) => spellingOf(op)),
  );
  test('has a program for every instruction that the isa exports or makes', () => {
    const missing = everyOp.map((op) => spellingOf(op)).filter((spelling) => !tried.has(spelling));
    assert.deepEqual(missing, []);
  });
  test('knows every file of the isa; three of them hold no instruction', () => {
    const files = readdirSync(new URL('../ptx/isa/', import.meta.url)).map((file) => file.replace(/\.ts$/, ''));
    assert.deepEqual(files.toSorted(), [...Object.keys(modules), 'fragments', 'make', 'operands'].toSorted());
  });
  test('gives each program a name of its own, and every output something to compare with', () => {
    const names = instructionPrograms.map(({ name }) => name);
    assert.equal(names.length, new Set(names).size);
    for (const entry of instructionPrograms)
      for (const output of entry.outputs) assert.ok(entry.draw(0).expected.has(output), `${entry.name}: ${output}`);
  });
});

for (const theme of Object.keys(instructionThemes)) if (theme !== 'wgmma') testTheme(theme);
