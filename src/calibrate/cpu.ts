// Calibration on the CPU: activations between passes lie outside the heap, and inputs of linears in bytes, as the 4-bit product rounds them. Knows no network.
import { errors } from '../base/errors.ts';
import type { Cpu } from '../cpu/cpu.ts';
import { addGram, clearGram, type Gram, newGram, readGram } from '../cpu/gram.ts';
import { type Address, offset } from '../cpu/heap.ts';
import type { Activation } from '../cpu/matrix.ts';
import type { Pool } from '../cpu/pool.ts';
import { type CpuKinds, CpuOps } from '../model/cpu.ts';
import type { CalibrationDevice, CalibrationSize, Store, WideStore } from './device.ts';

/**
 * Tokens that sums over inputs take for each column of them: more say no more. 128 windows of 1024 tokens, a hidden size of 512: perplexity of the
 * storyteller model 23.441 where all tokens gave 23.433, KL 0.0794 and 0.0796; a third of the time of the sums.
 */
const TOKENS_OF_COLUMN = 32;

export class CpuCalibration implements CalibrationDevice<CpuKinds> {
  readonly ops: CpuOps;
  readonly pool: Pool;
  private readonly cpu: Cpu;
  private readonly size: CalibrationSize;
  private readonly grams: ReadonlyMap<number, Gram>;
  /** Of the narrow store; and in the heap that of one window. */
  private readonly room: ArrayBuffer;
  private readonly packed: Address;

  constructor(size: CalibrationSize, threads?: number) {
    const { windows, length, widths } = size;
    const widest = Math.max(...widths);
    this.size = size;
    this.ops = new CpuOps({ context: length, maxColumns: widest, ...(threads === undefined ? {} : { threads }) });
    this.cpu = this.ops.cpu;
    this.pool = this.cpu.pool;
    this.grams = new Map(widths.map((width) => [width, newGram(this.cpu.heap, width, length)]));
    this.cpu.reserve(length, widest, 8);
    const bytes = this.cpu.packedBytes(length, widest);
    this.packed = this.cpu.heap.allocate(bytes);
    this.room = new ArrayBuffer(windows * bytes);
  }

  wide(width: number): WideStore<CpuKinds> {
    return new CpuWideStore(this.cpu, this.size, width);
  }

  narrow(width: number): Store<CpuKinds> {
    return new NarrowStore(this.cpu, this.size, width, this.room, this.packed);
  }

  /** Every n-th token, in each window from another one on: the first of a text is often unlike all others. */
  add(window: number, x: Activation): void {
    const { windows, length } = this.size;
    const every = Math.max(1, Math.floor((windows * length) / (TOKENS_OF_COLUMN * x.width)));
    const first = window % every;
    const taken = { ...this.cpu.fromToken(x, first), stride: every * x.stride };
    addGram(this.pool, this.gram(x.width), taken, Math.ceil((length - first) / every));
  }

  take(width: number): Float32Array {
    const gram = this.gram(width);
    const sums = readGram(this.cpu.heap, gram);
    clearGram(this.cpu.heap, gram);
    return sums;
  }

  private gram(width: number): Gram {
    const gram = this.grams.get(width);
    if (gram === undefined) throw errors.internal(`no sums for inputs of width ${width}`);
    return gram;
  }

  async scope<T>(body: () => Promise<T>): Promise<T> {
    const mark = this.cpu.heap.mark();
    try {
      return await body();
    } finally {
      this.cpu.heap.release(mark);
    }
  }

  [Symbol.dispose](): void {
    this.ops[Symbol.dispose]();
  }
}

class CpuWideStore implements WideStore<CpuKinds> {
  readonly windows: number;
  readonly bytes: number;
  private readonly cpu: Cpu;
  private readonly parts: readonly Float32Array[];

  constructor(cpu: Cpu, { windows, length }: CalibrationSize, width: number) {
    this.windows = windows;
    this.bytes = 4 * length * width;
    this.cpu = cpu;
    this.parts = Array.from({ length: windows }, () => new Float32Array(length * width));
  }

  keep(window: number, x: Activation): void {
    this.each(window, x, (part, own) => part.set(own));
  }

  bring(window: number, x: Activation): void {
    this.each(window, x, (part, own) => own.set(part));
  }

  private each(window: number, x: Activation, body: (part: Float32Array, own: Float32Array) => void): void {
    const { width } = x;
    const part = this.parts[window]!;
    for (let at = 0; at < part.length; at += width) {
      const own = this.cpu.heap.floats(offset(x.address, (at / width) * x.stride), width);
      body(part.subarray(at, at + width), own);
    }
  }

  save(window: number): Uint8Array {
    return this.view(window);
  }

  load(window: number, bytes: Uint8Array): void {
    this.view(window).set(bytes);
  }

  private view(window: number): Uint8Array {
    const { buffer, byteOffset, byteLength } = this.parts[window]!;
    return new Uint8Array(buffer, byteOffset, byteLength);
  }
}

/** A product of what comes back is that of what was kept. */
class NarrowStore implements Store<CpuKinds> {
  private readonly cpu: Cpu;
  private readonly parts: readonly Uint8Array[];
  private readonly packed: Address;
  private readonly length: number;

  constructor(cpu: Cpu, { windows, length }: CalibrationSize, width: number, room: ArrayBuffer, packed: Address) {
    const bytes = cpu.packedBytes(length, width);
    this.cpu = cpu;
    this.length = length;
    this.packed = packed;
    this.parts = Array.from({ length: windows }, (_, i) => new Uint8Array(room, i * bytes, bytes));
  }

  keep(window: number, x: Activation): void {
    const part = this.parts[window]!;
    this.cpu.packRows(x, this.length, this.packed);
    part.set(this.cpu.heap.bytes(this.packed, part.length));
  }

  bring(window: number, x: Activation): void {
    const part = this.parts[window]!;
    this.cpu.heap.bytes(this.packed, part.length).set(part);
    this.cpu.unpackRows(this.packed, x, this.length);
  }
}
