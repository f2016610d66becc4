// Memory of the simulated GPU: buffers in global memory, a window of shared memory with the shadow state that finds races.

/** Each buffer has an address range of its own, far from the next: whatever leaves it is out of bounds. */
const BUFFER_SPACE = 2 ** 36;
/** What the longest vector access needs. */
const ALIGNMENT = 16;

export interface GlobalBuffer {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export class GlobalMemory {
  private readonly buffers: GlobalBuffer[] = [];

  /** Adds host bytes as a buffer; kernels read and write them in place. A part of an ArrayBuffer keeps its alignment there. */
  add(bytes: Uint8Array): GlobalBuffer {
    const buffer = {
      address: (this.buffers.length + 1) * BUFFER_SPACE + (bytes.byteOffset % ALIGNMENT),
      bytes,
      view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    };
    this.buffers.push(buffer);
    return buffer;
  }

  /** The buffer around an address; undefined where there is none. */
  at(address: number): GlobalBuffer | undefined {
    return this.buffers[Math.floor(address / BUFFER_SPACE) - 1];
  }
}

/**
 * Shared memory of a CTA. For each 4-byte word the shadow keeps who wrote it last and at what time of that warp's clock, and when each
 * warp last read it. A warp knows of another's past up to the time in its own vector clock (Lamport's happened-before, as FastTrack uses it).
 */
export class SharedMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly written: Uint8Array;
  readonly writerWarp: Int16Array;
  readonly writerClock: Int32Array;
  /** Lane and the warp's own epoch, for lanes of one warp that did not meet in between. */
  readonly writerLane: Int8Array;
  readonly writerEpoch: Int32Array;
  /** [word][warp] */
  readonly readClock: Int32Array;
  /** One more than the warp whose asynchronous copy to the word is under way; 0 without. */
  readonly copying: Int16Array;
  readonly warps: number;

  constructor(bytes: number, warps: number) {
    const words = Math.ceil(bytes / 4);
    this.warps = warps;
    this.bytes = new Uint8Array(words * 4);
    this.view = new DataView(this.bytes.buffer);
    this.written = new Uint8Array(words * 4);
    this.copying = new Int16Array(words);
    this.writerWarp = new Int16Array(words).fill(-1);
    this.writerClock = new Int32Array(words);
    this.writerLane = new Int8Array(words);
    this.writerEpoch = new Int32Array(words);
    this.readClock = new Int32Array(words * warps);
  }
}
