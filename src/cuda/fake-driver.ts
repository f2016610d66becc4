// The calls of the fake driver: memory is ArrayBuffers, streams run at once, kernels are functions registered by name.
import { untilZero } from './device.ts';
import type { CUresult, Driver, Memory } from './driver.ts';
import { H200 } from './fake-device.ts';
import { FakeFault, type FakeLaunch, readLaunch } from './fake-launch.ts';
import { AddressSpace } from './fake-memory.ts';
import { complaint, entriesOf, type Entry } from './fake-program.ts';
import { writeFakeTensorMap } from './fake-tensor-map.ts';
import * as cuda from './header.ts';

export interface FakeOptions {
  /** As cuDriverGetVersion says it. */
  readonly version?: number;
  readonly devices?: number;
  readonly memoryBytes?: number;
  /** Device attributes that differ from an H200's. */
  readonly attributes?: Readonly<Record<number, number>>;
  /** What a kernel of that name does; a kernel that is not listed does nothing. */
  readonly kernels?: Readonly<Record<string, (launch: FakeLaunch) => void>>;
  /** False for a driver before 12.4, which cannot tell a kernel's parameters. */
  readonly parameterInfo?: boolean;
  /** False for a driver that lacks cuTensorMapEncodeTiled. */
  readonly tensorMaps?: boolean;
}

/** What decides whether a call is made at all; the fake sets both, too. */
export interface FakeState {
  /** What every call returns once a kernel has failed; 0 before. */
  death: CUresult;
  /** The current context; 0 for none. */
  current: bigint;
}

const DEFAULTS = { version: 13_000, devices: 1, memoryBytes: 2 ** 30, parameterInfo: true, tensorMaps: true };
const NEWEST_PTX = 9;
const CUBIN_MAGIC = 'FAKE CUBIN ';
/** What each piece of work takes on the fake's clock, in milliseconds; an exact binary fraction. */
const WORK_MS = 0.25;

interface Node {
  readonly name: string;
  readonly run: () => void;
}
interface FakeStream {
  capture: Node[] | null;
  broken: boolean;
}

/** A driver, and how many handles and allocations of it are live. */
export function fakeDriver(
  options: FakeOptions,
  state: FakeState,
): { readonly driver: Driver; readonly live: () => number } {
  const { version, devices, memoryBytes, parameterInfo, tensorMaps } = { ...DEFAULTS, ...options };
  const device = new AddressSpace(0x7f00_0000_0000n);
  // As malloc does it: aligned to 16 and no more.
  const host = new AddressSpace(0x1000_0010n);
  const pinned = new Set<bigint>();
  const modules = new Map<bigint, ReadonlyMap<string, Entry>>();
  const functions = new Map<bigint, { readonly entry: Entry; readonly attributes: Map<number, number> }>();
  const links = new Map<bigint, { readonly options: Int32Array; readonly values: BigUint64Array; ptx: string }>();
  const streams = new Map<bigint, FakeStream>();
  const events = new Map<bigint, { at: number | null }>();
  const graphs = new Map<bigint, readonly Node[]>();
  const execs = new Map<bigint, readonly Node[]>();
  const allocated = new Map<bigint, number>();
  let clock = 0;
  let nextHandle = 0x5000n;

  const { CUDA_SUCCESS: ok, CUDA_ERROR_INVALID_VALUE: invalid, CUDA_ERROR_INVALID_HANDLE: badHandle } = cuda;
  /** Stores a new thing and writes its handle. */
  const give = <T>(out: BigUint64Array, things: Map<bigint, T>, thing: T): CUresult => {
    nextHandle += 16n;
    things.set(nextHandle, thing);
    out[0] = nextHandle;
    return ok;
  };
  const take = (things: Map<bigint, unknown>, it: bigint): CUresult => (things.delete(it) ? ok : badHandle);
  const hostBytes = (memory: Memory, bytes: number): Uint8Array | null =>
    typeof memory === 'bigint' ? host.at(memory, bytes) : new Uint8Array(memory.buffer, memory.byteOffset, bytes);

  /** Runs work, or records it where the stream is under capture. A fault does not show before the next call. */
  const enqueue = (stream: bigint, name: string, run: () => void): CUresult => {
    const queue = streams.get(stream);
    if (queue === undefined) return badHandle;
    if (queue.capture === null) runAll([{ name, run }]);
    else queue.capture.push({ name, run });
    return ok;
  };
  const runAll = (nodes: readonly Node[]): void => {
    for (const node of nodes) {
      clock += WORK_MS;
      try {
        node.run();
      } catch (error) {
        if (!(error instanceof FakeFault)) throw error;
        state.death = error.code;
        return;
      }
    }
  };
  /** What must not be called between the beginning and the end of a capture. */
  const outsideCapture = (code: CUresult, run: () => CUresult): CUresult => {
    const capturing = [...streams.values()].filter(({ capture }) => capture !== null);
    for (const stream of capturing) stream.broken = true;
    return capturing.length > 0 ? code : run();
  };
  const implicit = (run: () => CUresult): CUresult => outsideCapture(cuda.CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, run);
  const unsupported = (run: () => CUresult): CUresult =>
    outsideCapture(cuda.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, run);

  const allocate = (out: BigUint64Array, bytes: number): CUresult => {
    if (bytes > free()) return cuda.CUDA_ERROR_OUT_OF_MEMORY;
    out[0] = device.place(new ArrayBuffer(bytes));
    allocated.set(out[0], bytes);
    return ok;
  };
  const free = (): number => memoryBytes - [...allocated.values()].reduce((sum, bytes) => sum + bytes, 0);
  const release = (pointer: bigint): CUresult => (allocated.delete(pointer) && device.remove(pointer) ? ok : invalid);
  const move = (to: Uint8Array | null, from: Uint8Array | null): CUresult => {
    if (to === null || from === null) return invalid;
    to.set(from);
    return ok;
  };
  const later = (stream: bigint, name: string, to: Uint8Array | null, from: Uint8Array | null): CUresult =>
    to === null || from === null ? invalid : enqueue(stream, name, () => to.set(from));
  const words = (memory: Uint8Array | null, value: number): void => {
    if (memory === null) throw new FakeFault(cuda.CUDA_ERROR_ILLEGAL_ADDRESS);
    for (let i = 0; i < memory.length; i += 4)
      new DataView(memory.buffer, memory.byteOffset + i).setUint32(0, value, true);
  };

  /** Checks PTX, with the compiler's words in the buffer that the options name. */
  const compile = (ptx: string, names: Int32Array, values: BigUint64Array): CUresult => {
    const wrong = complaint(ptx, NEWEST_PTX);
    if (wrong === null) return ok;
    const address = values[names.indexOf(cuda.CU_JIT_ERROR_LOG_BUFFER)] ?? 0n;
    const bytes = Number(values[names.indexOf(cuda.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)] ?? 0n);
    const buffer = host.at(address, bytes);
    buffer?.set(new TextEncoder().encode(wrong.log).subarray(0, bytes - 1));
    return wrong.tooNew ? cuda.CUDA_ERROR_UNSUPPORTED_PTX_VERSION : cuda.CUDA_ERROR_INVALID_PTX;
  };
  const textOf = (image: Memory): string =>
    typeof image === 'bigint' ? '' : untilZero(new Uint8Array(image.buffer, image.byteOffset, image.byteLength));

  const launch = (config: bigint, kernel: bigint, parameters: bigint): CUresult => {
    const entry = functions.get(kernel)?.entry;
    if (entry === undefined) return badHandle;
    const { stream, faked } = readLaunch(host, device, entry, config, parameters);
    const run = options.kernels?.[entry.name];
    return enqueue(stream, entry.name, () => run?.(faked));
  };

  const names = new Map(
    Object.entries(cuda).flatMap(([name, value]) => (name.startsWith('CUDA_') ? [[value, name]] : [])),
  );
  const string = (text: string): bigint => host.place(new TextEncoder().encode(`${text}\0`).buffer);

  const driver: Driver = {
    native: {
      address: (view) => host.place(view.buffer) + BigInt(view.byteOffset),
      view: (address, bytes) => {
        const memory = host.at(address, bytes);
        if (!(memory?.buffer instanceof ArrayBuffer)) throw new RangeError(`no memory at ${address}`);
        return pinned.has(address) ? memory.buffer : memory.slice().buffer;
      },
      string: (address) => untilZero(host.at(address)!),
    },
    cuInit: () => ok,
    cuDriverGetVersion: (out) => {
      out[0] = version;
      return ok;
    },
    cuGetErrorName: (code, out) => {
      const name = names.get(code);
      out[0] = name === undefined ? 0n : string(name);
      return name === undefined ? invalid : ok;
    },
    cuGetErrorString: (code, out) => {
      out[0] = string(`the words for ${code}`);
      return ok;
    },
    cuDeviceGetCount: (out) => {
      out[0] = devices;
      return devices === 0 ? cuda.CUDA_ERROR_NO_DEVICE : ok;
    },
    cuDeviceGet: (out, ordinal) => {
      out[0] = ordinal;
      return ordinal < devices ? ok : cuda.CUDA_ERROR_INVALID_DEVICE;
    },
    cuDeviceGetName: (name, length, index) => {
      name.set(new TextEncoder().encode(`Fake H200 ${index}\0`).subarray(0, length));
      return ok;
    },
    cuDeviceTotalMem: (out) => {
      out[0] = BigInt(memoryBytes);
      return ok;
    },
    cuDeviceGetAttribute: (out, attribute) => {
      const value = options.attributes?.[attribute] ?? H200[attribute];
      out[0] = value ?? 0;
      return value === undefined ? invalid : ok;
    },
    cuDevicePrimaryCtxRetain: (out, index) => {
      out[0] = 0x100n + BigInt(index);
      return ok;
    },
    cuDevicePrimaryCtxRelease: () => ok,
    cuCtxSetCurrent: (context) => {
      state.current = context;
      return ok;
    },
    cuCtxSynchronize: () => unsupported(() => ok),

    cuMemGetInfo: (outFree, outTotal) => {
      outFree[0] = BigInt(free());
      outTotal[0] = BigInt(memoryBytes);
      return ok;
    },
    cuMemAlloc: (out, bytes) => unsupported(() => allocate(out, bytes)),
    cuMemAllocAsync: (out, bytes) => allocate(out, bytes),
    cuMemFree: (pointer) => unsupported(() => release(pointer)),
    cuMemFreeAsync: (pointer, stream) => (streams.has(stream) ? release(pointer) : badHandle),
    cuMemHostAlloc: (out, bytes) => {
      out[0] = host.place(new ArrayBuffer(bytes));
      pinned.add(out[0]);
      return ok;
    },
    cuMemFreeHost: (pointer) => (pinned.delete(pointer) && host.remove(pointer) ? ok : invalid),
    cuMemcpyHtoD: (to, from, bytes) => implicit(() => move(device.at(to, bytes), hostBytes(from, bytes))),
    cuMemcpyDtoH: (to, from, bytes) => implicit(() => move(hostBytes(to, bytes), device.at(from, bytes))),
    cuMemcpyDtoD: (to, from, bytes) => implicit(() => move(device.at(to, bytes), device.at(from, bytes))),
    cuMemcpyHtoDAsync: (to, from, bytes, stream) => later(stream, 'HtoD', device.at(to, bytes), hostBytes(from, bytes)),
    cuMemcpyDtoHAsync: (to, from, bytes, stream) => later(stream, 'DtoH', hostBytes(to, bytes), device.at(from, bytes)),
    cuMemcpyDtoDAsync: (to, from, bytes, stream) => later(stream, 'DtoD', device.at(to, bytes), device.at(from, bytes)),
    cuMemsetD8: (to, value, count) =>
      implicit(() => {
        device.at(to, count)?.fill(value);
        return ok;
      }),
    cuMemsetD32: (to, value, count) =>
      implicit(() => {
        words(device.at(to, 4 * count), value);
        return ok;
      }),
    cuMemsetD8Async: (to, value, count, stream) => enqueue(stream, 'set8', () => device.at(to, count)?.fill(value)),
    cuMemsetD32Async: (to, value, count, stream) =>
      enqueue(stream, 'set32', () => words(device.at(to, 4 * count), value)),

    cuModuleLoadData: (out, image) => {
      const text = textOf(image);
      if (!text.startsWith(CUBIN_MAGIC)) return cuda.CUDA_ERROR_INVALID_IMAGE;
      return give(out, modules, entriesOf(text));
    },
    cuModuleLoadDataEx: (out, image, _count, optionNames, values) => {
      const text = textOf(image);
      const code = compile(text, optionNames, values);
      return code === ok ? give(out, modules, entriesOf(text)) : code;
    },
    cuModuleUnload: (module) => take(modules, module),
    cuModuleGetFunction: (out, module, name) => {
      const entry = modules.get(module)?.get(name);
      if (entry === undefined) return cuda.CUDA_ERROR_NOT_FOUND;
      const attributes = new Map([
        [cuda.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, entry.threadsPerBlock],
        [cuda.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, entry.sharedBytes],
        [cuda.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, 0],
        [cuda.CU_FUNC_ATTRIBUTE_NUM_REGS, 32],
        [cuda.CU_FUNC_ATTRIBUTE_BINARY_VERSION, 90],
        [cuda.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 49_152 - entry.sharedBytes],
      ]);
      return give(out, functions, { entry, attributes });
    },
    cuLinkCreate: (_count, optionNames, values, out) => give(out, links, { options: optionNames, values, ptx: '' }),
    cuLinkAddData: (state, _type, data) => {
      const link = links.get(state);
      if (link === undefined) return badHandle;
      link.ptx = textOf(data);
      return compile(link.ptx, link.options, link.values);
    },
    cuLinkComplete: (state, cubin, bytes) => {
      const image = new TextEncoder().encode(CUBIN_MAGIC + (links.get(state)?.ptx ?? ''));
      cubin[0] = host.place(image.buffer);
      bytes[0] = BigInt(image.length);
      return ok;
    },
    cuLinkDestroy: (state) => take(links, state),
    cuFuncGetAttribute: (out, attribute, kernel) => {
      const value = functions.get(kernel)?.attributes.get(attribute);
      out[0] = value ?? 0;
      return value === undefined ? invalid : ok;
    },
    cuFuncSetAttribute: (kernel, attribute, value) => {
      functions.get(kernel)?.attributes.set(attribute, value);
      return ok;
    },
    cuFuncGetParamInfo: (kernel, index, offset, bytes) => {
      const sizes = functions.get(kernel)?.entry.parameterBytes ?? [];
      offset[0] = 0n;
      bytes[0] = BigInt(sizes[index] ?? 0);
      if (!parameterInfo) return cuda.CUDA_ERROR_NOT_SUPPORTED;
      return index < sizes.length ? ok : invalid;
    },
    cuLaunchKernelEx: (config, kernel, parameters) => launch(config, kernel, parameters),

    cuTensorMapEncodeTiled: (map, type, rank, address, sizes, strides, box, elementStrides, ...modes) => {
      const out = host.at(map, cuda.CUtensorMap.bytes);
      if (!tensorMaps) return cuda.CUDA_ERROR_NOT_SUPPORTED;
      if (out === null || map % 128n !== 0n) return invalid;
      writeFakeTensorMap(out, { type, rank, address, sizes, strides, box, elementStrides, modes });
      return ok;
    },

    cuStreamCreate: (out) => give(out, streams, { capture: null, broken: false }),
    cuStreamDestroy: (stream) => take(streams, stream),
    cuStreamSynchronize: (stream) => (streams.get(stream)?.capture === null ? ok : unsupported(() => badHandle)),
    cuStreamQuery: (stream) => (streams.has(stream) ? ok : badHandle),
    cuStreamWaitEvent: (stream, event) => (streams.has(stream) && events.has(event) ? ok : badHandle),
    cuStreamBeginCapture: (stream) => {
      const queue = streams.get(stream);
      if (queue === undefined) return badHandle;
      queue.capture = [];
      queue.broken = false;
      return ok;
    },
    cuStreamEndCapture: (stream, out) => {
      const queue = streams.get(stream);
      const nodes = queue?.capture;
      out[0] = 0n;
      if (queue === undefined || nodes === undefined || nodes === null) return cuda.CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
      queue.capture = null;
      return queue.broken ? cuda.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : give(out, graphs, nodes);
    },

    cuEventCreate: (out) => give(out, events, { at: null }),
    cuEventRecord: (event, stream) => {
      const marked = events.get(event);
      if (marked === undefined || !streams.has(stream)) return badHandle;
      marked.at = clock;
      return ok;
    },
    cuEventQuery: (event) => (events.has(event) ? ok : badHandle),
    cuEventSynchronize: (event) => (events.has(event) ? ok : badHandle),
    cuEventElapsedTime: (out, start, end) => {
      const [from, to] = [events.get(start)?.at ?? null, events.get(end)?.at ?? null];
      if (from === null || to === null) return badHandle;
      out[0] = to - from;
      return ok;
    },
    cuEventDestroy: (event) => take(events, event),

    cuGraphInstantiateWithFlags: (out, graph) => {
      const nodes = graphs.get(graph);
      return nodes === undefined ? badHandle : give(out, execs, nodes);
    },
    cuGraphExecUpdate: (exec, graph, result) => {
      const [before, after] = [execs.get(exec), graphs.get(graph)];
      if (before === undefined || after === undefined) return badHandle;
      const same = before.length === after.length && before.every(({ name }, i) => name === after[i]!.name);
      const reason = same ? cuda.CU_GRAPH_EXEC_UPDATE_SUCCESS : cuda.CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
      new DataView(result.buffer, result.byteOffset).setInt32(cuda.CUgraphExecUpdateResultInfo.result, reason, true);
      if (!same) return cuda.CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
      execs.set(exec, after);
      return ok;
    },
    cuGraphLaunch: (exec, stream) => {
      const nodes = execs.get(exec);
      return nodes === undefined ? badHandle : enqueue(stream, 'graph', () => runAll(nodes));
    },
    cuGraphExecDestroy: (exec) => take(execs, exec),
    cuGraphDestroy: (graph) => take(graphs, graph),
  };

  const things = [modules, links, streams, events, graphs, execs];
  return { driver, live: () => things.reduce((sum, { size }) => sum + size, device.size + pinned.size) };
}
