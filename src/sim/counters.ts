// What a launch did, counted: enough for a kernel's own roofline. Knows no program.

export interface Counters {
  /** Instructions of a warp that were run. */
  instructions: number;
  /** The same by spelling. */
  byKind: Readonly<Record<string, number>>;
  /** Bytes that lanes asked of global memory, asynchronous copies included. */
  globalRead: number;
  globalWritten: number;
  /** Sectors of 32 bytes that those accesses touched; bulk copies included. */
  sectors: number;
  /** Bytes that lanes and asynchronous copies moved from and to shared memory; reads of wgmma not included. */
  sharedRead: number;
  sharedWritten: number;
  /** Turns that shared memory needed for the accesses of lanes: one each without conflicts, and more for wide ones. */
  wavefronts: number;
  /** Multiplications and additions of tensor cores, in those of a dense product. */
  tensorOperations: number;
}

export function emptyCounters(): Counters {
  return {
    instructions: 0,
    byKind: {},
    globalRead: 0,
    globalWritten: 0,
    sectors: 0,
    sharedRead: 0,
    sharedWritten: 0,
    wavefronts: 0,
    tensorOperations: 0,
  };
}
