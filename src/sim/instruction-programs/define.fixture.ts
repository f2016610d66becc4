// What a program of the table of instructions is, and what its authors share: typed arguments out of a seed, expected outputs, an instruction
// by its entry. Knows no instruction.
import { Random } from '../../base/random.ts';
import { classOf, type Op } from '../../ptx/op.ts';
import { instructions, type Operand, type ParamSpec, type Program, type Reg } from '../../ptx/program.ts';
import type { Value } from '../../ptx/value.ts';
import { B32 } from '../../ptx/values.ts';
import type { Args, HostTensor } from '../simulate.ts';

export type ArgsByName = ReadonlyMap<string, ArrayBufferView | HostTensor | number>;

/** How far two machines may be apart: `relative` times the sum of the absolute values that were added up. */
export interface Tolerance {
  readonly relative: number;
  readonly reason: string;
}

/** Arguments, and what the outputs must be where plain JavaScript can say it. */
export interface Drawn {
  readonly args: ArgsByName;
  readonly expected: ReadonlyMap<string, ArrayBufferView>;
  /** For outputs with a tolerance: sums of absolute values. */
  readonly scale: ReadonlyMap<string, ArrayLike<number>>;
}

export interface InstructionProgram {
  readonly name: string;
  readonly program: Program;
  readonly grid: readonly [x: number, y?: number, z?: number];
  readonly outputs: readonly string[];
  /** Null: equal bits. */
  readonly tolerance: Tolerance | null;
  draw(seed: number): Drawn;
}

type PerOutput<S extends ParamSpec, T> = { readonly [P in keyof S]?: T };

export interface Definition<S extends ParamSpec> {
  readonly program: Program<S>;
  readonly grid?: readonly [x: number, y?: number, z?: number];
  readonly outputs: readonly (keyof S & string)[];
  readonly tolerance?: Tolerance;
  readonly draw: (random: Random) => {
    readonly args: Args<S>;
    readonly expected?: PerOutput<S, ArrayBufferView>;
    readonly scale?: PerOutput<S, ArrayLike<number>>;
  };
}

function byName<T>(values: Readonly<Record<string, T | undefined>> = {}): ReadonlyMap<string, T> {
  return new Map(
    Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])),
  );
}

/** One program under its own name, which says what it tries. */
export function define<S extends ParamSpec>(definition: Definition<S>): InstructionProgram {
  const { program, grid = [1], outputs, tolerance = null } = definition;
  return {
    name: program.name,
    program,
    grid,
    outputs,
    tolerance,
    draw(seed) {
      const { args, expected, scale } = definition.draw(new Random(seed));
      return {
        args: new Map(Object.entries<ArrayBufferView | HostTensor | number>(args)),
        expected: byName(expected),
        scale: byName(scale),
      };
    },
  };
}

/** Instructions in a program, each once. */
export const opsOf = ({ program }: Pick<InstructionProgram, 'program'>): ReadonlySet<Op> =>
  new Set([...instructions(program.body)].map(({ op }) => op));

/** Emits an instruction for which `k` has no face, beside `near`, a value of the same kernel; its results are fresh registers, or `into`. */
export function emit(
  near: Value,
  op: Op,
  sources: readonly (Value | Operand)[],
  into?: readonly Reg[],
): readonly Reg[] {
  const builder = near.home;
  if (builder === null) throw new TypeError('a constant belongs to no kernel');
  const dst = into ?? op.dst.map((kind) => builder.reg(classOf[kind]));
  builder.emit(
    op,
    dst,
    sources.map((source) => ('operand' in source ? source.operand : source)),
  );
  return dst;
}

export const wordOf = (near: Value, reg: Reg): B32 => new B32(reg, near.home);

export function words(random: Random, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, () => random.u32());
}

/** What a buffer holds before a kernel writes it, so that what it leaves out is seen. */
export const UNTOUCHED = 0xdeadbeef;
export const untouched = (count: number): Uint32Array => new Uint32Array(count).fill(UNTOUCHED);
export const noSums = (count: number): Float32Array => new Float32Array(count).fill(-12345.5);

/** The host array of an output. */
export function outputOf(args: ArgsByName, name: string): ArrayBufferView {
  const arg = args.get(name);
  if (typeof arg !== 'object') throw new TypeError(`${name} is no buffer`);
  return 'data' in arg ? arg.data : arg;
}

const hex = (bits: number): string => `0x${bits.toString(16).padStart(8, '0')}`;

/** Least positive normal f32: below it a sum may be flushed. */
const LEAST = 2 ** -126;

export interface Difference {
  readonly count: number;
  readonly of: number;
  /** The first one, in words. */
  readonly first: string;
}

/** Where two arrays of 4-byte elements differ by more than allowed. With a tolerance they hold floats, NaN equals NaN, and `scale` says how large what was added up is. */
export function difference(
  want: ArrayBufferView,
  got: ArrayBufferView,
  tolerance: Tolerance | null,
  scale?: ArrayLike<number>,
): Difference {
  const bits = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint32Array =>
    new Uint32Array(buffer, byteOffset, byteLength / 4);
  const floats = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Float32Array =>
    new Float32Array(buffer, byteOffset, byteLength / 4);
  const [wantBits, gotBits, wantFloats, gotFloats] = [bits(want), bits(got), floats(want), floats(got)];
  let [count, first] = [0, ''];
  for (let i = 0; i < gotBits.length; i++) {
    if (gotBits[i] === wantBits[i]) continue;
    const [a, b] = [wantFloats[i]!, gotFloats[i]!];
    if (tolerance !== null) {
      const allowed = tolerance.relative * (scale?.[i] ?? Math.abs(a)) + LEAST;
      if ((Number.isNaN(a) && Number.isNaN(b)) || Math.abs(a - b) <= allowed) continue;
    }
    const floatText = tolerance === null ? '' : ` (${b} instead of ${a})`;
    if (count++ === 0) first = `element ${i} is ${hex(gotBits[i]!)} instead of ${hex(wantBits[i]!)}${floatText}`;
  }
  return { count, of: gotBits.length, first };
}
