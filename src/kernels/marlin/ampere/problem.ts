// Random products for the Ampere kernel, for examples and tests: operands, poisoned outputs, and what should become of them.
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../../../base/f16.ts';
import { Random } from '../../../base/random.ts';
import { outputChannels } from '../epilogue.ts';
import { type HalfType, pack, type PackedMatrix } from '../pack.ts';
import { type CodedOptions, randomCoded } from '../coded.ts';
import { epilogueReference, marlinReference } from '../reference.ts';
import type { Ampere } from './kernel.ts';
import { stripesOf, workspaceOf } from './tiling.ts';

export interface AmpereArgs {
  readonly x: Uint16Array;
  readonly strips: Uint8Array;
  readonly factors: Float32Array;
  readonly bias: Float32Array;
  readonly y: Uint16Array | Float32Array;
  readonly partials: Float32Array;
  readonly counters: Uint32Array;
  readonly m: number;
}

const toBits = (type: HalfType): ((value: number) => number) => (type === 'f16' ? numberToF16 : numberToBf16);
const toNumber = (type: HalfType): ((bits: number) => number) => (type === 'f16' ? f16ToNumber : bf16ToNumber);

/** A random matrix of the kernel's size and scheme. One scale a channel where k is no multiple of the group. */
export function randomMatrix(random: Random, { size, scheme, type }: Ampere): PackedMatrix {
  const options: CodedOptions = { rows: size.n, columns: size.k, zeroPoints: scheme.zeroPoints };
  const perChannel = size.k % scheme.group !== 0;
  return pack('random', randomCoded(random, perChannel ? options : { ...options, group: scheme.group }), type);
}

/** Arguments for `m` tokens. */
export function randomArgs(random: Random, of: Ampere, { strips, factors }: PackedMatrix, m: number): AmpereArgs {
  const { size, type, tiling, epilogue } = of;
  const need = workspaceOf(stripesOf(size, tiling, of.ctas), tiling, m);
  const outputs = m * outputChannels(epilogue, size.n);
  const poisoned = (): Uint16Array | Float32Array => {
    if (epilogue.output === 'add-f32') return random.fillNormal(new Float32Array(outputs));
    return epilogue.output === 'f32'
      ? new Float32Array(outputs).fill(Number.NaN)
      : new Uint16Array(outputs).fill(0xffff);
  };
  return {
    x: Uint16Array.from({ length: m * size.k }, () => toBits(type)(random.normal())),
    strips,
    factors,
    bias: random.fillNormal(new Float32Array(size.n)),
    y: poisoned(),
    partials: new Float32Array(Math.max(1, need.partials)).fill(Number.NaN),
    counters: new Uint32Array(need.counters),
    m,
  };
}

/** What y of `args` should become. */
export function expectedOf(
  { type, epilogue }: Ampere,
  matrix: PackedMatrix,
  { x, m, bias, y }: AmpereArgs,
): Float64Array {
  const sums = marlinReference(Float64Array.from(x, toNumber(type)), m, matrix);
  return epilogueReference(sums, { epilogue, n: matrix.n, bias, before: y });
}

/** y as numbers. */
export function outputOf({ epilogue }: Ampere, { y }: AmpereArgs): Float64Array {
  if (epilogue.output === 'f16' || epilogue.output === 'bf16') return Float64Array.from(y, toNumber(epilogue.output));
  return Float64Array.from(y);
}

/** Relative error that is allowed: f16 rounds by 2^-11 in weights and output, bf16 by 2^-8. */
export const boundOf = ({ type, epilogue }: Ampere): number =>
  type === 'bf16' || epilogue.output === 'bf16' ? 8e-3 : 1e-3;
