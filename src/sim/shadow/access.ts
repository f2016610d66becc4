// What the rules of races speak of: accesses of a warp's lanes, and the marks they leave at each 4-byte word. Knows no memory.
import type { Order, Scope } from '../../ptx/machine.ts';
import type { Where } from '../../ptx/program.ts';
import { reachOf, type Knowledge } from '../knowledge.ts';

/** `bytes` bytes at at[lane] for each lane of `mask`; at a multiple of 4, or within one word. A copy is an access of one lane. */
export interface Access {
  readonly where: Where;
  readonly mask: number;
  readonly at: Int32Array;
  readonly bytes: number;
  readonly level: Level;
}

/** How strong an access is: 0 weak, else ordered among the CTA (1), the cluster (2), the GPU (3). */
export type Level = 0 | 1 | 2 | 3;

const levels: readonly Level[] = [1, 2, 3];
export function levelOf(order: Order, scope: Scope): Level {
  return order === 'weak' ? 0 : levels[reachOf[scope]]!;
}

/** What a rule has to know of the warp: who it is, what it knows, and how often its lanes met. */
export interface Actor {
  /** In its team. */
  readonly index: number;
  /** In the grid, from 1. */
  readonly id: number;
  readonly teamSize: number;
  readonly warpsPerCta: number;
  readonly knowledge: Knowledge;
  readonly epoch: number;
  readonly name: string;
  /** What an actor of the team is called: a warp, or the mbarrier of a copy. */
  nameOf(actor: number): string;
}

// A mark is one integer: the actor's time, the level of the access, and which of the word's bytes it took as 4 bits. Ticks are at least an
// instruction apart, so that 25 bits of time last for 33 million barriers of a warp.
const BYTES = 15;
const LEVEL_SHIFT = 4;
const LEVEL = 3 << LEVEL_SHIFT;
export const TIME_SHIFT = 6;

export const mark = (time: number, level: Level, bytes: number): number =>
  (time << TIME_SHIFT) | (level << LEVEL_SHIFT) | bytes;

/** Bits of the bytes that an access of at most a word takes in its word; all for longer ones. */
export function bytesOf(at: number, bytes: number): number {
  return bytes >= 4 ? BYTES : ((1 << bytes) - 1) << (at & 3);
}

/** Two accesses by one actor: both bytes, and as weak as the weaker, if they were at the same time; else the later. */
export function merged(before: number, now: number): number {
  if (before >> TIME_SHIFT !== now >> TIME_SHIFT) return now;
  const level = Math.min(before & LEVEL, now & LEVEL);
  return (now & ~LEVEL) | (before & BYTES) | level;
}

/** Whether two accesses of a word may not meet: they share bytes, and are not both strong enough for how far apart they are (morally strong, PTX ISA 8.7). */
export function clash(a: number, b: number, apart: Level): boolean {
  return (a & b & BYTES) !== 0 && Math.min(a & LEVEL, b & LEVEL) < apart << LEVEL_SHIFT;
}
