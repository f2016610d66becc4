// Sectors of global memory that an access of a warp touches: 32 bytes each, what the memory system moves at least.

const SECTOR = 32;

export interface Touched {
  /** Lanes that take part. */
  readonly lanes: number;
  readonly sectors: number;
}

/** Different sectors of aligned accesses of at most 16 bytes at the lanes' addresses; lanes whose address is NaN are left out. */
export function sectorsOf(addresses: ArrayLike<number>): Touched {
  let [lanes, sectors, last] = [0, 0, -1];
  let ascending = true;
  for (let lane = 0; lane < 32; lane++) {
    const address = addresses[lane]!;
    if (Number.isNaN(address)) continue;
    lanes++;
    const sector = Math.floor(address / SECTOR);
    if (sector > last) sectors++;
    else if (sector < last) ascending = false;
    last = sector;
  }
  // Most accesses ascend, and need no set.
  return { lanes, sectors: ascending ? sectors : counted(addresses) };
}

function counted(addresses: ArrayLike<number>): number {
  const seen = new Set<number>();
  for (let lane = 0; lane < 32; lane++) {
    const address = addresses[lane]!;
    if (!Number.isNaN(address)) seen.add(Math.floor(address / SECTOR));
  }
  return seen.size;
}

/** Sectors of bytes that lie together. */
export function sectorsOfRange(start: number, bytes: number): number {
  return bytes === 0 ? 0 : Math.floor((start + bytes - 1) / SECTOR) - Math.floor(start / SECTOR) + 1;
}

/** Fewer than these are no matter: what a few lanes at an edge do. */
const FEW = 8;

/** Whether an access of `bytes` bytes a lane wastes more than three quarters of what is moved for it. */
export function isUncoalesced({ lanes, sectors }: Touched, bytes: number): boolean {
  return sectors > FEW && sectors > 4 * Math.ceil((lanes * bytes) / SECTOR);
}
