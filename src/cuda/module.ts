// Modules (PTX text made into loaded machine code) and the kernels in them. Knows no launch.
import { errors } from '../base/errors.ts';
import { cacheFolder, cacheKey, readCubin, writeCubin } from './cache.ts';
import { isFault } from './check.ts';
import type { Context } from './context.ts';
import { capabilityText } from './device.ts';
import { type CUfunction, type CUmodule, handle } from './driver.ts';
import * as cuda from './header.ts';
import { checkOptions, compileAndLoad, compileRelocatable, type JitOptions, type Source } from './jit.ts';
import { Resource } from './resource.ts';

export interface ModuleOptions extends JitOptions {
  /** Names the module in errors. */
  readonly label: string;
  /**
   * Compiles to a cubin that is kept in marlin-ts's own cache on disk. Off by default, since the driver makes such a cubin only as relocatable
   * code: with ptxas 13.0 that took an unrolled f32 tile product from 107 to 128 registers, called division instead of inlining it, and ignored
   * setmaxnreg (C7504). Without it the driver compiles the module as a whole and uses its own cache.
   */
  readonly relocatable?: boolean;
  /** The folder of that cache, null for none; by default what `cacheFolder` says. */
  readonly cache?: string | null;
}

/** How a module came to be. */
export interface LoadReport {
  /** 'driver': compiled as a whole, unless the driver's own cache had it; 'hit' and 'miss': of our cache; 'off': without any. */
  readonly cache: 'driver' | 'hit' | 'miss' | 'off';
  /** From PTX text to loaded module. */
  readonly milliseconds: number;
  /** What the compiler said (registers, spills, lost performance); '' when nothing was compiled. */
  readonly log: string;
}

/**
 * Compiles and loads PTX. Errors: 'ptx-rejected' with the compiler's log, 'ptx-too-new', 'gpu-unsupported', 'jit-option-invalid',
 * 'cache-folder-invalid', 'disposed', 'gpu-context-dead', 'cuda-failed'.
 */
export function loadModule(context: Context, ptx: string, options: ModuleOptions): Module {
  checkOptions(options);
  const source: Source = { title: `the module "${options.label}"`, ptx };
  const start = performance.now();
  const { module, cache, log } =
    options.relocatable === true ? loadCached(context, source, options) : loadWhole(context, source, options);
  return new Module(context, source.title, module, { cache, milliseconds: performance.now() - start, log });
}

interface Loaded {
  readonly module: CUmodule;
  readonly cache: LoadReport['cache'];
  readonly log: string;
}

function loadWhole(context: Context, source: Source, options: JitOptions): Loaded {
  return { ...compileAndLoad(context, source, options), cache: 'driver' };
}

function loadCached(context: Context, source: Source, options: ModuleOptions): Loaded {
  const folder = options.cache === undefined ? cacheFolder() : options.cache;
  const { maxRegisters, lineInfo } = options;
  const key = cacheKey([
    source.ptx,
    context.driverVersion,
    capabilityText(context.device),
    maxRegisters ?? null,
    lineInfo === true,
  ]);
  const kept = folder === null ? null : readCubin(folder, key);
  const module = kept === null ? null : loadKept(context, kept);
  if (module !== null) return { module, cache: 'hit', log: '' };
  const { cubin, log } = compileRelocatable(context, source, options);
  const out = new BigUint64Array(1);
  context.check(context.enter().cuModuleLoadData(out, cubin), 'cuModuleLoadData', source.title);
  const written = folder !== null && writeCubin(folder, key, cubin);
  return { module: handle(out[0]), cache: written ? 'miss' : 'off', log };
}

/** Null if the driver does not take the cubin, though it is the one that was written: another driver of the same CUDA version may have made it. */
function loadKept(context: Context, cubin: Uint8Array): CUmodule | null {
  const out = new BigUint64Array(1);
  const code = context.enter().cuModuleLoadData(out, cubin);
  if (isFault(code)) throw context.failure(code, 'cuModuleLoadData');
  return code === cuda.CUDA_SUCCESS ? handle(out[0]) : null;
}

export class Module extends Resource<CUmodule> {
  readonly report: LoadReport;
  private readonly kernels = new Map<string, Kernel>();

  constructor(context: Context, title: string, module: CUmodule, report: LoadReport) {
    super(context, title, module, { call: 'cuModuleUnload', run: (driver, it) => driver.cuModuleUnload(it) });
    this.report = report;
  }

  /** The kernel of that name (the same object each time). Errors: 'kernel-unknown', 'disposed', 'gpu-context-dead', 'cuda-failed'. */
  kernel(name: string): Kernel {
    const known = this.kernels.get(name);
    if (known !== undefined) return known;
    const out = new BigUint64Array(1);
    const code = this.context.enter().cuModuleGetFunction(out, this.handle, name);
    if (code === cuda.CUDA_ERROR_NOT_FOUND) throw errors.kernelUnknown(name, this.title);
    this.context.check(code, 'cuModuleGetFunction', `the kernel ${name}`);
    const kernel = new Kernel(this, name, handle(out[0]));
    this.kernels.set(name, kernel);
    return kernel;
  }
}

/** What the compiler made of a kernel; all for one thread or block. */
export interface KernelFacts {
  readonly registers: number;
  /** Local memory of a thread: spilled registers and arrays. 0 in a fast kernel. */
  readonly localBytes: number;
  /** Static shared memory of a block. */
  readonly sharedBytes: number;
  /** Threads a block may have, by registers and .maxntid. */
  readonly threadsPerBlock: number;
  /** 10 * major + minor of the machine code. */
  readonly binaryVersion: number;
}

export class Kernel {
  readonly module: Module;
  readonly name: string;
  readonly facts: KernelFacts;
  /** Size of each parameter; null when the driver is too old to say (before 12.4). */
  readonly parameterBytes: readonly number[] | null;
  private readonly function: CUfunction;
  private dynamicSharedLimit: number;
  private largeClusters = false;

  constructor(module: Module, name: string, kernel: CUfunction) {
    this.module = module;
    this.name = name;
    this.function = kernel;
    this.facts = {
      registers: this.attribute(cuda.CU_FUNC_ATTRIBUTE_NUM_REGS),
      localBytes: this.attribute(cuda.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES),
      sharedBytes: this.attribute(cuda.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES),
      threadsPerBlock: this.attribute(cuda.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
      binaryVersion: this.attribute(cuda.CU_FUNC_ATTRIBUTE_BINARY_VERSION),
    };
    this.dynamicSharedLimit = this.attribute(cuda.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
    this.parameterBytes = this.readParameters();
  }

  get context(): Context {
    return this.module.context;
  }

  get title(): string {
    return `the kernel "${this.name}"`;
  }

  /** Errors: 'disposed' once the module is gone. */
  get handle(): CUfunction {
    if (this.module.disposed) throw errors.disposed(`${this.title} of ${this.module.title}`);
    return this.function;
  }

  /** Lets blocks have `bytes` of dynamic shared memory; beyond 48 KiB a kernel must ask. Errors: 'launch-invalid' beyond what the GPU has. */
  allowShared(bytes: number): void {
    const { sharedBytesPerBlock: limit } = this.context.device;
    if (bytes + this.facts.sharedBytes > limit) {
      const found = `${bytes} bytes and ${this.facts.sharedBytes} static ones`;
      throw errors.launchInvalid(this.name, 'dynamic shared memory', found, `a block of this GPU has ${limit} bytes`);
    }
    if (bytes <= this.dynamicSharedLimit) return;
    this.setAttribute(cuda.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes);
    this.dynamicSharedLimit = bytes;
  }

  /** Lets clusters have more than the 8 blocks that every GPU with clusters can do. Errors: 'cuda-failed'. */
  allowLargeClusters(): void {
    if (this.largeClusters) return;
    this.setAttribute(cuda.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
    this.largeClusters = true;
  }

  private attribute(which: number): number {
    const value = new Int32Array(1);
    const code = this.context.enter().cuFuncGetAttribute(value, which, this.handle);
    this.context.check(code, 'cuFuncGetAttribute', this.title);
    return value[0]!;
  }

  private setAttribute(which: number, value: number): void {
    const code = this.context.enter().cuFuncSetAttribute(this.handle, which, value);
    this.context.check(code, 'cuFuncSetAttribute', this.title);
  }

  private readParameters(): readonly number[] | null {
    const driver = this.context.enter();
    const [offset, bytes] = [new BigUint64Array(1), new BigUint64Array(1)];
    const sizes: number[] = [];
    for (;;) {
      const code = driver.cuFuncGetParamInfo(this.handle, sizes.length, offset, bytes);
      if (code === cuda.CUDA_ERROR_NOT_SUPPORTED) return null;
      // The answer to an index beyond the last.
      if (code === cuda.CUDA_ERROR_INVALID_VALUE) return sizes;
      this.context.check(code, 'cuFuncGetParamInfo', this.title);
      sizes.push(Number(bytes[0]));
    }
  }
}
