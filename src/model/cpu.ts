// Ops on the CPU: maps a model's matrices and caches onto the kernels of cpu/. Knows no network.
import { bf16ToNumber, f16ToNumber } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import { simdLevel } from '../cpu/kernels.ts';
import { Cpu, type CpuCache, type CpuOptions } from '../cpu/cpu.ts';
import type { ActivationBits } from '../cpu/rounding.ts';
import { type Address, offset } from '../cpu/heap.ts';
import { type Activation, loadW16, loadW4, type Matrix, type W4Source } from '../cpu/matrix.ts';
import type { QuantizedMatrix } from '../formats/quantized.ts';
import type { CacheShape, Ops, ProductOptions } from './ops.ts';
import { asHalves, type HalfSource, type MatrixSource } from './weights.ts';

/** Rows of several matrices with one input; parts that the kernels can take together are one. */
interface CpuMatrix {
  readonly parts: readonly { readonly firstRow: number; readonly matrix: Matrix }[];
}

export interface CpuKinds {
  readonly activation: Activation;
  readonly matrix: CpuMatrix;
  readonly vector: Address;
  readonly cache: CpuCache;
}

/** Tokens of a step: whole tiles of 12, large enough to keep weights busy, small enough that a step's activations stay in the cache. */
const MAX_TOKENS = 384;

export interface CpuOpsOptions extends CpuOptions {
  readonly bits?: ActivationBits;
}

export class CpuOps implements Ops<CpuKinds> {
  readonly device = 'cpu';
  readonly maxTokens: number = MAX_TOKENS;
  readonly cpu: Cpu;
  private readonly bits: ActivationBits;
  private tables:
    (Pick<CpuCache, 'cosines' | 'sines'> & { readonly frequencies: Float64Array; readonly capacity: number }) | null =
    null;

  constructor(options: CpuOpsOptions) {
    this.cpu = new Cpu(options);
    this.bits = options.bits ?? 8;
  }

  activation(tokens: number, width: number): Activation {
    return this.cpu.activation(tokens, width);
  }

  /**
   * 4-bit matrices in activation order become f16 on the way.
   * Errors: 'columns-unsupported', 'group-unsupported', 'weight-not-finite', 'cpu-memory-exceeded' and those of reading.
   */
  matrix(sources: readonly MatrixSource[]): CpuMatrix {
    // Products read activations up to the next multiple of 8 columns (cpu/matrix.ts), and nobody keeps zeros there.
    for (const { name, columns } of sources) if (columns % 8 !== 0) throw errors.columnsUnsupported(name, columns);
    const parts: { firstRow: number; matrix: Matrix }[] = [];
    let firstRow = 0;
    const loaded = sources.map(brought);
    while (loaded.length > 0) {
      const next = loaded.shift()!;
      if ('kind' in next) {
        const { name, rows, columns, dtype, read } = next;
        parts.push({ firstRow, matrix: loadW16(this.cpu.heap, name, rows, columns, dtype, read) });
        firstRow += rows;
        continue;
      }
      const fused = [next];
      for (
        let other = loaded[0];
        other !== undefined && !('kind' in other) && other.group === next.group;
        other = loaded[0]
      ) {
        fused.push(other);
        loaded.shift();
      }
      parts.push({ firstRow, matrix: loadW4(this.cpu.heap, fused) });
      firstRow += fused.reduce((rows, part) => rows + part.rows, 0);
    }
    return { parts };
  }

  vector(values: Float32Array): Address {
    return this.cpu.vector(values);
  }

  cache(shape: CacheShape): CpuCache {
    const { layers, heads, kvHeads, headDim, frequencies } = shape;
    if (headDim % 32 !== 0) throw errors.headDimUnsupported(headDim);
    const capacity = Math.ceil(shape.context / 32) * 32;
    const block = (): Address => this.cpu.heap.allocate(kvHeads * capacity * headDim * 4);
    return {
      heads,
      kvHeads,
      headDim,
      capacity,
      keys: Array.from({ length: layers }, block),
      values: Array.from({ length: layers }, block),
      ...this.rotation(frequencies, capacity),
    };
  }

  /** Cosines and sines of all positions, shared by all caches. */
  private rotation(frequencies: Float64Array, capacity: number): Pick<CpuCache, 'cosines' | 'sines'> {
    const half = frequencies.length;
    const table = (f: (angle: number) => number): Address =>
      this.cpu.vector(
        Float32Array.from({ length: capacity * half }, (_, i) => f(Math.floor(i / half) * frequencies[i % half]!)),
      );
    if (this.tables?.frequencies !== frequencies || this.tables.capacity !== capacity) {
      this.tables = { frequencies, capacity, cosines: table(Math.cos), sines: table(Math.sin) };
    }
    return { cosines: this.tables.cosines, sines: this.tables.sines };
  }

  step(_ids: Uint32Array, _position: number, _cache: CpuCache, body: () => void): void {
    body();
  }

  embed(table: CpuMatrix, ids: Uint32Array, y: Activation): void {
    const { matrix } = table.parts[0]!;
    if (matrix.kind !== 'w16') throw errors.internal('rows can be looked up in a 16-bit matrix only');
    this.cpu.embed(matrix, ids, y);
  }

  rmsNorm(x: Activation, gain: Address, epsilon: number, y: Activation, tokens: number, first = 0): void {
    this.cpu.rmsNorm(this.cpu.fromToken(x, first), gain, epsilon, y, tokens);
  }

  linear(
    weights: CpuMatrix,
    x: Activation,
    y: Activation,
    tokens: number,
    options: ProductOptions<CpuKinds> & { readonly add?: boolean } = {},
  ): void {
    const { norm } = options;
    if (norm !== undefined) this.rmsNorm(x, norm.gain, norm.epsilon, norm.into, tokens);
    const input = norm?.into ?? x;
    // In order: a part's last panel may write a few columns too many, which the next part then overwrites.
    if (options.add === true && weights.parts.length > 1)
      throw errors.internal('a matrix in parts cannot add to its output');
    for (const { firstRow, matrix } of weights.parts) {
      const out = firstRow === 0 ? y : { ...y, address: offset(y.address, firstRow * 4) };
      this.cpu.linear(matrix, input, out, tokens, { bits: this.bits, add: options.add === true });
    }
    if (options.bias !== undefined && options.bias !== null) this.cpu.addBias(y, options.bias, tokens);
  }

  attention(qkv: Activation, cache: CpuCache, layer: number, position: number, y: Activation, tokens: number): void {
    this.cpu.ropeAndStore(qkv, cache, layer, position, tokens);
    this.cpu.attention(qkv, cache, layer, position, y, tokens);
  }

  gatedLinear(
    weights: CpuMatrix,
    x: Activation,
    between: Activation,
    y: Activation,
    tokens: number,
    options: ProductOptions<CpuKinds> = {},
  ): void {
    this.linear(weights, x, between, tokens, options);
    this.cpu.siluMultiply(between, y, tokens);
  }

  read(x: Activation, tokens: number): Float32Array {
    const { width } = x;
    const values = new Float32Array(tokens * width);
    for (let token = 0; token < tokens; token++)
      values.set(this.cpu.heap.floats(this.cpu.fromToken(x, token).address, width), token * width);
    return values;
  }

  [Symbol.dispose](): void {
    this.cpu[Symbol.dispose]();
  }
}

/** What computes a matrix of a kind on this machine's CPU, in words. */
export function kernelFor(kind: MatrixSource['kind']): string {
  const level = simdLevel();
  if (level === null) return 'none: no WebAssembly SIMD';
  const simd = level === 'pairs' ? 'relaxed SIMD, bytes in pairs' : `${level} SIMD`;
  return `${kind === 'w4' ? 'w4Vector, w4Matrix' : 'w16Vector, w16Matrix'} (${simd})`;
}

/** A 4-bit matrix as the kernels take it, or what is to be loaded in 16 bits. */
function brought(source: MatrixSource): W4Source | HalfSource {
  if (source.kind === 'w16') return source;
  const matrix = source.read();
  return matrix.groupOf === undefined ? toW4(matrix) : asHalves(source.name, matrix);
}

function toW4(matrix: QuantizedMatrix): W4Source {
  return {
    ...matrix,
    scales: Float32Array.from(matrix.scales, matrix.scaleDtype === 'F16' ? f16ToNumber : bf16ToNumber),
  };
}
