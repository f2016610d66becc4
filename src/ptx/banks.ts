// Shared-memory banks: 32 of 4 bytes. Accesses of one phase that hit different words of one bank are served one after another.
// Bare arithmetic on byte addresses, for the simulator and for drawings; knows no layout and no program.

/** Bytes that all banks together serve at a time. */
export const LINE_BYTES = 128;

/** Lanes that are served together: 32 for 4-byte accesses, 16 for 8, 8 for 16 (CUDA programming guide, shared memory). */
export function lanesPerPhase(bytes: number): number {
  return Math.min(32, LINE_BYTES / bytes);
}

const lastWord = new Int32Array(32);

/**
 * Largest number of different words in one bank among accesses of `bytes` bytes at addresses[first .. end); 1 or 0 is free of conflicts. Lanes
 * whose address is NaN are left out.
 */
export function conflictWays(addresses: ArrayLike<number>, bytes: number, first: number, end: number): number {
  lastWord.fill(-1);
  // Most accesses have no conflict: one word a bank is seen without building sets (4 times the speed of the whole simulator).
  for (let lane = first; lane < end; lane++) {
    const address = addresses[lane]!;
    if (Number.isNaN(address)) continue;
    for (let word = address >> 2; word < (address + bytes + 3) >> 2; word++) {
      const bank = word & 31;
      if (lastWord[bank] !== -1 && lastWord[bank] !== word) return countedWays(addresses, bytes, first, end);
      lastWord[bank] = word;
    }
  }
  return 1;
}

function countedWays(addresses: ArrayLike<number>, bytes: number, first: number, end: number): number {
  const words = Array.from({ length: 32 }, () => new Set<number>());
  for (let lane = first; lane < end; lane++) {
    const address = addresses[lane]!;
    if (Number.isNaN(address)) continue;
    for (let word = address >> 2; word < (address + bytes + 3) >> 2; word++) words[word & 31]!.add(word);
  }
  return words.reduce((most, set) => Math.max(most, set.size), 0);
}
