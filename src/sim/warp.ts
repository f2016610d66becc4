// A warp of the simulated GPU: what instructions ask of a machine. Its parts are in warp/, from registers up to products of a warpgroup.
import type { Machine } from '../ptx/machine.ts';
import { WarpMatrices } from './warp/matrices.ts';

export class Warp extends WarpMatrices implements Machine {
  /** The program is over for this warp. */
  end(): void {
    this.endCopies();
    this.endMatrices();
  }
}
