// The one memory that all kernels and threads share: a shared WebAssembly memory with a bump allocator. Knows nothing of what lies in it.
import { errors } from '../base/errors.ts';

/** Byte offset into the heap's memory. */
export type Address = number & { readonly address: unique symbol };

/** 64 KiB pages; 32-bit WebAssembly ends at 4 GiB. */
const PAGE = 65536;
const MAX_PAGES = 65536;

// Constants that kernels load (assembly/simd.ts says why they are not spelled there).
const NIBBLE_MASK_ADDRESS = 64;
const HALF_MASK_ADDRESS = 80;
const EXP_ADDRESS = 96;
const FIRST_FREE = 320;

/** Least and largest exponent, 1 / ln 2, -ln 2 in two parts, then 1/7! ... 1/2! and 1: the constants of exp4; last the one that rounds. */
const expConstants = [
  -87,
  88,
  Math.LOG2E,
  -0.693359375,
  0.693359375 - Math.LN2,
  1 / 5040,
  1 / 720,
  1 / 120,
  1 / 24,
  1 / 6,
  1 / 2,
  1,
  1.5 * 2 ** 23,
];

export class Heap {
  readonly memory: WebAssembly.Memory;
  private top = FIRST_FREE;

  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES, shared: true });
    new Uint8Array(this.memory.buffer).fill(0x0f, NIBBLE_MASK_ADDRESS, NIBBLE_MASK_ADDRESS + 16);
    new Int32Array(this.memory.buffer, HALF_MASK_ADDRESS, 4).fill(0x8fffe000 | 0);
    const exp = new Float32Array(this.memory.buffer, EXP_ADDRESS, 4 * expConstants.length);
    for (const [i, value] of expConstants.entries()) exp.fill(value, 4 * i, 4 * i + 4);
  }

  /** Bytes handed out so far. */
  get used(): number {
    return this.top;
  }

  /** `bytes` zeroed bytes, aligned to 64. There is no free but `release`, the last first. Errors: 'cpu-memory-exceeded' beyond 4 GiB, 'cpu-memory-refused'. */
  allocate(bytes: number): Address {
    const address = this.top;
    const top = Math.ceil((address + bytes) / 64) * 64;
    const missing = Math.ceil((top - this.memory.buffer.byteLength) / PAGE);
    if (top > MAX_PAGES * PAGE) throw errors.cpuMemoryExceeded(top);
    if (missing > 0) this.grow(missing, top);
    this.top = top;
    return brand(address);
  }

  /** Where the next allocation begins: what `release` goes back to. */
  mark(): Address {
    return brand(this.top);
  }

  /** Takes back all that was allocated after `mark`. */
  release(mark: Address): void {
    // What is handed out is zero.
    new Uint8Array(this.memory.buffer, mark, this.top - mark).fill(0);
    this.top = mark;
  }

  /** Runs `body` and takes back what it allocated. Errors: those of `body`. */
  scope<T>(body: () => T): T {
    const start = this.mark();
    try {
      return body();
    } finally {
      this.release(start);
    }
  }

  private grow(pages: number, bytes: number): void {
    try {
      this.memory.grow(pages);
    } catch (cause) {
      throw errors.cpuMemoryRefused(bytes, cause);
    }
  }

  bytes(address: Address, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, length);
  }

  halves(address: Address, length: number): Uint16Array {
    return new Uint16Array(this.memory.buffer, address, length);
  }

  words(address: Address, length: number): Uint32Array {
    return new Uint32Array(this.memory.buffer, address, length);
  }

  integers(address: Address, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, address, length);
  }

  floats(address: Address, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, address, length);
  }

  doubles(address: Address, length: number): Float64Array {
    return new Float64Array(this.memory.buffer, address, length);
  }
}

/** An address `bytes` beyond another. */
export function offset(address: Address, bytes: number): Address {
  return brand(address + bytes);
}

function brand(address: number): Address {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where a number becomes an address
  return address as Address;
}
