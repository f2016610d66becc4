// Who accessed a word of memory, and whether it could know of those before: the rules of races, copies under way, missing fences, undefined data.
import type { Where } from '../ptx/program.ts';
import type { FindingKind, Findings } from './findings.ts';
import type { Knowledge } from './knowledge.ts';
import type { GlobalBuffer, SharedMemory } from './memory.ts';

/** Bytes that a lane, or a copy, reads or writes. */
export interface Access {
  readonly where: Where;
  readonly lane: number;
  readonly at: number;
  readonly bytes: number;
  /** Ordered (relaxed, acquire, release, atomic): may meet others of its kind. */
  readonly strong: boolean;
}

/** What a rule has to know of the warp: who it is, what it knows, and how often its lanes met. */
export interface Actor {
  /** In its team. */
  readonly index: number;
  /** In the grid. */
  readonly id: number;
  readonly teamSize: number;
  readonly knowledge: Knowledge;
  readonly epoch: number;
  readonly name: string;
  /** What an actor of the team is called: a warp, or the mbarrier of a copy. */
  nameOf(actor: number): string;
}

const STRONG = 16;

/** Bits of the bytes of `word` that [at, at + bytes) covers, with STRONG. */
function coverage(word: number, { at, bytes, strong }: Access): number {
  const first = Math.max(at - word * 4, 0);
  const end = Math.min(at + bytes - word * 4, 4);
  return (((1 << end) - 1) & ~((1 << first) - 1)) | (strong ? STRONG : 0);
}

/** Whether two accesses of a word may not meet: they share bytes, and are not both strong. */
function clash(a: number, b: number): boolean {
  return (a & b & 15) !== 0 && (a & b & STRONG) === 0;
}

// ---- shared memory

/** Reports unless what stands there is defined and known to the reader; remembers the reading. */
export function noteRead(shared: SharedMemory, findings: Findings, actor: Actor, access: Access): void {
  const end = (access.at + access.bytes + 3) >> 2;
  const { clock } = actor.knowledge;
  for (let word = access.at >> 2; word < end; word++) {
    checkRead(shared, findings, actor, access, word);
    shared.readTime[word * shared.warps + actor.index] = clock[actor.index]!;
    shared.readBytes[word]! |= coverage(word, access);
  }
}

function checkRead(shared: SharedMemory, findings: Findings, actor: Actor, access: Access, word: number): boolean {
  const writer = shared.writer[word]! - 1;
  const from = Math.max(access.at, word * 4);
  const report = (kind: FindingKind, byte: number, rest: string): false => {
    findings.report(kind, access.where, `lane ${access.lane} of ${actor.name} reads shared byte ${byte}${rest}`);
    return false;
  };
  if (shared.copying[word] !== 0) return report('unwaited-copy', word * 4, copyText(shared, actor, word));
  if (writer < 0 || shared.written[from] === 0) return report('uninitialised', from, '');
  if (unknownWriter(shared, actor, access, word)) {
    if (writer >= shared.warps) return report('unwaited-copy', word * 4, `, copied for ${actor.nameOf(writer)}`);
    return report(
      'race',
      word * 4,
      `, written by lane ${shared.writerLane[word]} of ${actor.nameOf(writer)} with nothing between`,
    );
  }
  return true;
}

/** A read of bulk copies and wgmma: besides, ordinary stores must be fenced for them. It lasts until waited for: `reading` is counted up. */
export function noteAsyncRead(shared: SharedMemory, findings: Findings, actor: Actor, access: Access): void {
  const end = (access.at + access.bytes + 3) >> 2;
  for (let word = access.at >> 2; word < end; word++) {
    const writer = shared.writer[word]! - 1;
    if (checkRead(shared, findings, actor, access, word) && writer >= 0 && writer < shared.warps) {
      checkFence(shared, findings, actor, access, word, 'reads');
    }
    shared.reading[word]!++;
  }
}

/** The read is over: from now on it is an ordinary read of the warp that waited for it. */
export function endAsyncRead(shared: SharedMemory, actor: Actor, at: number, bytes: number): void {
  const end = (at + bytes + 3) >> 2;
  for (let word = at >> 2; word < end; word++) {
    shared.reading[word]!--;
    shared.readTime[word * shared.warps + actor.index] = actor.knowledge.clock[actor.index]!;
    shared.readBytes[word]! |= 15;
  }
}

function checkFence(
  shared: SharedMemory,
  findings: Findings,
  actor: Actor,
  access: Access,
  word: number,
  verb: string,
): void {
  const writer = shared.writer[word]! - 1;
  if (actor.knowledge.fenced[writer]! >= shared.writerTime[word]!) return;
  findings.report(
    'missing-proxy-fence',
    access.where,
    `${actor.name} ${verb} shared byte ${word * 4} asynchronously, which ${actor.nameOf(writer)} stored with no proxy fence since`,
  );
}

function checkWrite(shared: SharedMemory, findings: Findings, actor: Actor, access: Access, word: number): void {
  const { knowledge } = actor;
  const report = (kind: FindingKind, rest: string): void =>
    findings.report(kind, access.where, `lane ${access.lane} of ${actor.name} writes shared byte ${word * 4}${rest}`);
  if (shared.copying[word] !== 0) report('unwaited-copy', copyText(shared, actor, word));
  if (shared.reading[word] !== 0) report('unwaited-read', ' while a product or bulk store may still read it');
  const writer = shared.writer[word]! - 1;
  if (
    writer >= 0 &&
    writer !== actor.index &&
    shared.writerTime[word]! > knowledge.clock[writer]! &&
    clash(shared.writerBytes[word]!, coverage(word, access))
  ) {
    report('race', `, written by ${actor.nameOf(writer)} with nothing between`);
  }
  if (!clash(shared.readBytes[word]!, coverage(word, access))) return;
  const base = word * shared.warps;
  for (let warp = 0; warp < shared.warps; warp++) {
    if (warp !== actor.index && shared.readTime[base + warp]! > knowledge.clock[warp]!)
      report('race', `, read by ${actor.nameOf(warp)} with nothing between`);
  }
}

/** Reports unless the writer knows of everybody who accessed the words before; remembers the writing. */
export function noteWrite(shared: SharedMemory, findings: Findings, actor: Actor, access: Access): void {
  const { at, bytes, lane } = access;
  const end = (at + bytes + 3) >> 2;
  const time = actor.knowledge.clock[actor.index]!;
  for (let word = at >> 2; word < end; word++) {
    checkWrite(shared, findings, actor, access, word);
    shared.writer[word] = actor.index + 1;
    shared.writerTime[word] = time;
    shared.writerBytes[word] = coverage(word, access);
    shared.writerLane[word] = lane;
    shared.writerEpoch[word] = actor.epoch;
    shared.readBytes[word] = 0;
  }
  shared.written.fill(1, at, at + bytes);
}

/** An asynchronous copy begins: whoever used the words before must be known, ordinary stores be fenced if `bulk`; until its end nobody may touch them. */
export function beginCopy(
  shared: SharedMemory,
  findings: Findings,
  actor: Actor,
  access: Access,
  { by, bulk }: { readonly by: number; readonly bulk: boolean },
): void {
  const [first, end] = [access.at >> 2, (access.at + access.bytes) >> 2];
  for (let word = first; word < end; word++) {
    checkWrite(shared, findings, actor, access, word);
    const writer = shared.writer[word]! - 1;
    if (bulk && writer >= 0 && writer < shared.warps) checkFence(shared, findings, actor, access, word, 'overwrites');
  }
  shared.copying.fill(by + 1, first, end);
}

/** A bulk copy is over: its words were written by the mbarrier `by` in the phase that `time` counts. */
export function endBulkCopy(shared: SharedMemory, at: number, bytes: number, by: number, time: number): void {
  const [first, end] = [at >> 2, (at + bytes) >> 2];
  shared.copying.fill(0, first, end);
  shared.writer.fill(by + 1, first, end);
  shared.writerTime.fill(time, first, end);
  shared.writerBytes.fill(15, first, end);
  shared.written.fill(1, at, at + bytes);
}

/** Another actor's write that nothing told of, or another lane's since the lanes last met. */
function unknownWriter(shared: SharedMemory, actor: Actor, access: Access, word: number): boolean {
  const writer = shared.writer[word]! - 1;
  if (!clash(shared.writerBytes[word]!, coverage(word, access))) return false;
  if (writer !== actor.index) return shared.writerTime[word]! > actor.knowledge.clock[writer]!;
  return shared.writerLane[word] !== access.lane && shared.writerEpoch[word] === actor.epoch;
}

function copyText(shared: SharedMemory, actor: Actor, word: number): string {
  return ` while a copy by ${actor.nameOf(shared.copying[word]! - 1)} is under way`;
}

// ---- global memory: the same between any two warps of the grid

function globalName(actor: Actor, id: number): string {
  const [team, index] = [Math.floor((id - 1) / actor.teamSize), (id - 1) % actor.teamSize];
  return team === actor.knowledge.team ? actor.nameOf(index) : `another CTA`;
}

const knowsId = (actor: Actor, id: number, time: number): boolean =>
  actor.knowledge.knows(Math.floor((id - 1) / actor.teamSize), (id - 1) % actor.teamSize, time);

/** `access.at` counts from the start of the buffer. */
export function noteGlobalRead(buffer: GlobalBuffer, findings: Findings, actor: Actor, access: Access): void {
  const { shadow } = buffer;
  const end = (access.at + access.bytes + 3) >> 2;
  const time = actor.knowledge.clock[actor.index]!;
  for (let word = access.at >> 2; word < end; word++) {
    const bits = coverage(word, access);
    const writer = shadow.writer[word]!;
    if (
      writer !== 0 &&
      writer !== actor.id &&
      clash(shadow.writerBytes[word]!, bits) &&
      !knowsId(actor, writer, shadow.writerTime[word]!)
    ) {
      globalRace(findings, actor, access, word, `reads`, `written by ${globalName(actor, writer)}`);
    }
    shadow.reader[word] = actor.id;
    shadow.readerTime[word] = time;
    shadow.readerBytes[word] = bits;
  }
}

export function noteGlobalWrite(buffer: GlobalBuffer, findings: Findings, actor: Actor, access: Access): void {
  const { shadow } = buffer;
  const end = (access.at + access.bytes + 3) >> 2;
  const time = actor.knowledge.clock[actor.index]!;
  for (let word = access.at >> 2; word < end; word++) {
    const bits = coverage(word, access);
    const writer = shadow.writer[word]!;
    if (
      writer !== 0 &&
      writer !== actor.id &&
      clash(shadow.writerBytes[word]!, bits) &&
      !knowsId(actor, writer, shadow.writerTime[word]!)
    ) {
      globalRace(findings, actor, access, word, 'writes', `written by ${globalName(actor, writer)}`);
    }
    const reader = shadow.reader[word]!;
    if (
      reader !== 0 &&
      reader !== actor.id &&
      clash(shadow.readerBytes[word]!, bits) &&
      !knowsId(actor, reader, shadow.readerTime[word]!)
    ) {
      globalRace(findings, actor, access, word, 'writes', `read by ${globalName(actor, reader)}`);
    }
    shadow.writer[word] = actor.id;
    shadow.writerTime[word] = time;
    shadow.writerBytes[word] = bits;
  }
}

function globalRace(findings: Findings, actor: Actor, access: Access, word: number, verb: string, other: string): void {
  findings.report(
    'race',
    access.where,
    `lane ${access.lane} of ${actor.name} ${verb} byte ${word * 4} of a buffer, ${other} with nothing between`,
  );
}
