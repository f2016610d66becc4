// Memory of the simulated GPU: buffers and matrices in global memory, a CTA's window of shared memory; each with shadow state that tells who
// accessed a word last (shadow.ts has the rules).
import type { TensorType } from '../ptx/program.ts';
import type { Released } from './knowledge.ts';

/** Each buffer has an address range of its own, far from the next: whatever leaves it is out of bounds. */
const BUFFER_SPACE = 2 ** 36;
/** What the longest vector access needs. */
const ALIGNMENT = 16;

/** Who accessed each 4-byte word last: times are those of the actor's own clock. */
export interface Shadow {
  /** One more than the id of the last writer; 0 without. */
  readonly writer: Int32Array;
  readonly writerTime: Int32Array;
  /** Which bytes of the word it wrote, as 4 bits: others may have written the rest. 16 is added for an ordered (strong) access. */
  readonly writerBytes: Uint8Array;
}

function shadowOf(words: number): Shadow {
  return { writer: new Int32Array(words), writerTime: new Int32Array(words), writerBytes: new Uint8Array(words) };
}

/** The last reader of a word in global memory stands for all: enough to find a race in some order of warps, and never a false one. */
export interface GlobalShadow extends Shadow {
  readonly reader: Int32Array;
  readonly readerTime: Int32Array;
  readonly readerBytes: Uint8Array;
}

export class GlobalBuffer {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** What releases left at words of it. */
  readonly released: Map<number, Released> = new Map();
  private kept: GlobalShadow | null = null;

  constructor(address: number, bytes: Uint8Array) {
    this.address = address;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get shadow(): GlobalShadow {
    if (this.kept === null) {
      const words = Math.ceil(this.bytes.length / 4);
      this.kept = {
        ...shadowOf(words),
        reader: new Int32Array(words),
        readerTime: new Int32Array(words),
        readerBytes: new Uint8Array(words),
      };
    }
    return this.kept;
  }
}

/** A matrix by rows that bulk copies read and write in boxes. */
export interface Matrix {
  readonly buffer: GlobalBuffer;
  readonly rows: number;
  readonly columns: number;
  readonly type: TensorType;
}

export class GlobalMemory {
  private readonly buffers: GlobalBuffer[] = [];
  private readonly matrices = new Map<number, Matrix>();

  /** Adds host bytes as a buffer; kernels read and write them in place. A part of an ArrayBuffer keeps its alignment there. */
  add(bytes: Uint8Array): GlobalBuffer {
    const address = (this.buffers.length + 1) * BUFFER_SPACE + (bytes.byteOffset % ALIGNMENT);
    const buffer = new GlobalBuffer(address, bytes);
    this.buffers.push(buffer);
    return buffer;
  }

  /** Adds a matrix and returns the address of its description, which is no memory. */
  addMatrix(matrix: Matrix): number {
    const address = -1 - this.matrices.size;
    this.matrices.set(address, matrix);
    return address;
  }

  /** The buffer around an address; undefined where there is none. */
  at(address: number): GlobalBuffer | undefined {
    return this.buffers[Math.floor(address / BUFFER_SPACE) - 1];
  }

  matrix(address: number): Matrix | undefined {
    return this.matrices.get(address);
  }
}

/** Shared memory of a CTA. Writers are actors of the team: its warps, then its mbarriers. */
export class SharedMemory implements Shadow {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly written: Uint8Array;
  readonly writer: Int32Array;
  readonly writerTime: Int32Array;
  readonly writerBytes: Uint8Array;
  /** Lane and the warp's own epoch, for lanes of one warp that did not meet in between. */
  readonly writerLane: Int8Array;
  readonly writerEpoch: Int32Array;
  /** [word][warp of the team] */
  readonly readTime: Int32Array;
  /** Bytes of the word that were read since it was written, as 4 bits. */
  readonly readBytes: Uint8Array;
  /** One more than the actor whose asynchronous copy to the word is under way; 0 without. */
  readonly copying: Int16Array;
  /** How many products and bulk stores under way may still read the word. */
  readonly reading: Uint16Array;
  readonly warps: number;
  readonly released: Map<number, Released> = new Map();

  constructor(bytes: number, warps: number) {
    const words = Math.ceil(bytes / 4);
    this.warps = warps;
    this.bytes = new Uint8Array(words * 4);
    this.view = new DataView(this.bytes.buffer);
    this.written = new Uint8Array(words * 4);
    this.copying = new Int16Array(words);
    this.reading = new Uint16Array(words);
    const { writer, writerTime, writerBytes } = shadowOf(words);
    this.writer = writer;
    this.writerTime = writerTime;
    this.writerBytes = writerBytes;
    this.writerLane = new Int8Array(words);
    this.writerEpoch = new Int32Array(words);
    this.readTime = new Int32Array(words * warps);
    this.readBytes = new Uint8Array(words);
  }
}
