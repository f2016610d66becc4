// Finds, compiles and instantiates the WebAssembly kernels; relaxed SIMD where the engine has it.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { errors } from '../base/errors.ts';

/** Every exported kernel and whether it wants the calling thread's scratch memory before its (begin, end) range. */
export const kernelTable = {
  addRows: { scratch: false },
  attentionMatrix: { scratch: true },
  attentionVector: { scratch: true },
  gram: { scratch: false },
  gramPack: { scratch: false },
  packRows: { scratch: false },
  rmsNorm: { scratch: false },
  ropeAndStore: { scratch: false },
  roundActivations: { scratch: false },
  roundBlock: { scratch: false },
  searchScales: { scratch: true },
  subtractDots: { scratch: false },
  subtractProduct: { scratch: true },
  siluMultiply: { scratch: false },
  unpackRows: { scratch: false },
  w16Matrix: { scratch: true },
  w16Rows: { scratch: false },
  w16Vector: { scratch: false },
  w4Matrix: { scratch: true },
  w4Vector16: { scratch: false },
  w4Vector8: { scratch: false },
} as const;

export type KernelName = keyof typeof kernelTable;
export const kernelNames: readonly KernelName[] = Object.keys(kernelTable).filter(isKernelName);

function isKernelName(name: string): name is KernelName {
  return name in kernelTable;
}

/** A kernel as the host calls it: addresses, sizes and floats, then the range of items [begin, end). */
export type Kernel = (...parameters: number[]) => void;
export type Kernels = Readonly<Record<KernelName, Kernel>>;

/** 'pairs': relaxed, for processors without a dot product of bytes (assembly/w4.ts). */
export type SimdLevel = 'relaxed' | 'pairs' | 'plain';

function moduleBytes(level: SimdLevel): Uint8Array<ArrayBuffer> {
  const path = fileURLToPath(new URL(`kernels.${level}.wasm`, import.meta.url));
  if (!existsSync(path)) throw errors.kernelsNotBuilt(path);
  return Uint8Array.from(readFileSync(path));
}

/** The best level this engine validates; null when it has no WebAssembly SIMD or threads at all. */
export function simdLevel(): SimdLevel | null {
  if (WebAssembly.validate(moduleBytes('relaxed'))) return hasByteDotProduct() ? 'relaxed' : 'pairs';
  return WebAssembly.validate(moduleBytes('plain')) ? 'plain' : null;
}

/** Whether the engine makes one instruction of a dot product of bytes: not on x64 before AVX-VNNI. Where it cannot be told, yes. */
function hasByteDotProduct(): boolean {
  if (process.arch !== 'x64' || process.platform !== 'linux') return true;
  try {
    return / avx_vnni\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    return true;
  }
}

/** Compiles the kernels. Errors: 'cpu-unsupported' without SIMD, 'kernels-not-built' in a checkout that was not built. */
export function compileKernels(level: SimdLevel | null = simdLevel()): WebAssembly.Module {
  if (level === null) throw errors.cpuUnsupported();
  return new WebAssembly.Module(moduleBytes(level));
}

export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const pick = (name: KernelName): Kernel => {
    const found = exports[name];
    if (typeof found !== 'function') throw errors.internal(`the WebAssembly module has no kernel ${name}`);
    return (...parameters) => void found(...parameters);
  };
  return {
    addRows: pick('addRows'),
    attentionMatrix: pick('attentionMatrix'),
    attentionVector: pick('attentionVector'),
    gram: pick('gram'),
    gramPack: pick('gramPack'),
    packRows: pick('packRows'),
    rmsNorm: pick('rmsNorm'),
    ropeAndStore: pick('ropeAndStore'),
    roundActivations: pick('roundActivations'),
    roundBlock: pick('roundBlock'),
    searchScales: pick('searchScales'),
    subtractDots: pick('subtractDots'),
    subtractProduct: pick('subtractProduct'),
    siluMultiply: pick('siluMultiply'),
    unpackRows: pick('unpackRows'),
    w16Matrix: pick('w16Matrix'),
    w16Rows: pick('w16Rows'),
    w16Vector: pick('w16Vector'),
    w4Matrix: pick('w4Matrix'),
    w4Vector16: pick('w4Vector16'),
    w4Vector8: pick('w4Vector8'),
  };
}
