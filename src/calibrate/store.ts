// Activations of all calibration windows between two stages, in memory. Knows no device.

/** [windows][length, width] numbers, kept in 32 or 16 bits. */
export class Store {
  readonly width: number;
  private readonly windows: readonly (Float32Array | Float16Array)[];

  /** A view of the first bytes of `room`, if it is given. */
  constructor(windows: number, length: number, width: number, type: 'f32' | 'f16', room?: ArrayBuffer) {
    this.width = width;
    const size = length * width;
    const buffer = room ?? new ArrayBuffer(windows * size * (type === 'f32' ? 4 : 2));
    this.windows = Array.from({ length: windows }, (_, i) =>
      type === 'f32' ? new Float32Array(buffer, 4 * i * size, size) : new Float16Array(buffer, 2 * i * size, size),
    );
  }

  /** One token of a window, to be read or written. */
  token(window: number, token: number): Float32Array | Float16Array {
    return this.windows[window]!.subarray(token * this.width, (token + 1) * this.width);
  }

  /** The bytes of a window, to be kept in a file. */
  bytes(window: number): Uint8Array {
    const { buffer, byteOffset, byteLength } = this.windows[window]!;
    return new Uint8Array(buffer, byteOffset, byteLength);
  }
}
