// Shared-memory banks: 32 of 4 bytes. Accesses of one phase that hit different words of one bank are served one after another.

/** Lanes that are served together: 32 for 4-byte accesses, 16 for 8, 8 for 16 (CUDA programming guide, shared memory). */
export function lanesPerPhase(bytes: number): number {
  return Math.min(32, 128 / bytes);
}

/** Largest number of different words in one bank among accesses of `bytes` bytes at `addresses`: 1 is free of conflicts. */
export function conflictWays(addresses: readonly number[], bytes: number): number {
  const words = Array.from({ length: 32 }, () => new Set<number>());
  for (const address of addresses)
    for (let at = address; at < address + bytes; at += 4) words[(at >> 2) & 31]!.add(at >> 2);
  return words.reduce((most, set) => Math.max(most, set.size), 0);
}
