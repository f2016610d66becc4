// Who accessed a word of shared memory, and whether it could know of those before: the rules of races, copies under way, missing proxy
// fences, undefined data. The common case is decided by a few comparisons a word; why an access is wrong is found out afterwards.
//
// Coarser than the hardware, on purpose, and never by a false finding: one writer is remembered a word (of two that wrote different halves
// the later one), and lanes of one warp are told apart only as writers, so that a lane that overwrites what another lane of its warp has just
// read is not noticed.
import type { FindingKind, Findings } from '../findings.ts';
import { SEVERAL, type SharedMemory } from '../memory.ts';
import { type Access, type Actor, bytesOf, clash, type Level, mark, merged, TIME_SHIFT } from './access.ts';

/** A word's writer: its lanes' meeting and the lane; MANY where several lanes wrote parts of the word. */
const MANY = 32;
const STEP_SHIFT = 6;
const STEP_LANE = 63;

/** Reports unless what stands there is defined and known to the reader; remembers the reading. */
export function noteRead(shared: SharedMemory, findings: Findings, actor: Actor, access: Access): void {
  const { at, bytes, level } = access;
  const time = actor.knowledge.clock[actor.index]!;
  const self = actor.index + 1;
  const { reader, readerMark } = shared;
  for (let left = access.mask; left !== 0; left &= left - 1) {
    const lane = 31 - Math.clz32(left & -left);
    const end = (at[lane]! + bytes + 3) >> 2;
    const bits = bytesOf(at[lane]!, bytes);
    const now = mark(time, level, bits);
    for (let word = at[lane]! >> 2; word < end; word++) {
      if (!mayRead(shared, actor, word, bits, lane)) explainRead(shared, findings, actor, access, word, lane);
      if (reader[word] === 0) {
        reader[word] = self;
        readerMark[word] = now;
      } else if (reader[word] !== self || readerMark[word] !== now) remember(shared, actor, word, now);
    }
  }
}

/** The common case: defined, no copy under way, and the writer known. */
function mayRead(shared: SharedMemory, actor: Actor, word: number, bits: number, lane: number): boolean {
  if ((shared.defined[word]! & bits) !== bits || shared.copying[word] !== 0) return false;
  const writer = shared.writer[word]! - 1;
  if (writer !== actor.index) return shared.writerMark[word]! >> TIME_SHIFT <= actor.knowledge.clock[writer]!;
  const step = shared.writerStep[word]!;
  return step >> STEP_SHIFT !== actor.epoch || (step & STEP_LANE) === lane || (step & STEP_LANE) === MANY;
}

/** One reader stands for those it knows; of readers that do not know each other all are kept. */
function remember(shared: SharedMemory, actor: Actor, word: number, now: number): void {
  const self = actor.index + 1;
  const before = shared.reader[word]!;
  if (before === SEVERAL) {
    const place = word * shared.warps + actor.index;
    shared.readers[place] = merged(shared.readers[place]!, now);
  } else if (before === self) shared.readerMark[word] = merged(shared.readerMark[word]!, now);
  else if (shared.readerMark[word]! >> TIME_SHIFT <= actor.knowledge.clock[before - 1]!) {
    shared.reader[word] = self;
    shared.readerMark[word] = now;
  } else {
    shared.readers[word * shared.warps + before - 1] = shared.readerMark[word]!;
    shared.readers[word * shared.warps + actor.index] = now;
    shared.reader[word] = SEVERAL;
  }
}

/** Says what is wrong with a read, if anything is; whether it is right after all. */
function explainRead(
  shared: SharedMemory,
  findings: Findings,
  actor: Actor,
  { where, at, bytes, level }: Access,
  word: number,
  lane: number,
): boolean {
  const bits = bytesOf(at[lane]!, bytes);
  const writer = shared.writer[word]! - 1;
  const report = (kind: FindingKind, byte: number, rest: string): false => {
    findings.report(kind, where, `lane ${lane} of ${actor.name} reads shared byte ${byte}${rest}`);
    return false;
  };
  if (shared.copying[word] !== 0) return report('unwaited-copy', word * 4, copyText(shared, actor, word));
  const missing = bits & ~shared.defined[word]!;
  if (missing !== 0) return report('uninitialised', word * 4 + 31 - Math.clz32(missing & -missing), '');
  if (mayRead(shared, actor, word, bits, lane)) return true;
  if (!clash(shared.writerMark[word]!, mark(0, level, bits), apartOf(actor, writer))) return true;
  if (writer >= shared.warps) return report('unwaited-copy', word * 4, `, copied for ${actor.nameOf(writer)}`);
  const step = shared.writerStep[word]! & STEP_LANE;
  const who = step === MANY ? 'lanes' : `lane ${step}`;
  return report('race', word * 4, `, written by ${who} of ${actor.nameOf(writer)} with nothing between`);
}

/** A read of bulk copies and wgmma: besides, ordinary stores must be fenced for them. It lasts until waited for: `reading` is counted up. */
export function noteAsyncRead(shared: SharedMemory, findings: Findings, actor: Actor, access: Access): void {
  const lane = 31 - Math.clz32(access.mask);
  const [first, end] = [access.at[lane]! >> 2, (access.at[lane]! + access.bytes) >> 2];
  for (let word = first; word < end; word++) {
    if (mayRead(shared, actor, word, 15, lane) || explainRead(shared, findings, actor, access, word, lane))
      checkFence(shared, findings, actor, access, word, 'reads');
    shared.reading[word]!++;
  }
}

/** The read is over: from now on it is an ordinary read of the warp that waited for it. */
export function endAsyncRead(shared: SharedMemory, actor: Actor, at: number, bytes: number): void {
  const now = mark(actor.knowledge.clock[actor.index]!, 0, 15);
  const end = (at + bytes) >> 2;
  for (let word = at >> 2; word < end; word++) {
    shared.reading[word]!--;
    if (shared.reader[word] === 0) {
      shared.reader[word] = actor.index + 1;
      shared.readerMark[word] = now;
    } else remember(shared, actor, word, now);
  }
}

/**
 * Ordinary stores must be fenced between the store and the asynchronous access, by the storing thread or by one that learned of the store. The
 * hardware asks it of each thread, this of each warp: a fence by one lane counts for all.
 */
function checkFence(
  shared: SharedMemory,
  findings: Findings,
  actor: Actor,
  { where }: Access,
  word: number,
  verb: string,
): void {
  const writer = shared.writer[word]! - 1;
  if (writer < 0 || writer >= shared.warps) return;
  if (actor.knowledge.fenced[writer]! >= shared.writerMark[word]! >> TIME_SHIFT) return;
  const detail = `${actor.name} ${verb} shared byte ${word * 4} asynchronously, which ${actor.nameOf(writer)} stored with no proxy fence since`;
  findings.report('missing-proxy-fence', where, detail);
}

/** The common case: nothing under way, and writer and reader known. */
function mayWrite(shared: SharedMemory, actor: Actor, word: number): boolean {
  const { clock } = actor.knowledge;
  const [self, writer, reader] = [actor.index + 1, shared.writer[word]!, shared.reader[word]!];
  return (
    shared.copying[word] === 0 &&
    shared.reading[word] === 0 &&
    (writer === 0 || writer === self || shared.writerMark[word]! >> TIME_SHIFT <= clock[writer - 1]!) &&
    (reader === 0 ||
      reader === self ||
      (reader === SEVERAL
        ? knowsReaders(shared, actor, word)
        : shared.readerMark[word]! >> TIME_SHIFT <= clock[reader - 1]!))
  );
}

function knowsReaders({ readers, warps }: SharedMemory, { index, knowledge }: Actor, word: number): boolean {
  for (let warp = 0; warp < warps; warp++)
    if (warp !== index && readers[word * warps + warp]! >> TIME_SHIFT > knowledge.clock[warp]!) return false;
  return true;
}

/** Says what is wrong with a write, if anything is. */
function explainWrite(
  shared: SharedMemory,
  findings: Findings,
  actor: Actor,
  { where, at, bytes, level }: Access,
  word: number,
  lane: number,
): void {
  const report = (kind: FindingKind, rest: string): void =>
    findings.report(kind, where, `lane ${lane} of ${actor.name} writes shared byte ${word * 4}${rest}`);
  if (shared.copying[word] !== 0) report('unwaited-copy', copyText(shared, actor, word));
  if (shared.reading[word] !== 0) report('unwaited-read', ' while a product or bulk store may still read it');
  const now = mark(0, level, bytesOf(at[lane]!, bytes));
  const unknown = (other: number, then: number): boolean =>
    other !== actor.index &&
    then >> TIME_SHIFT > actor.knowledge.clock[other]! &&
    clash(then, now, apartOf(actor, other));
  const writer = shared.writer[word]! - 1;
  if (writer >= 0 && unknown(writer, shared.writerMark[word]!))
    report('race', `, written by ${actor.nameOf(writer)} with nothing between`);
  for (const [reader, then] of readersOf(shared, word))
    if (unknown(reader, then)) report('race', `, read by ${actor.nameOf(reader)} with nothing between`);
}

function readersOf(shared: SharedMemory, word: number): (readonly [actor: number, mark: number])[] {
  const reader = shared.reader[word]!;
  if (reader === 0) return [];
  if (reader !== SEVERAL) return [[reader - 1, shared.readerMark[word]!]];
  const marks = shared.readers.subarray(word * shared.warps, (word + 1) * shared.warps);
  return Array.from(marks, (then, warp): [number, number] => [warp, then]);
}

/** Reports unless the writer knows of everybody who accessed the words before; remembers the writing. */
export function noteWrite(shared: SharedMemory, findings: Findings, actor: Actor, access: Access): void {
  const { at, bytes, level } = access;
  const time = actor.knowledge.clock[actor.index]!;
  const { writer, writerMark, writerStep, defined } = shared;
  const self = actor.index + 1;
  for (let left = access.mask; left !== 0; left &= left - 1) {
    const lane = 31 - Math.clz32(left & -left);
    const end = (at[lane]! + bytes + 3) >> 2;
    const bits = bytesOf(at[lane]!, bytes);
    const now = mark(time, level, bits);
    const step = (actor.epoch << STEP_SHIFT) | lane;
    for (let word = at[lane]! >> 2; word < end; word++) {
      if (!mayWrite(shared, actor, word)) explainWrite(shared, findings, actor, access, word, lane);
      if (bits !== 15 && writer[word] === self && writerMark[word]! >> TIME_SHIFT === time) {
        writerMark[word] = merged(writerMark[word]!, now);
        writerStep[word] = writerStep[word] === step ? step : (actor.epoch << STEP_SHIFT) | MANY;
      } else {
        writer[word] = self;
        writerMark[word] = now;
        writerStep[word] = step;
      }
      defined[word]! |= bits;
      if (shared.reader[word] !== 0) forgetReaders(shared, word);
    }
  }
}

function forgetReaders(shared: SharedMemory, word: number): void {
  if (shared.reader[word] === SEVERAL) shared.readers.fill(0, word * shared.warps, (word + 1) * shared.warps);
  shared.reader[word] = 0;
}

/** An asynchronous copy begins: whoever used the words before must be known, ordinary stores be fenced if `bulk`; until its end nobody may touch them. */
export function beginCopy(
  shared: SharedMemory,
  findings: Findings,
  actor: Actor,
  access: Access,
  { by, bulk }: { readonly by: number; readonly bulk: boolean },
): void {
  for (let left = access.mask; left !== 0; left &= left - 1) {
    const lane = 31 - Math.clz32(left & -left);
    const [first, end] = [access.at[lane]! >> 2, (access.at[lane]! + access.bytes) >> 2];
    for (let word = first; word < end; word++) {
      if (!mayWrite(shared, actor, word)) explainWrite(shared, findings, actor, access, word, lane);
      if (bulk) checkFence(shared, findings, actor, access, word, 'overwrites');
      shared.copying[word] = by + 1;
    }
  }
}

/** A bulk copy is over: its words were written by the mbarrier `by` in the phase that `time` counts. */
export function endBulkCopy(shared: SharedMemory, at: number, bytes: number, by: number, time: number): void {
  const [first, end] = [at >> 2, (at + bytes) >> 2];
  shared.copying.fill(0, first, end);
  shared.writer.fill(by + 1, first, end);
  shared.writerMark.fill(mark(time, 0, 15), first, end);
  shared.defined.fill(15, first, end);
  for (let word = first; word < end; word++) if (shared.reader[word] !== 0) forgetReaders(shared, word);
}

/** How far another actor of the team is away: in the same CTA, or in another one of the cluster. */
function apartOf(actor: Actor, other: number): Level {
  const ctaOf = (index: number): number => Math.floor(index / actor.warpsPerCta);
  return other >= actor.teamSize || ctaOf(actor.index) === ctaOf(other) ? 1 : 2;
}

function copyText(shared: SharedMemory, actor: Actor, word: number): string {
  return ` while a copy by ${actor.nameOf(shared.copying[word]! - 1)} is under way`;
}
