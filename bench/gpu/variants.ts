// The dense products that are measured: one entry each. To add one, add a line to `variants`.
import type { BoundLaunch, Device, DeviceArgs, DeviceBuffer, DeviceFacts, Grid } from '../../src/device/device.ts';
import { runsOn } from '../../src/device/parameters.ts';
import { dense16, type Shape, TILE } from '../../src/kernels/dense16/kernel.ts';
import { planDense16 } from '../../src/kernels/dense16/plan.ts';
import { dense16Wgmma } from '../../src/kernels/dense16/wgmma.ts';
import { sparse16, TILE as SPARSE_TILE } from '../../src/kernels/sparse16/kernel.ts';
import { pack } from '../../src/kernels/sparse16/pack.ts';
import type { ParamSpec, Program } from '../../src/ptx/program.ts';

/** C [m, n] = A [m, k] * B [n, k]^T, all f16 by rows. */
export interface Operands {
  readonly shape: Shape;
  readonly A: DeviceBuffer;
  readonly B: DeviceBuffer;
  readonly C: DeviceBuffer;
  /** A on the host, for who takes it in another form. */
  readonly hostA: Float16Array;
  /** A new buffer with these contents; it lives as long as the measurement. */
  readonly upload: (label: string, data: ArrayBufferView) => DeviceBuffer;
}

/** 'dense', or two of each four along k are not zero: those are measured with A pruned, and so is what they are compared with. */
export type Weights = 'dense' | '2:4';

/** Something that multiplies, ready for one shape. */
export interface Contender extends Disposable {
  readonly name: string;
  bind(operands: Operands): BoundLaunch;
}

export interface Variant {
  readonly name: string;
  readonly weights: Weights;
  /** Null where the device cannot run it. */
  load(device: Device, shape: Shape): Contender | null;
}

interface VariantHead<S extends ParamSpec> {
  readonly name: string;
  /** Default 'dense'. */
  readonly weights?: Weights;
  readonly program: (shape: Shape, facts: DeviceFacts) => Program<S>;
  readonly grid: (shape: Shape, facts: DeviceFacts) => Grid;
  readonly args: (operands: Operands) => DeviceArgs<S>;
}

function variant<S extends ParamSpec>({ name, weights = 'dense', program, grid, args }: VariantHead<S>): Variant {
  return {
    name,
    weights,
    load: (device, shape) => {
      const built = program(shape, device.facts);
      if (!runsOn(device.facts.arch, built)) return null;
      const loaded = device.load(built);
      return {
        name,
        bind: (operands) => loaded.bind(grid(shape, device.facts), args(operands)),
        [Symbol.dispose]: () => loaded[Symbol.dispose](),
      };
    },
  };
}

export const variants: readonly Variant[] = [
  variant({
    name: 'dense16',
    program: dense16,
    grid: ({ m, n }) => [m / TILE, n / TILE],
    args: ({ A, B, C }) => ({ A, B, C }),
  }),
  variant({
    name: 'dense16-wgmma',
    program: (shape, { multiprocessors }) => dense16Wgmma(shape, planDense16(shape, multiprocessors).chosen.tiling),
    grid: (shape, { multiprocessors }) => [planDense16(shape, multiprocessors).chosen.grid],
    args: ({ shape: { m, n, k }, A, B, C }) => ({
      A: { buffer: A, rows: m, columns: k },
      B: { buffer: B, rows: n, columns: k },
      C: { buffer: C, rows: m, columns: n },
    }),
  }),
  variant({
    name: 'sparse16',
    weights: '2:4',
    program: (shape) => sparse16(shape),
    grid: ({ m, n }) => [m / SPARSE_TILE, n / SPARSE_TILE],
    args: ({ shape: { m, k }, hostA, upload, B, C }) => {
      const { kept, metadata } = pack(hostA, { m, k });
      return { kept: upload('kept', kept), metadata: upload('metadata', metadata), B, C };
    },
  }),
];
