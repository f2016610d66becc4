// Who accessed a word of global memory: races between any two warps of the grid. One writer and one reader are remembered a word: enough to
// find a race in some order of warps, and never a false one. Lanes of one warp are not told apart.
import type { Findings } from '../findings.ts';
import type { GlobalBuffer } from '../memory.ts';
import { type Access, type Actor, bytesOf, clash, type Level, mark, merged, TIME_SHIFT } from './access.ts';

/** `access.at` counts from the start of the buffer. */
export function noteGlobalRead(buffer: GlobalBuffer, findings: Findings, actor: Actor, access: Access): void {
  const { writer, writerMark, reader, readerMark } = buffer.shadow;
  const { at, bytes, level } = access;
  const { id } = actor;
  const time = actor.knowledge.clock[actor.index]!;
  for (let left = access.mask; left !== 0; left &= left - 1) {
    const lane = 31 - Math.clz32(left & -left);
    const end = (at[lane]! + bytes + 3) >> 2;
    const now = mark(time, level, bytesOf(at[lane]!, bytes));
    for (let word = at[lane]! >> 2; word < end; word++) {
      const by = writer[word]!;
      if (by !== 0 && by !== id && meets(actor, by, writerMark[word]!, now))
        report(findings, actor, access, lane, word, `reads`, `written by ${nameOf(actor, by)}`);
      readerMark[word] = reader[word] === id ? merged(readerMark[word]!, now) : now;
      reader[word] = id;
    }
  }
}

export function noteGlobalWrite(buffer: GlobalBuffer, findings: Findings, actor: Actor, access: Access): void {
  const { writer, writerMark, reader, readerMark } = buffer.shadow;
  const { at, bytes, level } = access;
  const { id } = actor;
  const time = actor.knowledge.clock[actor.index]!;
  for (let left = access.mask; left !== 0; left &= left - 1) {
    const lane = 31 - Math.clz32(left & -left);
    const end = (at[lane]! + bytes + 3) >> 2;
    const now = mark(time, level, bytesOf(at[lane]!, bytes));
    for (let word = at[lane]! >> 2; word < end; word++) {
      const [by, read] = [writer[word]!, reader[word]!];
      if (by !== 0 && by !== id && meets(actor, by, writerMark[word]!, now))
        report(findings, actor, access, lane, word, 'writes', `written by ${nameOf(actor, by)}`);
      if (read !== 0 && read !== id && meets(actor, read, readerMark[word]!, now))
        report(findings, actor, access, lane, word, 'writes', `read by ${nameOf(actor, read)}`);
      writerMark[word] = by === id ? merged(writerMark[word]!, now) : now;
      writer[word] = id;
    }
  }
}

/** Whether an access clashes with one before by warp `id` that the actor does not know of. */
function meets(actor: Actor, id: number, then: number, now: number): boolean {
  const [team, index] = placeOf(actor, id);
  return !actor.knowledge.knows(team, index, then >> TIME_SHIFT) && clash(then, now, apartOf(actor, team, index));
}

function placeOf({ teamSize }: Actor, id: number): readonly [team: number, index: number] {
  return [Math.floor((id - 1) / teamSize), (id - 1) % teamSize];
}

function apartOf({ knowledge, index, warpsPerCta }: Actor, team: number, other: number): Level {
  if (team !== knowledge.team) return 3;
  return Math.floor(index / warpsPerCta) === Math.floor(other / warpsPerCta) ? 1 : 2;
}

function nameOf(actor: Actor, id: number): string {
  const [team, index] = placeOf(actor, id);
  return team === actor.knowledge.team ? actor.nameOf(index) : 'another CTA';
}

function report(
  findings: Findings,
  actor: Actor,
  { where }: Access,
  lane: number,
  word: number,
  verb: string,
  other: string,
): void {
  const detail = `lane ${lane} of ${actor.name} ${verb} byte ${word * 4} of a buffer, ${other} with nothing between`;
  findings.report('race', where, detail);
}
