// Memory of the simulated GPU: buffers and matrices in global memory, a CTA's window of shared memory; each with shadow state that tells who
// accessed a word last (shadow/ has the rules).
import type { TensorType } from '../ptx/program.ts';
import type { Released } from './knowledge.ts';

/** Each buffer has an address range of its own, far from the next: whatever leaves it is out of bounds. */
const BUFFER_SPACE = 2 ** 36;
/** What the longest vector access needs. */
const ALIGNMENT = 16;

/** Who accessed each 4-byte word last: one more than the actor, 0 without; in global memory the warp's number in the grid. Marks: shadow/access.ts. */
export interface GlobalShadow {
  readonly writer: Int32Array;
  readonly writerMark: Int32Array;
  readonly reader: Int32Array;
  readonly readerMark: Int32Array;
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
        writer: new Int32Array(words),
        writerMark: new Int32Array(words),
        reader: new Int32Array(words),
        readerMark: new Int32Array(words),
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

/** In `reader`: several that do not know each other, each with a mark in `readers`. */
export const SEVERAL = -1;

/** Shared memory of a CTA. Writers are actors of the team: its warps, then its mbarriers. */
export class SharedMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Which bytes of each word were ever written, as 4 bits. */
  readonly defined: Uint8Array;
  /** One more than the actor, 0 without; and its mark. */
  readonly writer: Int16Array;
  readonly writerMark: Int32Array;
  /** Which lanes, for lanes of one warp that did not meet in between. */
  readonly writerStep: Int32Array;
  /** Who read the word since it was written: 0, one more than the warp, or SEVERAL. */
  readonly reader: Int16Array;
  readonly readerMark: Int32Array;
  /** One more than the actor whose asynchronous copy to the word is under way; 0 without. */
  readonly copying: Int16Array;
  /** How many products and bulk stores under way may still read the word. */
  readonly reading: Uint16Array;
  /** Warps of the team. */
  readonly warps: number;
  /** What releases left at words of it. */
  readonly released: Map<number, Released> = new Map();
  private several: Int32Array | null = null;

  constructor(bytes: number, warps: number) {
    const words = Math.ceil(bytes / 4);
    this.warps = warps;
    this.bytes = new Uint8Array(words * 4);
    this.view = new DataView(this.bytes.buffer);
    this.defined = new Uint8Array(words);
    this.writer = new Int16Array(words);
    this.writerMark = new Int32Array(words);
    this.writerStep = new Int32Array(words);
    this.reader = new Int16Array(words);
    this.readerMark = new Int32Array(words);
    this.copying = new Int16Array(words);
    this.reading = new Uint16Array(words);
  }

  /** As it was when new. */
  clear(): this {
    this.bytes.fill(0);
    for (const array of [this.defined, this.writer, this.writerMark, this.writerStep]) array.fill(0);
    for (const array of [this.reader, this.readerMark, this.copying, this.reading]) array.fill(0);
    this.several?.fill(0);
    this.released.clear();
    return this;
  }

  /** [word][warp of the team]; few words are ever read by several, so it is made when one is. */
  get readers(): Int32Array {
    this.several ??= new Int32Array(this.reader.length * this.warps);
    return this.several;
  }
}
