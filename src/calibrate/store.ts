// Activations of all calibration windows between two stages, in memory. Knows no device.
import type { Cpu } from '../cpu/cpu.ts';
import { type Address, offset } from '../cpu/heap.ts';
import type { Activation } from '../cpu/matrix.ts';

/** [windows][length, width] numbers. */
export interface Store {
  readonly windows: number;
  /** What `x` holds of a window is kept. */
  keep(window: number, x: Activation): void;
  /** What was kept comes into `x`. */
  bring(window: number, x: Activation): void;
}

/** In f32: hidden states, whose largest numbers are a thousand times the others. */
export class WideStore implements Store {
  readonly windows: number;
  private readonly cpu: Cpu;
  private readonly parts: readonly Float32Array[];

  constructor(cpu: Cpu, windows: number, length: number, width: number) {
    this.windows = windows;
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

  /** The bytes of a window, to be kept in a file. */
  bytes(window: number): Uint8Array {
    const { buffer, byteOffset, byteLength } = this.parts[window]!;
    return new Uint8Array(buffer, byteOffset, byteLength);
  }
}

/** In bytes, rounded as the 4-bit product rounds its input: a product of what comes back is that of what was kept. */
export class NarrowStore implements Store {
  readonly windows: number;
  private readonly cpu: Cpu;
  private readonly parts: readonly Uint8Array[];
  private readonly packed: Address;
  private readonly tokens: number;

  /** `room`: of at least `narrowBytes` bytes, which one store uses after another; `packed`: of those of one window, in the heap. */
  constructor(cpu: Cpu, windows: number, tokens: number, width: number, room: ArrayBuffer, packed: Address) {
    const bytes = cpu.packedBytes(tokens, width);
    this.windows = windows;
    this.cpu = cpu;
    this.tokens = tokens;
    this.packed = packed;
    this.parts = Array.from({ length: windows }, (_, i) => new Uint8Array(room, i * bytes, bytes));
  }

  keep(window: number, x: Activation): void {
    const part = this.parts[window]!;
    this.cpu.packRows(x, this.tokens, this.packed);
    part.set(this.cpu.heap.bytes(this.packed, part.length));
  }

  bring(window: number, x: Activation): void {
    const part = this.parts[window]!;
    this.cpu.heap.bytes(this.packed, part.length).set(part);
    this.cpu.unpackRows(this.packed, x, this.tokens);
  }
}
