// Who accessed a word of shared memory, and whether it could know of those before: the rules of races, copies under way, and undefined data.
import type { Where } from '../ptx/program.ts';
import type { FindingKind, Findings } from './findings.ts';
import type { SharedMemory } from './memory.ts';

/** Bytes that a lane reads or writes. */
export interface Access {
  readonly where: Where;
  readonly lane: number;
  readonly at: number;
  readonly bytes: number;
}

/** What a rule has to know of the warp: what it knows of all warps' past, and how often its lanes met. */
export interface Actor {
  readonly index: number;
  readonly clock: Int32Array;
  readonly epoch: number;
}

function words({ at, bytes }: Access): readonly [first: number, end: number] {
  return [at >> 2, (at + bytes + 3) >> 2];
}

/** Reports unless what stands there is defined and known to the reader; remembers the reading. */
export function noteRead(shared: SharedMemory, findings: Findings, actor: Actor, access: Access): void {
  const { where, lane, at } = access;
  const report = (kind: FindingKind, byte: number, rest: string): void =>
    findings.report(kind, where, `lane ${lane} of warp ${actor.index} reads shared byte ${byte}${rest}`);
  const [first, end] = words(access);
  for (let word = first; word < end; word++) {
    const writer = shared.writerWarp[word]!;
    if (shared.copying[word] !== 0) report('unwaited-copy', word * 4, copyText(shared, word));
    else if (writer < 0 || shared.written[Math.max(at, word * 4)] === 0)
      report('uninitialised', Math.max(at, word * 4), '');
    else if (unknownWriter(shared, actor, word, lane)) {
      report('race', word * 4, `, written by lane ${shared.writerLane[word]} of warp ${writer} with nothing between`);
    }
    shared.readClock[word * shared.warps + actor.index] = actor.clock[actor.index]!;
  }
}

/** Reports unless the writer knows of everybody who accessed the words before; remembers the writing. */
export function noteWrite(shared: SharedMemory, findings: Findings, actor: Actor, access: Access): void {
  const { where, lane, at, bytes } = access;
  const report = (kind: FindingKind, word: number, rest: string): void =>
    findings.report(kind, where, `lane ${lane} of warp ${actor.index} writes shared byte ${word * 4}${rest}`);
  const [first, end] = words(access);
  for (let word = first; word < end; word++) {
    const writer = shared.writerWarp[word]!;
    if (shared.copying[word] !== 0) report('unwaited-copy', word, copyText(shared, word));
    if (writer >= 0 && writer !== actor.index && shared.writerClock[word]! > actor.clock[writer]!) {
      report('race', word, `, written by warp ${writer} with nothing between`);
    }
    for (let warp = 0; warp < shared.warps; warp++) {
      if (warp !== actor.index && shared.readClock[word * shared.warps + warp]! > actor.clock[warp]!) {
        report('race', word, `, read by warp ${warp} with nothing between`);
      }
    }
    shared.writerWarp[word] = actor.index;
    shared.writerClock[word] = actor.clock[actor.index]!;
    shared.writerLane[word] = lane;
    shared.writerEpoch[word] = actor.epoch;
  }
  shared.written.fill(1, at, at + bytes);
}

/** Another warp's write that no barrier told of, or another lane's since the lanes last met. */
function unknownWriter(shared: SharedMemory, actor: Actor, word: number, lane: number): boolean {
  const writer = shared.writerWarp[word]!;
  if (writer !== actor.index) return shared.writerClock[word]! > actor.clock[writer]!;
  return shared.writerLane[word] !== lane && shared.writerEpoch[word] === actor.epoch;
}

function copyText(shared: SharedMemory, word: number): string {
  return ` while a copy by warp ${shared.copying[word]! - 1} is under way`;
}
