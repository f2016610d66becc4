// Memory on the GPU and page-locked memory on the host, copies and fills. Every range is checked before the driver sees it. Without a stream
// a copy waits; with one it is enqueued, and its host side must be pinned. Knows no dtype.
import { errors } from '../base/errors.ts';
import type { Context } from './context.ts';
import { type CUdeviceptr, type CUresult, type CUstream, type Driver, handle, type HostPointer } from './driver.ts';
import { CUDA_ERROR_OUT_OF_MEMORY } from './header.ts';
import { checkContext, Resource } from './resource.ts';
import type { Held, Stream } from './stream.ts';

/** A range of device memory: a whole allocation, or a part of one. */
export interface DeviceMemory extends Held {
  readonly context: Context;
  readonly bytes: number;
  /** Of the first byte. Errors: 'disposed'. */
  readonly pointer: CUdeviceptr;
  /** Part of it, by default to the end. It owns nothing: it is gone when the allocation is. Errors: 'range-outside'. */
  slice(offset: number, bytes?: number): DeviceMemory;
}

class Slice implements DeviceMemory {
  readonly bytes: number;
  private readonly owner: DeviceBuffer;
  private readonly offset: number;

  constructor(owner: DeviceBuffer, offset: number, bytes: number) {
    this.owner = owner;
    this.offset = offset;
    this.bytes = bytes;
  }

  get context(): Context {
    return this.owner.context;
  }

  get title(): string {
    return `${this.owner.title} from byte ${this.offset}`;
  }

  get disposed(): boolean {
    return this.owner.disposed;
  }

  get pointer(): CUdeviceptr {
    return handle(this.owner.pointer + BigInt(this.offset));
  }

  slice(offset: number, bytes: number = this.bytes - offset): DeviceMemory {
    checkRange(this, offset, bytes);
    return new Slice(this.owner, this.offset + offset, bytes);
  }
}

export class DeviceBuffer extends Resource<CUdeviceptr> implements DeviceMemory {
  readonly bytes: number;

  constructor(context: Context, title: string, bytes: number, pointer: CUdeviceptr, stream: Stream | null) {
    super(context, title, pointer, {
      call: stream === null ? 'cuMemFree' : 'cuMemFreeAsync',
      run: (driver, it) =>
        stream === null || stream.disposed ? driver.cuMemFree(it) : driver.cuMemFreeAsync(it, stream.handle),
    });
    this.bytes = bytes;
  }

  get pointer(): CUdeviceptr {
    return this.handle;
  }

  slice(offset: number, bytes: number = this.bytes - offset): DeviceMemory {
    checkRange(this, offset, bytes);
    return new Slice(this, offset, bytes);
  }
}

/** Page-locked host memory: copies on a stream need it, and it copies at the full rate of the bus. Do not dispose of it while a copy is in flight. */
export class PinnedBuffer extends Resource<HostPointer> {
  private readonly memory: ArrayBuffer;

  constructor(context: Context, title: string, pointer: HostPointer, memory: ArrayBuffer) {
    super(context, title, pointer, { call: 'cuMemFreeHost', run: (driver, it) => driver.cuMemFreeHost(it) });
    this.memory = memory;
    pinned.add(memory);
  }

  /** All of it; views that are held beyond disposal become empty. Errors: 'disposed'. */
  get bytes(): Uint8Array<ArrayBuffer> {
    if (this.disposed) throw errors.disposed(this.title);
    return new Uint8Array(this.memory);
  }

  override [Symbol.dispose](): void {
    // Takes the memory away from every view of it: reading through one after the driver has freed it would end the process.
    if (!this.disposed) this.memory.transfer(0);
    super[Symbol.dispose]();
  }
}

const pinned = new WeakSet<ArrayBufferLike>();

/**
 * `bytes` bytes on the GPU, aligned to 256, with whatever they held. `label` names them in errors.
 * Errors: 'allocation-invalid', 'gpu-memory-exceeded', 'disposed', 'gpu-context-dead', 'cuda-failed'.
 */
export function allocate(context: Context, bytes: number, label: string): DeviceBuffer {
  const title = `the device memory "${label}"`;
  const pointer = obtain(context, title, bytes, 'cuMemAlloc', (driver, out) => driver.cuMemAlloc(out, bytes));
  return new DeviceBuffer(context, title, bytes, handle(pointer), null);
}

/** Like `allocate`, in the order of a stream: usable by what is enqueued there later, and freed in its order, too. */
export function allocateOn(stream: Stream, bytes: number, label: string): DeviceBuffer {
  const { context } = stream;
  const title = `the device memory "${label}"`;
  if (stream.capture !== null) throw errors.captureInvalid(`${title} is allocated inside it`);
  const pointer = obtain(context, title, bytes, 'cuMemAllocAsync', (driver, out) =>
    driver.cuMemAllocAsync(out, bytes, stream.handle),
  );
  return new DeviceBuffer(context, title, bytes, handle(pointer), stream);
}

/** `bytes` bytes of page-locked host memory. Errors: as `allocate`. */
export function allocatePinned(context: Context, bytes: number, label: string): PinnedBuffer {
  const title = `the pinned memory "${label}"`;
  const pointer = obtain(context, title, bytes, 'cuMemHostAlloc', (driver, out) =>
    driver.cuMemHostAlloc(out, bytes, 0),
  );
  return new PinnedBuffer(context, title, handle(pointer), context.enter().native.view(pointer, bytes));
}

function obtain(
  context: Context,
  title: string,
  bytes: number,
  call: string,
  run: (driver: Driver, out: BigUint64Array) => CUresult,
): bigint {
  if (!(Number.isSafeInteger(bytes) && bytes > 0)) throw errors.allocationInvalid(title, bytes);
  const out = new BigUint64Array(1);
  const code = run(context.enter(), out);
  if (code === CUDA_ERROR_OUT_OF_MEMORY && call !== 'cuMemHostAlloc') {
    const { free, total } = context.memory();
    throw errors.gpuMemoryExceeded(title, bytes, free, total);
  }
  context.check(code, call, `${title} of ${bytes} bytes`);
  return out[0]!;
}

/**
 * Copies all of `from` to the beginning of `to`. Errors: 'range-outside', 'memory-not-pinned', 'context-foreign', 'disposed',
 * 'gpu-context-dead', 'gpu-fault', 'cuda-failed'.
 */
export function copyToDevice(to: DeviceMemory, from: ArrayBufferView, stream?: Stream): void {
  const { byteLength: bytes } = from;
  checkRange(to, 0, bytes);
  if (stream !== undefined) checkPinned(from);
  perform('cuMemcpyHtoD', to, to, bytes, stream, (driver, queue) =>
    queue === null
      ? driver.cuMemcpyHtoD(to.pointer, from, bytes)
      : driver.cuMemcpyHtoDAsync(to.pointer, from, bytes, queue),
  );
}

/** Copies the beginning of `from` to all of `to`. Without a stream it waits for all work of the context. Errors: as `copyToDevice`. */
export function copyToHost(to: ArrayBufferView, from: DeviceMemory, stream?: Stream): void {
  const { byteLength: bytes } = to;
  checkRange(from, 0, bytes);
  if (stream !== undefined) checkPinned(to);
  perform('cuMemcpyDtoH', from, from, bytes, stream, (driver, queue) =>
    queue === null
      ? driver.cuMemcpyDtoH(to, from.pointer, bytes)
      : driver.cuMemcpyDtoHAsync(to, from.pointer, bytes, queue),
  );
  if (stream === undefined && bytes > 0) from.context.settled();
}

/** Copies all of `from` to the beginning of `to`; the host does not wait. Errors: as `copyToDevice`. */
export function copyOnDevice(to: DeviceMemory, from: DeviceMemory, stream?: Stream): void {
  const { bytes } = from;
  checkRange(to, 0, bytes);
  perform('cuMemcpyDtoD', to, from, bytes, stream, (driver, queue) =>
    queue === null
      ? driver.cuMemcpyDtoD(to.pointer, from.pointer, bytes)
      : driver.cuMemcpyDtoDAsync(to.pointer, from.pointer, bytes, queue),
  );
}

/** Sets every byte to `value`, 0 .. 255; the host does not wait. Errors: 'fill-invalid', else as `copyToDevice`. */
export function fillBytes(memory: DeviceMemory, value: number, stream?: Stream): void {
  checkFill(memory, 8, value);
  perform('cuMemsetD8', memory, memory, memory.bytes, stream, (driver, queue) =>
    queue === null
      ? driver.cuMemsetD8(memory.pointer, value, memory.bytes)
      : driver.cuMemsetD8Async(memory.pointer, value, memory.bytes, queue),
  );
}

/** Sets every 32-bit word to `value`, 0 .. 2^32 - 1; the host does not wait. Errors: 'fill-invalid', else as `copyToDevice`. */
export function fillWords(memory: DeviceMemory, value: number, stream?: Stream): void {
  checkFill(memory, 32, value);
  const words = memory.bytes / 4;
  perform('cuMemsetD32', memory, memory, memory.bytes, stream, (driver, queue) =>
    queue === null
      ? driver.cuMemsetD32(memory.pointer, value, words)
      : driver.cuMemsetD32Async(memory.pointer, value, words, queue),
  );
}

/** One copy or fill, at once (`queue` null) or on a stream; nothing for 0 bytes. */
function perform(
  call: string,
  to: DeviceMemory,
  from: DeviceMemory,
  bytes: number,
  stream: Stream | undefined,
  run: (driver: Driver, queue: CUstream | null) => CUresult,
): void {
  const { context } = to;
  checkContext(context, from);
  if (stream !== undefined) checkContext(context, stream);
  const driver = context.enter();
  if (bytes === 0) return;
  const code = run(driver, stream?.handle ?? null);
  context.check(code, stream === undefined ? call : `${call}Async`, to.title);
  stream?.holds([to, from]);
}

function checkRange(memory: DeviceMemory, offset: number, bytes: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(bytes);
  if (!whole || offset < 0 || bytes < 0 || offset + bytes > memory.bytes) {
    throw errors.rangeOutside(memory.title, memory.bytes, offset, bytes);
  }
}

function checkPinned(view: ArrayBufferView): void {
  if (!pinned.has(view.buffer)) throw errors.memoryNotPinned(view.byteLength);
}

function checkFill(memory: DeviceMemory, bits: number, value: number): void {
  const fits = Number.isInteger(value) && value >= 0 && value < 2 ** bits;
  const whole = memory.bytes % (bits / 8) === 0 && memory.pointer % BigInt(bits / 8) === 0n;
  if (!fits || !whole) throw errors.fillInvalid(memory.title, bits, value, memory.bytes);
}
