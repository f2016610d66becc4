// A checkpoint's tensors as a network asks for them: matrices that may be 4- or 16-bit, vectors as f32, shapes checked. Knows no device.
import { encodeF16 } from '../base/f16.ts';
import { errors } from '../base/errors.ts';
import type { Checkpoint } from '../formats/checkpoint.ts';
import type { ModelConfig } from '../formats/config.ts';
import { isQuantized, readQuantized } from '../formats/modules.ts';
import { dequantize, type QuantizedMatrix } from '../formats/quantized.ts';

/** A weight matrix that is still in its file; `read` brings it in when a device has room for it. */
export type MatrixSource =
  | {
      readonly kind: 'w4';
      readonly name: string;
      readonly rows: number;
      readonly columns: number;
      readonly read: () => QuantizedMatrix;
    }
  | HalfSource;

export interface HalfSource {
  readonly kind: 'w16';
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly dtype: 'F16' | 'BF16';
  /** Writes the bit patterns, [rows, columns], into `target`. */
  readonly read: (target: Uint16Array) => void;
}

/** A 4-bit matrix that a device cannot take as it is, in 16 bits: code times scale, rounded once. */
export function asHalves(name: string, matrix: QuantizedMatrix): HalfSource {
  const { rows, columns } = matrix;
  return { kind: 'w16', name, rows, columns, dtype: 'F16', read: (target) => encodeF16(dequantize(matrix), target) };
}

/** What a network asks for. */
export type WeightSource = Pick<Weights, 'matrix' | 'vector'>;

export class Weights {
  private readonly checkpoint: Checkpoint;
  private readonly config: ModelConfig;

  constructor(checkpoint: Checkpoint, config: ModelConfig) {
    this.checkpoint = checkpoint;
    this.config = config;
  }

  /** The weight of a Linear or an embedding, by module name. f32 weights are rounded to f16. Errors: 'tensor-missing', 'tensor-mismatch'. */
  matrix(module: string, rows: number, columns: number): MatrixSource {
    const { checkpoint, config } = this;
    if (config.quantization !== null && isQuantized(checkpoint, module)) {
      const quantization = config.quantization;
      const read = (): QuantizedMatrix => readQuantized(checkpoint, module, quantization, { rows, columns });
      return { kind: 'w4', name: module, rows, columns, read };
    }
    const name = `${module}.weight`;
    const { dtype } = this.checked(name, [rows, columns]);
    if (dtype === 'F16' || dtype === 'BF16') {
      const read = (target: Uint16Array): void =>
        void checkpoint.read(name, new Uint8Array(target.buffer, target.byteOffset, target.byteLength));
      return { kind: 'w16', name, rows, columns, dtype, read };
    }
    return {
      kind: 'w16',
      name,
      rows,
      columns,
      dtype: 'F16',
      read: (target) => encodeF16(checkpoint.readFloats(name), target),
    };
  }

  /** A norm's gain or a bias. Errors: 'tensor-missing', 'tensor-mismatch'. */
  vector(name: string, length: number): Float32Array {
    this.checked(name, [length]);
    return this.checkpoint.readFloats(name);
  }

  private checked(name: string, shape: readonly number[]): ReturnType<Checkpoint['info']> {
    const info = this.checkpoint.info(name);
    if (info.shape.length !== shape.length || info.shape.some((size, i) => size !== shape[i])) {
      throw errors.tensorMismatch(this.checkpoint.path, name, `[${shape.join(', ')}]`, `[${info.shape.join(', ')}]`);
    }
    return info;
  }
}
