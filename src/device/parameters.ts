// Programs as the driver and its limits see them: their parameters, the tensors among them, the chips they run on.
import { errors } from '../base/errors.ts';
import type { Parameter } from '../cuda/parameters.ts';
import type { TensorLayout } from '../cuda/tensor-map.ts';
import { has } from '../ptx/builder.ts';
import { pointee } from '../ptx/kernel.ts';
import { elemBytes, type ParamType, type Program, type Target } from '../ptx/program.ts';
import type { DeviceArgs, DeviceBuffer, DeviceTensor } from './device.ts';

/** An argument of any program. */
export type Arg = DeviceBuffer | DeviceTensor | number;

/** A declared parameter, as the language and as a launch has it. */
export interface Declared {
  readonly type: ParamType;
  readonly parameter: Parameter;
}

export function declaredOf(program: Program): readonly Declared[] {
  return Object.entries<ParamType>(program.params).map(([name, type]) => ({
    type,
    parameter: parameterOf(name, type),
  }));
}

function parameterOf(name: string, type: ParamType): Parameter {
  if (typeof type === 'object') return { name, type: 'tensor-map' };
  const elem = pointee(type);
  if (elem !== null) return { name, type: 'pointer', align: elemBytes[elem] };
  return { name, type: type === 'f32' || type === 's32' ? type : 'u32' };
}

/** The arguments in the order of the parameters. Errors: 'parameters-mismatch' for one that is missing. */
export function argsOf(program: Program, declared: readonly Declared[], args: DeviceArgs<Program['params']>): Arg[] {
  const given: Readonly<Record<string, Arg | undefined>> = args;
  return declared.map(({ parameter: { name } }) => {
    const arg = given[name];
    if (arg === undefined) throw errors.parametersMismatch(program.name, `${name} is declared, and not given`);
    return arg;
  });
}

/** A matrix given for a parameter. Errors: 'parameter-invalid' if that is declared as something else. */
export function layoutOf(program: Program, { type, parameter }: Declared, tensor: DeviceTensor): TensorLayout {
  const { name } = parameter;
  if (typeof type !== 'object') throw errors.parameterInvalid(program.name, name, type, 'a matrix');
  const { elem, box, swizzle } = type;
  return { name, element: elem, rows: tensor.rows, columns: tensor.columns, box, swizzle };
}

export interface Capability {
  readonly major: number;
  readonly minor: number;
}

const LEAST: readonly (readonly [capability: number, target: Target])[] = [
  [120, 'sm_120'],
  [90, 'sm_90'],
  [89, 'sm_89'],
  [86, 'sm_86'],
  [80, 'sm_80'],
];

/** The best target that a chip has: code for a lower capability runs on every higher one, 'a' code on its own only. Null before 8.0. */
export function targetOf({ major, minor }: Capability): Target | null {
  if (major === 9 && minor === 0) return 'sm_90a';
  return LEAST.find(([least]) => 10 * major + minor >= least)?.[1] ?? null;
}

/** Whether a chip whose best target is `arch` runs a program. */
export function runsOn(arch: Target, program: Program): boolean {
  return has(arch, program.target);
}
