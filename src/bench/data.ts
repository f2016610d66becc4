// Random operands of any size in a moment: a block is drawn on the host and repeated on the device. What lies where is known, for checks.
import { numberToBf16, numberToF16 } from '../base/f16.ts';
import type { Random } from '../base/random.ts';
import type { Device, DeviceBuffer } from '../device/device.ts';
import type { WeightShape } from '../kernels/marlin/family.ts';
import {
  CODE_BYTES,
  groupBytes,
  groupsOf,
  packedBytes,
  ROW_PAIRS_BYTES,
  rowTiles,
  STRIP_ROWS,
  stripBytes,
  stripsAlongK,
} from '../kernels/marlin/layout.ts';
import { type HalfType, unpack } from '../kernels/marlin/pack.ts';

/** Primes: rows of a matrix that repeats a block of such a length are not alike. */
const VALUES = 65_521;
const STRIPS = 1009;

const bitsOf: Readonly<Record<HalfType, (value: number) => number>> = { f16: numberToF16, bf16: numberToBf16 };

/** Standard normals as bits, to be repeated. */
export function normalBlock(random: Random, type: HalfType): Uint16Array {
  return Uint16Array.from({ length: VALUES }, () => bitsOf[type](random.normal()));
}

/** Strips of random codes with scales as the packer stores them, in [2^14, 2^15), and zero points of 4 .. 11; to be repeated. */
export function stripBlock(random: Random, { scheme, type }: WeightShape): Uint8Array {
  const bytes = stripBytes(scheme);
  const block = new Uint8Array(STRIPS * bytes);
  const view = new DataView(block.buffer);
  for (let strip = 0; strip < STRIPS; strip++) {
    const start = strip * bytes;
    for (let at = 0; at < CODE_BYTES; at += 4) view.setUint32(start + at, random.u32(), true);
    for (let group = 0; group < groupsOf(scheme); group++) {
      const scales = start + CODE_BYTES + group * groupBytes(scheme);
      for (let at = 0; at < ROW_PAIRS_BYTES; at += 2) {
        view.setUint16(scales + at, bitsOf[type](2 ** 14 * (1 + 0.99 * random.uniform())), true);
        if (scheme.zeroPoints) view.setUint16(scales + ROW_PAIRS_BYTES + at, bitsOf[type](4 + random.integer(8)), true);
      }
    }
  }
  return block;
}

/** What brings such scales to those of a language model: weights of about 0.05. */
export const ROW_FACTOR: number = 2 ** -21;

/** Rows tile * 16 on of the matrix whose strips repeat `block`: [16, k] as numbers. */
export function repeatedRows(block: Uint8Array, weights: WeightShape, tile: number): Float64Array {
  const { k, scheme, type } = weights;
  const [bytes, along] = [stripBytes(scheme), stripsAlongK(weights)];
  const strips = new Uint8Array(along * bytes);
  for (let i = 0; i < along; i++) {
    const from = ((tile * along + i) % STRIPS) * bytes;
    strips.set(block.subarray(from, from + bytes), i * bytes);
  }
  return unpack({ n: STRIP_ROWS, k, scheme, type, strips, factors: new Float32Array(STRIP_ROWS).fill(ROW_FACTOR) });
}

/** Fills a buffer with copies of a block; the last one may be cut. */
export function fillRepeated(device: Device, buffer: DeviceBuffer, block: Uint8Array | Uint16Array): void {
  const first = new Uint8Array(block.buffer, block.byteOffset, Math.min(block.byteLength, buffer.bytes));
  buffer.write(first);
  for (let filled = first.byteLength; filled < buffer.bytes; filled *= 2) {
    const bytes = Math.min(filled, buffer.bytes - filled);
    device.copy(buffer.slice(filled, bytes), buffer.slice(0, bytes));
  }
}

export interface DeviceWeights {
  readonly strips: DeviceBuffer;
  readonly factors: DeviceBuffer;
  readonly bias: null;
}

/** `count` copies of a matrix in device memory. */
export function repeatedWeights(
  device: Device,
  weights: WeightShape,
  block: Uint8Array,
  count: number,
  owned: DisposableStack,
): readonly DeviceWeights[] {
  const factors = owned.use(device.allocate(4 * rowTiles(weights) * STRIP_ROWS, 'scale factors'));
  factors.write(new Float32Array(rowTiles(weights) * STRIP_ROWS).fill(ROW_FACTOR));
  return Array.from({ length: count }, () => {
    const strips = owned.use(device.allocate(packedBytes(weights, weights.scheme), 'packed weights'));
    fillRepeated(device, strips, block);
    return { strips, factors, bias: null };
  });
}
