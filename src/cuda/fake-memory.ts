// Addresses for ArrayBuffers: what the fake driver has instead of the memory of a process or a GPU.

const ALIGNMENT = 512n;

/** A range of addresses in which buffers lie; between two of them there is always a gap that belongs to nobody. */
export class AddressSpace {
  private next: bigint;
  private readonly buffers = new Map<bigint, ArrayBufferLike>();
  private readonly addresses = new Map<ArrayBufferLike, bigint>();

  constructor(first: bigint) {
    this.next = first;
  }

  /** Buffers placed and not removed. */
  get size(): number {
    return this.buffers.size;
  }

  /** The address of a buffer's first byte, always the same one. */
  place(buffer: ArrayBufferLike): bigint {
    const known = this.addresses.get(buffer);
    if (known !== undefined) return known;
    const address = this.next;
    this.next += (BigInt(buffer.byteLength) / ALIGNMENT + 2n) * ALIGNMENT;
    this.buffers.set(address, buffer);
    this.addresses.set(buffer, address);
    return address;
  }

  /** False if no buffer starts there. */
  remove(address: bigint): boolean {
    const buffer = this.buffers.get(address);
    if (buffer === undefined) return false;
    this.buffers.delete(address);
    this.addresses.delete(buffer);
    return true;
  }

  /** `bytes` bytes from an address, by default to the end of its buffer; null if they do not all lie in one. */
  at(address: bigint, bytes?: number): Uint8Array | null {
    for (const [start, buffer] of this.buffers) {
      const offset = Number(address - start);
      const length = bytes ?? buffer.byteLength - offset;
      if (offset >= 0 && length >= 0 && offset + length <= buffer.byteLength) {
        return new Uint8Array(buffer, offset, length);
      }
    }
    return null;
  }
}
