// A kernel: a name, typed parameters, and a function that is run once to build its program.
import { Builder } from './builder.ts';
import { parameter, parameterAddress } from './isa/warp.ts';
import {
  elemBytes,
  type ElemType,
  type ParamSpec,
  type ParamType,
  type Program,
  type Swizzle,
  type Target,
  type TensorType,
} from './program.ts';
import { K } from './trace.ts';
import { Global, Tensor } from './pointers.ts';
import { F32, S32, U32 } from './values.ts';

/** What the body gets for each declared parameter. */
export type Params<S extends ParamSpec> = { readonly [P in keyof S]: ParamValue<S[P]> };
type ParamValue<T extends ParamType> =
  T extends TensorType<infer E>
    ? Tensor<E>
    : T extends `${infer E extends ElemType}*`
      ? Global<E>
      : T extends 'f32'
        ? F32
        : T extends 's32'
          ? S32
          : U32;

/** Declares a parameter as a matrix whose boxes of `box` elements are copied to shared memory; their rows must be a multiple of 16 bytes, and no longer than a swizzle spans. */
export function tensor<E extends ElemType>(
  elem: E,
  box: readonly [rows: number, columns: number],
  swizzle: Swizzle = 0,
): TensorType<E> {
  const rowBytes = box[1] * elemBytes[elem];
  if (box.some((size) => !Number.isInteger(size) || size < 1 || size > 256))
    throw new RangeError(`a box of ${box.join(' x ')}: each side has 1 to 256 elements`);
  if (rowBytes % 16 !== 0 || (swizzle !== 0 && rowBytes > swizzle))
    throw new RangeError(`rows of ${rowBytes} bytes are no multiple of 16, or longer than the swizzle of ${swizzle}`);
  return { elem, box, swizzle };
}

export interface KernelHead<S extends ParamSpec> {
  /** Letters, digits and _; the entry's name in the PTX. */
  readonly name: string;
  /** Threads of a CTA: a multiple of 32, at most 1024. */
  readonly threads: number;
  readonly params: S;
  /** The least architecture; default sm_80. */
  readonly target?: Target;
  /** CTAs of a cluster; default 1. */
  readonly cluster?: number;
}

/** Runs `body` once and returns the program it describes. Errors: KernelError with the author's line. */
export function kernel<const S extends ParamSpec>(
  head: KernelHead<S>,
  body: (k: K, params: Params<S>) => void,
): Program<S> {
  const { name, threads, params, target = 'sm_80', cluster = 1 } = head;
  if (!/^[A-Za-z_]\w*$/.test(name)) throw new TypeError(`"${name}" is no name for a kernel: use letters, digits and _`);
  if (!(Number.isInteger(threads / 32) && threads > 0 && threads <= 1024))
    throw new RangeError(`${threads} threads: a CTA has a multiple of 32, at most 1024`);
  const builder = new Builder(target);
  const values: Record<string, unknown> = {};
  for (const [key, type] of Object.entries(params)) values[key] = parameterValue(builder, key, type);
  body(new K(builder), typed(values, params));
  return {
    name,
    params,
    threads,
    cluster,
    sharedBytes: builder.sharedBytes,
    mbarriers: builder.mbarriers,
    target,
    regs: builder.regs,
    body: builder.body,
  };
}

function parameterValue(builder: Builder, name: string, type: ParamType): unknown {
  if (typeof type === 'object') return new Tensor(type, builder.value(parameterAddress(name), []), builder);
  const pointer = pointee(type);
  if (pointer !== null) return new Global(pointer, builder.value(parameter(name, 'global', 'u64'), []), builder);
  if (type === 'f32') return new F32(builder.value(parameter(name, 'f32', 'f32'), []), builder);
  if (type === 's32') return new S32(builder.value(parameter(name, 's32', 's32'), []), builder);
  return new U32(builder.value(parameter(name, 'u32', 'u32'), []), builder);
}

const elemTypes: readonly ElemType[] = ['f16', 'bf16', 'f32', 'b32', 'u32', 's32', 'u64', 'b16', 'u8'];

/** The element type of a pointer parameter, null for a number. */
export function pointee(type: ParamType): ElemType | null {
  return elemTypes.find((elem) => type === `${elem}*`) ?? null;
}

function typed<S extends ParamSpec>(values: Readonly<Record<string, unknown>>, params: S): Params<S> {
  if (Object.keys(params).some((key) => !(key in values))) throw new TypeError('a parameter was lost');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- built key by key from the same declaration just above
  return values as Params<S>;
}
