// What the fake driver makes of a tensor map: the arguments it was encoded from, in a form of its own. The real one is opaque.
import { CUtensorMap } from './header.ts';

export interface FakeTensorMap {
  readonly type: number;
  readonly rank: number;
  readonly address: bigint;
  /** Innermost dimension first, as are all lists. */
  readonly sizes: readonly bigint[];
  readonly strides: readonly bigint[];
  readonly box: readonly number[];
  readonly elementStrides: readonly number[];
  /** Interleave, swizzle, promotion, fill. */
  readonly modes: readonly number[];
}

const RANK = 2;

export function writeFakeTensorMap(
  out: Uint8Array,
  given: {
    readonly [Field in keyof FakeTensorMap]: FakeTensorMap[Field] extends readonly (infer T)[]
      ? Iterable<T>
      : FakeTensorMap[Field];
  },
): void {
  const { type, rank, address, sizes, strides, box, elementStrides, modes } = given;
  const words = [
    ...[type, rank].map(BigInt),
    address,
    ...sizes,
    ...strides,
    ...[...box, ...elementStrides, ...modes].map(BigInt),
  ];
  const map = new BigUint64Array(CUtensorMap.bytes / 8);
  map.set(words);
  out.set(new Uint8Array(map.buffer));
}

export function readFakeTensorMap(bytes: DataView): FakeTensorMap {
  let at = 0;
  const take = (count: number): bigint[] => Array.from({ length: count }, () => bytes.getBigUint64(8 * at++, true));
  const numbers = (count: number): number[] => take(count).map(Number);
  const [type = 0, rank = 0] = numbers(2);
  const [address = 0n] = take(1);
  return {
    type,
    rank,
    address,
    sizes: take(RANK),
    strides: take(RANK - 1),
    box: numbers(RANK),
    elementStrides: numbers(RANK),
    modes: numbers(4),
  };
}
