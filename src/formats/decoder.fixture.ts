// Test support, used by tests only: a second decoder of every quantized form (and an encoder of the one we only read), written from the descriptions of the
// forms, nibble by nibble. It shares nothing with the readers and writers, not even the safetensors parser, so that no mistake is made twice.
import { readFileSync } from 'node:fs';

/** A module as plain numbers. */
export interface Decoded {
  /** [output][input], 0..15 */
  readonly codes: readonly (readonly number[])[];
  /** [output][group] */
  readonly zeros: readonly (readonly number[])[];
  /** [output][group], bit patterns */
  readonly scales: readonly (readonly number[])[];
  /** [input] */
  readonly groups: readonly number[];
}

interface RawTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Buffer;
}

/** Every tensor of a safetensors file. */
export function parseFile(path: string): ReadonlyMap<string, RawTensor> {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header: unknown = JSON.parse(file.toString('utf8', 8, 8 + length));
  const tensors = new Map<string, RawTensor>();
  for (const [name, entry] of Object.entries(header ?? {})) {
    if (name === '__metadata__') continue;
    const { dtype, shape, data_offsets: offsets } = entryOf(entry);
    tensors.set(name, { dtype, shape, bytes: file.subarray(8 + length + offsets[0]!, 8 + length + offsets[1]!) });
  }
  return tensors;
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly number[];
}

function entryOf(entry: unknown): Entry {
  const isEntry = (value: unknown): value is Entry =>
    typeof value === 'object' && value !== null && 'dtype' in value && 'shape' in value && 'data_offsets' in value;
  if (!isEntry(entry)) throw new Error('not an entry of a header');
  return entry;
}

/** Nibble `i` of all those of a tensor: two a byte, the lower one first. */
const nibble = ({ bytes }: RawTensor, i: number): number =>
  i % 2 === 0 ? bytes[i / 2]! % 16 : bytes[(i - 1) / 2]! >> 4;
const half = ({ bytes }: RawTensor, i: number): number => bytes.readUInt16LE(2 * i);
const integer = ({ bytes }: RawTensor, i: number): number => bytes.readInt32LE(4 * i);

const table = (rows: number, columns: number, value: (row: number, column: number) => number): number[][] =>
  Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (_, column) => value(row, column)));

type Parts = (part: string) => RawTensor;

function partsOf(path: string, module: string): { parts: Parts; has: (part: string) => boolean } {
  const file = parseFile(path);
  return {
    has: (part) => file.has(`${module}.${part}`),
    parts: (part) => {
      const tensor = file.get(`${module}.${part}`);
      if (tensor === undefined) throw new Error(`no ${part}`);
      return tensor;
    },
  };
}

/** GPTQ: a word is eight inputs of an output. `version` 1 stores zero points less 1. */
export function decodeGptq(path: string, module: string, version: 1 | 2): Decoded {
  const { parts } = partsOf(path, module);
  const [qweight, qzeros, scales, order] = [parts('qweight'), parts('qzeros'), parts('scales'), parts('g_idx')];
  const [words = 0, outputs = 0] = qweight.shape;
  const groups = qzeros.shape[0]!;
  return {
    codes: table(outputs, 8 * words, (n, k) => nibble(qweight, 8 * (Math.floor(k / 8) * outputs + n) + (k % 8))),
    zeros: table(outputs, groups, (n, g) => nibble(qzeros, g * outputs + n) + (version === 1 ? 1 : 0)),
    scales: table(outputs, groups, (n, g) => half(scales, g * outputs + n)),
    groups: Array.from({ length: 8 * words }, (_, k) => integer(order, k)),
  };
}

/** AWQ gemm: a word is eight outputs of an input; output j of the eight is in this nibble. */
const AWQ_NIBBLE = [0, 4, 1, 5, 2, 6, 3, 7];

export function decodeAwq(path: string, module: string): Decoded {
  const { parts } = partsOf(path, module);
  const [qweight, qzeros, scales] = [parts('qweight'), parts('qzeros'), parts('scales')];
  const [inputs = 0, words = 0] = qweight.shape;
  const groups = scales.shape[0]!;
  const place = (row: number, n: number): number => 8 * (row * words + Math.floor(n / 8)) + AWQ_NIBBLE[n % 8]!;
  return {
    codes: table(8 * words, inputs, (n, k) => nibble(qweight, place(k, n))),
    zeros: table(8 * words, groups, (n, g) => nibble(qzeros, place(g, n))),
    scales: table(8 * words, groups, (n, g) => half(scales, g * 8 * words + n)),
    groups: Array.from({ length: inputs }, (_, k) => Math.floor((k * groups) / inputs)),
  };
}

/** compressed-tensors pack-quantized: a word is eight inputs of an output; zero points are packed along outputs. */
export function decodeCompressedTensors(path: string, module: string): Decoded {
  const { parts, has } = partsOf(path, module);
  const [packed, scales, shape] = [parts('weight_packed'), parts('weight_scale'), parts('weight_shape')];
  const [outputs, inputs] = [0, 8].map((at) => Number(shape.bytes.readBigInt64LE(at)));
  const groups = scales.shape[1]!;
  const words = packed.shape[1]!;
  return {
    codes: table(outputs!, inputs!, (n, k) => nibble(packed, 8 * words * n + k)),
    zeros: table(outputs!, groups, (n, g) =>
      has('weight_zero_point') ? nibble(parts('weight_zero_point'), 8 * (Math.floor(n / 8) * groups + g) + (n % 8)) : 8,
    ),
    scales: table(outputs!, groups, (n, g) => half(scales, n * groups + g)),
    groups: Array.from({ length: inputs! }, (_, k) =>
      has('weight_g_idx') ? integer(parts('weight_g_idx'), k) : Math.floor((k * groups) / inputs!),
    ),
  };
}

/** Which code of a run of 1024 the original Marlin packer puts in each place. */
export function marlinPermutation(): number[] {
  const permutation: number[] = [];
  for (let i = 0; i < 32; i++) {
    const eight: number[] = [];
    for (const block of [0, 1])
      for (const row of [2 * (i % 4), 2 * (i % 4) + 1, 2 * ((i % 4) + 4), 2 * ((i % 4) + 4) + 1])
        eight.push(16 * row + Math.floor(i / 4) + 8 * block);
    for (let j = 0; j < 4; j++) permutation.push(...eight.map((p) => p + 256 * j));
  }
  return permutation.map((_, at) => permutation[at - (at % 8) + [0, 2, 4, 6, 1, 3, 5, 7][at % 8]!]!);
}

/** The tensors B and s of symmetric codes [output][input] and scales [output][group], as the original packer makes them step by step. */
export function encodeMarlin(
  codes: readonly (readonly number[])[],
  scales: readonly (readonly number[])[],
): { readonly B: Int32Array; readonly s: Uint16Array } {
  const [outputs, inputs, groups] = [codes.length, codes[0]!.length, scales[0]!.length];
  const permutation = marlinPermutation();
  const B: number[] = [];
  for (let strip = 0; strip < inputs; strip += 16) {
    // Tiles of 16 inputs x 16 outputs, one after the other.
    const flat: number[] = [];
    for (let tile = 0; tile < outputs; tile += 16)
      for (let k = 0; k < 16; k++) for (let n = 0; n < 16; n++) flat.push(codes[tile + n]![strip + k]!);
    const permuted = flat.map((_, at) => flat[at - (at % 1024) + permutation[at % 1024]!]!);
    for (let at = 0; at < permuted.length; at += 8)
      B.push(permuted.slice(at, at + 8).reduce((word, code, i) => word + code * 16 ** i, 0));
  }
  const grouped = Array.from({ length: 64 }, (_, at) => Math.floor(at / 8) + 8 * (at % 8));
  const single = [0, 1, 2, 3].flatMap((i) => [0, 1, 8, 9, 16, 17, 24, 25].map((j) => 2 * i + j));
  const order = groups === 1 ? single : grouped;
  const s = Array.from({ length: groups }, (_, g) =>
    Array.from({ length: outputs }, (_, n) => scales[n - (n % order.length) + order[n % order.length]!]![g]!),
  );
  return { B: Int32Array.from(B, (word) => word | 0), s: Uint16Array.from(s.flat()) };
}
