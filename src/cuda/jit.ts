// PTX text in, machine code out, by the compiler inside the driver; and what it says when it refuses. Knows no cache.
import { errors, type MarlinError } from '../base/errors.ts';
import type { Context } from './context.ts';
import { capabilityText, untilZero } from './device.ts';
import { type CUlinkState, type CUmodule, type CUresult, type Driver, handle, versionText } from './driver.ts';
import * as cuda from './header.ts';

export interface JitOptions {
  /** Registers a thread may use at most, 16 .. 255; without it what .maxntid and .maxnreg of the PTX allow. */
  readonly maxRegisters?: number;
  /** Keeps the .loc lines of the PTX for profilers and compute-sanitizer; costs no speed. */
  readonly lineInfo?: boolean;
}

/** PTX text with a name for messages ('the module "gemm"'). */
export interface Source {
  readonly title: string;
  readonly ptx: string;
}

/** Errors: 'jit-option-invalid'. */
export function checkOptions({ maxRegisters }: JitOptions): void {
  if (maxRegisters === undefined) return;
  if (Number.isInteger(maxRegisters) && maxRegisters >= 16 && maxRegisters <= 255) return;
  throw errors.jitOptionInvalid('maxRegisters', maxRegisters, 'a whole number of 16 to 255');
}

const LOG_BYTES = 16384;

/** The options of one compilation as C takes them, with the buffers the compiler writes its log to; all of it must outlive the compilation. */
interface JitCall {
  readonly options: Int32Array;
  readonly values: BigUint64Array;
  readonly info: Uint8Array;
  readonly error: Uint8Array;
}

function jitCall(driver: Driver, { maxRegisters, lineInfo }: JitOptions): JitCall {
  const info = new Uint8Array(new ArrayBuffer(LOG_BYTES));
  const error = new Uint8Array(new ArrayBuffer(LOG_BYTES));
  const pairs: (readonly [number, bigint])[] = [
    [cuda.CU_JIT_INFO_LOG_BUFFER, driver.native.address(info)],
    [cuda.CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, BigInt(LOG_BYTES)],
    [cuda.CU_JIT_ERROR_LOG_BUFFER, driver.native.address(error)],
    [cuda.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, BigInt(LOG_BYTES)],
    [cuda.CU_JIT_LOG_VERBOSE, 1n],
    [cuda.CU_JIT_GENERATE_LINE_INFO, lineInfo === true ? 1n : 0n],
  ];
  if (maxRegisters !== undefined) pairs.push([cuda.CU_JIT_MAX_REGISTERS, BigInt(maxRegisters)]);
  return {
    options: Int32Array.from(pairs, ([option]) => option),
    values: BigUint64Array.from(pairs, ([, value]) => value),
    info,
    error,
  };
}

/** C's text: UTF-8 and a zero. */
function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

/**
 * Compiles PTX as a whole and loads it. The driver keeps the result in a cache of its own (CUDA_CACHE_PATH). `log` is what the compiler said, ''
 * where that cache had it. Errors: 'ptx-rejected', 'ptx-too-new', 'gpu-unsupported', 'gpu-context-dead', 'cuda-failed'.
 */
export function compileAndLoad(
  context: Context,
  source: Source,
  options: JitOptions,
): { module: CUmodule; log: string } {
  const driver = context.enter();
  const call = jitCall(driver, options);
  const out = new BigUint64Array(1);
  const code = driver.cuModuleLoadDataEx(out, cString(source.ptx), call.options.length, call.options, call.values);
  if (code !== cuda.CUDA_SUCCESS) throw rejection(context, source, 'cuModuleLoadDataEx', code, untilZero(call.error));
  return { module: handle(out[0]), log: untilZero(call.info).trim() };
}

/**
 * Compiles PTX to a cubin that can be kept. The driver does this only as relocatable code, which is slower (loadModule says how much).
 * Errors: as `compileAndLoad`.
 */
export function compileRelocatable(
  context: Context,
  source: Source,
  options: JitOptions,
): { cubin: Uint8Array<ArrayBuffer>; log: string } {
  const driver = context.enter();
  const call = jitCall(driver, options);
  const out = new BigUint64Array(1);
  context.check(driver.cuLinkCreate(call.options.length, call.options, call.values, out), 'cuLinkCreate', source.title);
  const link: CUlinkState = handle(out[0]);
  try {
    const ptx = cString(source.ptx);
    const added = driver.cuLinkAddData(link, cuda.CU_JIT_INPUT_PTX, ptx, ptx.length, source.title, 0, null, null);
    if (added !== cuda.CUDA_SUCCESS) throw rejection(context, source, 'cuLinkAddData', added, untilZero(call.error));
    const bytes = new BigUint64Array(1);
    const linked = driver.cuLinkComplete(link, out, bytes);
    if (linked !== cuda.CUDA_SUCCESS) throw rejection(context, source, 'cuLinkComplete', linked, untilZero(call.error));
    // The link owns the cubin: copied before it goes.
    const cubin = new Uint8Array(driver.native.view(out[0]!, Number(bytes[0]))).slice();
    return { cubin, log: untilZero(call.info).trim() };
  } finally {
    driver.cuLinkDestroy(link);
  }
}

function rejection(context: Context, source: Source, call: string, code: CUresult, log: string): MarlinError {
  const { title, ptx } = source;
  const said = withLines(log.trim(), ptx);
  const { device } = context;
  switch (code) {
    case cuda.CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
      return errors.ptxTooNew(title, directive(ptx, 'version'), versionText(context.driverVersion), said);
    case cuda.CUDA_ERROR_NO_BINARY_FOR_GPU:
      return errors.gpuUnsupported(title, directive(ptx, 'target'), device.name, capabilityText(device));
    case cuda.CUDA_ERROR_INVALID_PTX:
    case cuda.CUDA_ERROR_INVALID_IMAGE:
      return errors.ptxRejected(title, call, context.words(code), said);
    default:
      return context.failure(code, call, said === '' ? title : `${title} (${said})`);
  }
}

function directive(ptx: string, name: string): string {
  return new RegExp(`^\\s*\\.${name}\\s+(.+?)\\s*(?://.*)?$`, 'm').exec(ptx)?.[1] ?? '(no version)';
}

/** The log, each line that names a line of the PTX with that line behind it. */
function withLines(log: string, ptx: string): string {
  const lines = ptx.split('\n');
  return log
    .split('\n')
    .map((message) => {
      const number = /\bline (\d+)\b/.exec(message)?.[1];
      const line = number === undefined ? undefined : lines[Number(number) - 1];
      return line === undefined ? message : `${message} [${line.trim()}]`;
    })
    .join('\n');
}
