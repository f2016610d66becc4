// How a kernel stands in the catalogue: examples that can be printed, assembled, run and checked without knowing their parameters.
// Knows no kernel.
import type { Drawing as Picture } from '../ptx/draw/drawing.ts';
import { svg } from '../ptx/draw/svg.ts';
import { text } from '../ptx/draw/text.ts';
import type { ParamSpec, Program } from '../ptx/program.ts';
import { type Args, simulate, type SimulateOptions, type Simulation } from '../sim/simulate.ts';

export type Grid = SimulateOptions<ParamSpec>['grid'];

/** A program with all that a launch of it needs. */
export interface Launch<S extends ParamSpec> {
  readonly program: Program<S>;
  readonly grid: Grid;
  readonly args: Args<S>;
}

/** How far a result is from its reference, and how far it may be. */
export interface Check {
  readonly error: number;
  readonly bound: number;
}

/** One shape of a kernel, as its author writes it. */
export interface ExampleSource<S extends ParamSpec, A extends Args<S>> {
  /** What tells it from the kernel's other examples: '128x128x64'. */
  readonly name: string;
  readonly program: Program<S>;
  readonly grid: Grid;
  /** Fresh random arguments; outputs are poisoned with NaN or the like, so that what is never written shows. */
  readonly args: (seed: number) => A;
  /** After a launch has changed `args`. NaN as error is never within a bound. */
  readonly check: (args: A) => Check;
}

/** The same with the types of its parameters closed over. */
export interface Example {
  readonly name: string;
  readonly program: Program;
  readonly grid: Grid;
  /** Draws arguments from `seed`, hands the launch to `run`, which must have finished it when it returns, and checks what became of them. */
  readonly launch: <T>(
    seed: number,
    run: <S extends ParamSpec>(launch: Launch<S>) => T,
  ) => Check & { readonly outcome: T };
}

/** What a layout or a fragment of a kernel looks like, for a terminal and for a page. */
export interface Drawing {
  readonly title: string;
  readonly text: string;
  readonly svg: string;
}

/** A picture in both forms. */
export function drawn(picture: Picture): Drawing {
  return { title: picture.title, text: text({ ...picture, title: '' }), svg: svg(picture) };
}

export interface Entry {
  /** What a person types: lower case, words with hyphens. */
  readonly name: string;
  /** One line. */
  readonly title: string;
  /** At least one; the first is what `kernel print` shows. A function, since building a large program takes a while. */
  readonly examples: () => readonly Example[];
  readonly drawings: () => readonly Drawing[];
}

/** Checks that program, arguments and check agree, and forgets their types. */
export function example<S extends ParamSpec, A extends Args<S>>(source: ExampleSource<S, A>): Example {
  const { name, program, grid } = source;
  return {
    name,
    program,
    grid,
    launch: (seed, run) => {
      const args = source.args(seed);
      const outcome = run({ program, grid, args });
      return { outcome, ...source.check(args) };
    },
  };
}

/** An entry of the catalogue; without drawings unless it says otherwise. */
export function entry(source: Omit<Entry, 'drawings'> & Partial<Pick<Entry, 'drawings'>>): Entry {
  return { drawings: () => [], ...source };
}

/** Runs an example on the simulator; `seed` draws the data and the order of warps. */
export function simulateExample(of: Example, seed: number): Simulation & Check {
  const { outcome, error, bound } = of.launch(seed, ({ program, grid, args }) =>
    simulate(program, { grid, args, seed }),
  );
  return { ...outcome, error, bound };
}
